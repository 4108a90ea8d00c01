"""Planted secrets, the servers that echo them, and the search for them in everything that archiver leaves behind.

Two places may hold a temporary URL, by decision: the catalogue and the answer in the inbox while its image is not
stored or lost yet (it is what they are for), and for good `inbox/*.odd`, an answer that nobody could read and that may
be all that is left of paid images. Every file is readable by its owner alone.
"""

import base64
import json
import logging
import re
import stat
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.doubles.http1 import Reply, Request
from tests.doubles.wire import Fault, Wire
from tests.world import ROOT, World

SECRETS: Mapping[str, str] = {
    "provider key": "Qp7VxK2mR9sTcanary01LwYzB4nHjD8f",
    "access key id": "Gk3WdN8cZ5tRcanary02XqMvF7yPbS2h",
    "access key secret": "Jm9RfT4vB6xLcanary03CzKwH8pNdG5s",
    "session token": "Wb5KsY7nD3gHcanary04RtPmX9vJcF6z",
    "signature of a temporary URL": "Tz8CmF2kV6pXcanary05BnSdW4rGqL7j",
    "security token of a temporary URL": "Hy4NvB9sK3wJcanary06DmTfR7cXzP5g",
    "signature of a redirect": "Xd6PgL8tM2vScanary07FkYnZ5bWrC9h",
    "proxy password": "Rv3JzH7wC5mKcanary08PsGtN9dBxF4y",
    "webhook token": "Lc9TnX4gF8zRcanary09VbMkJ6sDwH2p",
    "authorization in an error": "Bs7YkD5rP3nWcanary10ZmGvC8tXfJ4l",
    "cookie of a source": "Fn2XvS9bJ6yTcanary11HdKwR4pLzG8m",
    "secret in a column": "Pw8GtR3hN5kVcanary12MzJcY7xSbD6f",
    "secret text in a column": "Vg6DyM4zX9sBcanary13TnLpK2wHrF7c",
    "inline bytes": "Zk5FbW7cT8jQcanary14SxRvN3mPgH9d" * 8,
}
OF_URLS = frozenset({"signature of a temporary URL", "security token of a temporary URL"})
#: Of the inline bytes a part is enough.
_NEEDLES = {name: value[:32] for name, value in SECRETS.items()}


def forms(value: str) -> set[bytes]:
    """How a text may be written down: as it is, in hexadecimal, and in base64 wherever it begins in it."""
    raw = value.encode()
    coded = {base64.b64encode(b"x" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)}
    return {raw, raw.hex().encode(), *coded}


def seen_in(data: bytes, more: Mapping[str, str] | None = None) -> set[str]:
    """The names of the secrets that are in `data`."""
    wanted = {**_NEEDLES, **(more or {})}
    return {name for name, value in wanted.items() if any(form in data for form in forms(value))}


def search(world: World, more: Mapping[str, str] | None = None, *, waiting: bool = False) -> set[str]:
    """Look through every file of the user's folder but the ones that the test wrote: `name of the secret in file`.

    `waiting`: images still wait for their source, whose URLs the catalogue and the inbox need.
    """
    found: set[str] = set()
    for path in sorted(world.folder.rglob("*")):
        if not path.is_file() or path.name == "archiver.toml" or path.parent.name == "given":
            continue
        name = path.relative_to(world.folder).as_posix()
        if name.startswith("data/") and "/archive/" not in name:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, f"{name} can be read by others"
        if path.suffix == ".odd":
            continue
        names = seen_in(path.read_bytes(), more)
        if waiting and (path.name.startswith("catalogue.db") or path.suffix in (".answer", ".part")):
            names -= OF_URLS
        found |= {f"{secret} in {name}" for secret in names}
    return found


QUESTIONS = (
    ("status",),
    ("status", "--json"),
    ("images", "--json"),
    ("lineage", "wish", "--json"),
    ("jobs", "--json"),
    ("config", "show", "--json"),
    ("config", "check"),
)


def answers(world: World) -> str:
    """All that the command line tells when it is asked, `show` of two images included."""
    said = [world.run(*question) for question in QUESTIONS]
    images = json.loads(world.run("images", "--json").stdout or "[]")
    said += [world.run("show", image["image_id"], "--json") for image in images[:2]]
    return "".join(done.stdout + done.stderr for done in said)


def talkative(world: World) -> None:
    """Let every library write its debug lines to stderr, as a program that embeds archiver might.

    The hook runs before archiver does; that archiver keeps the chatty ones quiet is a part of what is tested.
    """
    hook = world.folder.parent / "hook"
    hook.mkdir()
    level = logging.getLevelName(logging.DEBUG)
    (hook / "sitecustomize.py").write_text(f"import logging\nlogging.basicConfig(level={level!r})\n", "utf-8")
    world.environment["PYTHONPATH"] = f"{hook}:{ROOT}"


def query() -> str:
    """The signed query of a temporary URL, in the way of OSS with temporary credentials."""
    return (
        f"?Expires=4070908800&OSSAccessKeyId=TMP.3Kx&Signature={quote(SECRETS['signature of a temporary URL'])}"
        f"&security-token={SECRETS['security token of a temporary URL']}"
    )


def echo(request: Request, code: str) -> bytes:
    """An error document that repeats the request, as OSS and S3 do when they dislike a signature."""
    lines = "\n".join(f"{name}:{value}" for name, value in request.headers.items())
    return (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>denied: {escape(request.target)}</Message>"
        f"<StringToSign>{escape(lines)}</StringToSign><SignatureProvided>{escape(lines)}</SignatureProvided>"
        f"<AWSAccessKeyId>{SECRETS['access key id']}</AWSAccessKeyId></Error>"
    ).encode()


MODES = (
    "403 AccessDenied",
    "403 SignatureDoesNotMatch",
    "404 NoSuchBucket",
    "400 InvalidArgument",
    "500 InternalError",
    "mismatch",
)


class EchoingStore:
    """A store that refuses every put and get, each key in one of `MODES`, and repeats the request in its refusal.

    A mode is a status with a code of OSS and S3, or `mismatch`: the put is taken, and other bytes are read back.
    `signatures` are those that it has seen, `felt` the modes that it has shown.
    """

    def __init__(self) -> None:
        self.signatures: set[str] = set()
        self.felt: set[str] = set()
        self._modes: dict[str, str] = {}
        self._lock = threading.Lock()
        self._wire = Wire(self._answer, lambda request: request.path, lambda: datetime.now(UTC), None)
        self.endpoint = f"http://{self._wire.authority}"

    def __enter__(self) -> Self:
        self._wire.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._wire.__exit__(kind, e, trace)

    def down(self) -> None:
        """Refuse connections."""
        self._wire.listener.down()

    def _answer(self, request: Request, _fault: Fault) -> Reply:
        signed = f"{request.target} {request.headers.get('authorization', '')}"
        with self._lock:
            mode = self._modes.setdefault(request.path, MODES[len(self._modes) % len(MODES)])
            self.felt.add(mode)
            self.signatures |= set(re.findall(r"ignature=([0-9A-Za-z]{32,})", signed))
        if mode == "mismatch":
            return Reply(200, {"ETag": '"0"'}, b"other bytes" if request.method == "GET" else b"")
        status, _, code = mode.partition(" ")
        headers = {"Content-Type": "application/xml", "x-amz-request-id": "1"}
        return Reply(int(status), headers, b"" if request.method == "HEAD" else echo(request, code))


def store_section(scheme: str, store: EchoingStore) -> str:
    """The configuration of an echoing store that is spoken to as OSS or S3 with temporary credentials."""
    return f"""
[stores.{scheme}]
url = "{scheme}://bucket/archive"
endpoint = "{store.endpoint}"
region = "cn-test"
access_key_id = "env:CANARY_ID"
access_key_secret = "env:CANARY_SECRET"
session_token = "env:CANARY_SESSION"
"""


def environment() -> dict[str, str]:
    """The secrets that the configuration refers to."""
    return {
        "CANARY_ID": SECRETS["access key id"],
        "CANARY_SECRET": SECRETS["access key secret"],
        "CANARY_SESSION": SECRETS["session token"],
    }


def bodies(entries: Iterable[Any]) -> bytes:
    """Everything that objects in a store hold."""
    return b"\n".join(entry.body + repr((entry.headers, entry.meta)).encode() for entry in entries)
