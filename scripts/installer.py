"""Make `.venv/` at the root and install what config/locks/ names, every file checked by its SHA-256.

The standard library is enough: no ensurepip (Debian and Ubuntu ship Python without it), no compiler, no root. An
installation is complete and noted in `.venv/archiver-stamp.json`, or it is not believed and made anew. It refuses to
install anything that has no hash in the locks, and to change anything outside `.venv/`.
"""

import base64
import contextlib
import fcntl
import hashlib
import html.parser
import importlib.util
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "config" / "locks"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "archiver-stamp.json"
SETS = ("run", "test", "dev")  # each contains the one before it
OLDEST = (3, 11)
NETWORK_ADVICE = """
  Where pypi.org is slow or blocked, choose a mirror and run the same command again; in mainland China for example:
    export PIP_INDEX_URL=https://mirrors.aliyun.com/pypi/simple/
  Behind a proxy, export HTTPS_PROXY; behind a company's own certificate, export PIP_CERT with the path of its file."""


class Failure(Exception):
    """Setting up failed; the message says what to do about it."""


def say(text: str) -> None:
    """Tell the person, on stderr: stdout belongs to the command that is run in the end."""
    print("bootstrap: " + text, file=sys.stderr, flush=True)


class _Links(html.parser.HTMLParser):
    """The addresses on a page of a package index (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _certificates() -> ssl.SSLContext:
    """What pip would trust: PIP_CERT or REQUESTS_CA_BUNDLE, else Python's default, which reads SSL_CERT_FILE."""
    bundle = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE") or None
    if bundle and Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)


def _download(url: str) -> bytes:
    """Return the bytes at an address (https, http or file). A login in it is sent as such, and never shown."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        path = Path(urllib.request.url2pathname(parts.path))
        return (path / "index.html" if path.is_dir() else path).read_bytes()
    if parts.scheme not in {"https", "http"}:
        raise OSError(f"not an address of a package index: {parts.scheme}:")
    login, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=host)))  # noqa: S310 - see above
    request.add_header("Accept", "text/html, */*;q=0.1")
    if login:
        token = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    timeout = float(os.environ.get("PIP_DEFAULT_TIMEOUT") or 60)
    with urllib.request.urlopen(request, timeout=timeout, context=_certificates()) as reply:  # noqa: S310 - see above
        data: bytes = reply.read()
        return data


def _linked(index: str, name: str) -> str | None:
    """Return the address of the file `name` of pip in one index. Raises OSError when the index does not answer."""
    page = urllib.parse.urlsplit(index.rstrip("/") + "/pip/")
    links = _Links()
    links.feed(_download(page.geturl()).decode("utf-8", "replace"))
    login, at, host = page.netloc.rpartition("@")
    for link in links.found:
        target = urllib.parse.urlsplit(urllib.parse.urljoin(page._replace(netloc=host).geturl(), link))
        if urllib.parse.unquote(target.path).rpartition("/")[2] == name:
            return (target._replace(netloc=login + at + host) if target.netloc == host else target).geturl()
    return None


def _pip_wheel(folder: Path) -> Path:
    """Fetch into `folder` the wheel of pip that the locks pin, from where pip itself would look."""
    pins = (LOCKS / "build.txt").read_text(encoding="utf-8")
    locked = re.search(r"^pip==(\S+)(?: *\\\n +--hash=sha256:[0-9a-f]{64})+", pins, re.MULTILINE)
    if locked is None:
        raise Failure("config/locks/build.txt does not pin pip")
    name = f"pip-{locked[1]}-py3-none-any.whl"
    indexes = [os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"]
    indexes += os.environ.get("PIP_EXTRA_INDEX_URL", "").split()
    if os.environ.get("PIP_NO_INDEX", "").lower() in {"1", "true", "yes", "on"}:
        indexes = []
    folders = [Path(place).expanduser().resolve() for place in os.environ.get("PIP_FIND_LINKS", "").split()]
    for place in [*((path / name).as_uri() for path in folders if (path / name).is_file()), *indexes]:
        host = urllib.parse.urlsplit(place).netloc.rpartition("@")[2] or "the local folder"
        try:
            address = place if place.endswith(name) else _linked(place, name)
            data = _download(address) if address else None
        except (OSError, ValueError) as error:
            say(f"no answer from {host}: {getattr(error, 'reason', error)}")
            continue
        if data is None:
            say(f"{host} has no {name}")
        elif hashlib.sha256(data).hexdigest() not in locked[0]:
            say(f"{host} has another {name} than the locks name; not used")
        else:
            (folder / name).write_bytes(data)
            return folder / name
    raise Failure(f"this Python came without pip, and {name} could not be downloaded.{NETWORK_ADVICE}")


def _pip_environment() -> dict[str, str]:
    """Return the person's own settings, without those that would make pip install somewhere else."""
    elsewhere = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT", "PIP_PYTHON"}
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    environment |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if "SSL_CERT_FILE" in environment:
        # The pip that old Pythons bundle brings its own certificates and does not read this variable.
        environment.setdefault("PIP_CERT", environment["SSL_CERT_FILE"])
    return environment


def _pip(front: list[str], *arguments: str) -> None:
    """Run `pip install`; `front` is how it is called. On a terminal, one line shows what it does."""
    command = [*front, "install", "--no-input", "--progress-bar", "off", *arguments]
    lines = []
    with subprocess.Popen(
        command, env=_pip_environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            for raw in process.stdout or ():
                lines.append(raw.decode("utf-8", "replace").rstrip())
                if sys.stderr.isatty():
                    print(f"\r\x1b[K  {lines[-1].strip()[:76]}", end="", file=sys.stderr, flush=True)
        except BaseException:
            process.terminate()
            raise
        finally:
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if process.returncode:
        print(*lines[-15:], sep="\n", file=sys.stderr)
        advice = "" if "--no-index" in arguments else NETWORK_ADVICE
        raise Failure(f"pip could not install; its last words are above.{advice}")


def _interpreter() -> str:
    """Return version, real path and home of the Python in `.venv`; empty when it does not run or lacks pip.

    It is asked each time: an upgrade of the system, or moving the tree, leaves a `.venv` that only looks whole.
    """
    question = "import os, sys, pip; print(sys.version[:4], os.path.realpath(sys.executable), sys.prefix)"
    try:
        asked = subprocess.run([PYTHON, "-I", "-c", question], capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    reply = asked.stdout.strip()
    return reply if tuple(map(int, reply.split()[0].split("."))) >= OLDEST else ""


def _wanted(name: str) -> str:
    """Return a digest of all that decides what is installed for the set `name`."""
    files = (ROOT / "pyproject.toml", LOCKS / "build.txt", LOCKS / f"{name}.txt")
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def _note() -> dict[str, str]:
    """Return what was noted when the last installation was complete; empty when none was."""
    try:
        note = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(note: dict[str, str]) -> None:
    """Replace the note in one step. An empty one means: an installation has begun."""
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(note), encoding="utf-8")
    part.replace(STAMP)


def _make_venv() -> list[str]:
    """Make an empty `.venv`, and return how pip is called in it for the first time."""
    if VENV.is_symlink() or VENV.is_file():
        raise Failure(".venv is not a folder; move it away")
    if VENV.exists():
        say("clearing .venv: it is unfinished, or was made for another Python or place")
        shutil.rmtree(VENV)
    say(f"making .venv with Python {sys.version.split()[0]}")
    bundled = importlib.util.find_spec("ensurepip") is not None
    VENV.mkdir()
    _write_note({})
    if bundled:
        with contextlib.suppress(subprocess.CalledProcessError):
            venv.create(VENV, with_pip=True, symlinks=True)
            return [str(PYTHON), "-m", "pip"]
    venv.create(VENV, with_pip=False, symlinks=True)
    return [str(PYTHON), str(_pip_wheel(VENV) / "pip")]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time work on `.venv`. The lock is on the root folder itself, and leaves no file behind."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another bootstrap is at work in this folder; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    """Turn SIGTERM into an exception, so that pip is stopped too and does not go on as an orphan."""
    raise SystemExit(128 + signal.SIGTERM)


def install(name: str) -> None:
    """Bring `.venv` to the set `name` of config/locks/, or leave one that contains it. Raises Failure with advice."""
    with _alone():
        note, python = _note(), _interpreter()
        whole = python != "" and note.get("python", python) == python
        if whole and any(note.get(larger) == _wanted(larger) for larger in SETS[SETS.index(name) :]):
            return
        name = max([name, *(known for known in SETS if known in note)], key=SETS.index)  # what was there stays there
        signal.signal(signal.SIGTERM, _terminated)
        try:
            # A venv without a note is somebody's own, and is used; one with an empty note was interrupted.
            front = [str(PYTHON), "-m", "pip"] if whole and (note or not STAMP.exists()) else _make_venv()
            _write_note({})
            say(f"installing the packages of config/locks/{name}.txt; half a minute on a fast network")
            _pip(front, "--require-hashes", "-r", str(LOCKS / "build.txt"))
            for wheel in VENV.glob("pip-*.whl"):
                wheel.unlink()
            here = [str(PYTHON), "-m", "pip"]
            _pip(here, "--require-hashes", "--no-build-isolation", "-r", str(LOCKS / f"{name}.txt"))
            _pip(here, "--no-deps", "--no-index", "--no-build-isolation", "-e", str(ROOT))
            _write_note({"python": _interpreter(), name: _wanted(name)})
        except OSError as error:
            raise Failure(f"cannot make .venv: {error.strerror or error} ({error.filename or VENV})") from error
