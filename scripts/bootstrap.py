#!/usr/bin/env python3
"""Set archiver up on a machine that has nothing but Python 3.11 or newer, and run what was asked for.

    python3 scripts/bootstrap.py demo [--dir DIR]     make some pictures and archive them; no account, no configuration
    python3 scripts/bootstrap.py test [PYTEST ARGS]   run the tests
    python3 scripts/bootstrap.py check                formatter, linter, types, import contracts, house rules
    python3 scripts/bootstrap.py soak [--minutes 60]  what is too long for the tests; writes docs/scorecard.md
    python3 scripts/bootstrap.py bench [--quick]      measure beside rclone and others; needs nginx
    python3 scripts/bootstrap.py lock [--upgrade]     renew config/locks/ (for developers; needs uv on PATH)

It makes `.venv/` at the root (see installer.py) and touches nothing outside it but the page of `soak`; a second run
starts at once. The usual variables of pip are honoured: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_CERT,
HTTPS_PROXY, SSL_CERT_FILE.
This file keeps to the syntax of Python 3.6, so that an old Python gets advice instead of a SyntaxError.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)


def leave_old_python() -> None:
    """Go on in a newer Python if PATH has one, else exit 2 with the command that installs one."""
    if sys.version_info >= OLDEST:
        return
    this = sys.version.split()[0]
    for minor in range(14, OLDEST[1] - 1, -1):
        found = shutil.which("python3.{}".format(minor))
        # It is tried, because a shim of pyenv or asdf may stand for a version that is not switched on.
        if found and subprocess.call([found, "-c", "import venv"], stderr=subprocess.DEVNULL) == 0:
            print("bootstrap: this is Python {}; going on with {}".format(this, found), file=sys.stderr)
            os.execv(found, [found, *sys.argv])
    advice = "a package from https://www.python.org/downloads/", "python3"
    for tool, command, python in (
        ("apt-get", "sudo apt-get install python3.11", "python3.11"),
        ("dnf", "sudo dnf install python3.12", "python3.12"),
        ("brew", "brew install python@3.13", "python3.13"),
        ("uv", "uv python install 3.13", "uv run --no-project --python 3.13"),
    ):
        if shutil.which(tool):
            advice = command, python
            break
    print("bootstrap: archiver needs Python 3.11 or newer, and this is {}.".format(this), file=sys.stderr)
    print("  install it:  {}".format(advice[0]), file=sys.stderr)
    print("  then run:    {} {}".format(advice[1], " ".join(sys.argv)), file=sys.stderr)
    raise SystemExit(2)


leave_old_python()

# Only now: installer.py is written for the Python that archiver needs.
from installer import LOCKS, PYTHON, ROOT, Failure, install, say  # noqa: E402

LOCK_COMMAND = "python3 scripts/bootstrap.py lock"
STEPS = (
    ("format", ("ruff", "format", "--check")),
    ("lint", ("ruff", "check")),
    ("types", ("mypy",)),
    ("imports", ("lint-imports",)),
    ("house", ("pytest", "-q", "tests/test_house.py")),
)


def demo(arguments: list[str]) -> int:
    """Run `archiver demo` where the person stands."""
    install("run")
    os.execv(PYTHON, [str(PYTHON), "-m", "archiver", "demo", *arguments])


def test(arguments: list[str]) -> int:
    """Run pytest at the root: all of the tests in several processes, because most of them wait."""
    install("test")
    os.chdir(ROOT)
    spread = [] if arguments else ["-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal"]
    os.execv(PYTHON, [str(PYTHON), "-m", "pytest", *spread, *arguments])


def soak(arguments: list[str]) -> int:
    """Run what is too long for the tests, and write docs/scorecard.md."""
    install("test")
    os.execv(PYTHON, [str(PYTHON), str(ROOT / "scripts" / "soak" / "run.py"), *arguments])


def bench(arguments: list[str]) -> int:
    """Measure everything, and print the tables."""
    install("test")
    os.execv(PYTHON, [str(PYTHON), str(ROOT / "scripts" / "bench" / "run.py"), *arguments])


def check(arguments: list[str]) -> int:
    """Run every step, also after one has failed; 1 if any failed."""
    if arguments:
        raise Failure("check takes no arguments")
    install("dev")
    failed = []
    for name, (tool, *options) in STEPS:
        print("== " + name, flush=True)
        if subprocess.call([str(PYTHON.with_name(tool)), *options], cwd=str(ROOT)) != 0:
            failed.append(name)
    print("check: " + ("failed: " + ", ".join(failed) if failed else "all {} steps passed".format(len(STEPS))))
    return 1 if failed else 0


def lock(arguments: list[str]) -> int:
    """Renew config/locks/: what pyproject.toml asks for, pinned with hashes for every system and Python from 3.11."""
    uv = shutil.which("uv")
    if uv is None:
        raise Failure("lock needs uv on PATH: https://docs.astral.sh/uv/ or `pip install uv`")
    compiler = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    compiler += ["--custom-compile-command", LOCK_COMMAND, *arguments]
    locks = LOCKS.relative_to(ROOT)
    # dev first: the others repeat its versions, so that each set contains the one before it.
    same = ["--constraint", str(locks / "dev.txt")]
    for name, source in (
        ("dev", ["pyproject.toml", "--group", "dev"]),
        ("test", ["pyproject.toml", "--group", "test", *same]),
        ("run", ["pyproject.toml", *same]),
        ("build", ["--group", "build", *same]),
    ):
        subprocess.check_call([*compiler, *source, "--output-file", str(locks / (name + ".txt"))], cwd=str(ROOT))
        pins = len(re.findall(r"^\S+==", (LOCKS / (name + ".txt")).read_text(encoding="utf-8"), re.MULTILINE))
        say("{}: {} packages".format(locks / (name + ".txt"), pins))
    return 0


def main(arguments: list[str]) -> int:
    """Run one verb; the exit code is that of what was run, 2 for a wrong verb, 3 when setting up failed."""
    verbs = {"demo": demo, "test": test, "check": check, "soak": soak, "bench": bench, "lock": lock}
    if not arguments or arguments[0] not in verbs:
        print(__doc__, file=sys.stdout if arguments in (["-h"], ["--help"]) else sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        return verbs[arguments[0]](arguments[1:])
    except Failure as failure:
        say(str(failure))
        return 3
    except subprocess.CalledProcessError as error:
        say("failed: {}".format(Path(error.cmd[0]).name))
        return 3
    except KeyboardInterrupt:
        say("interrupted; the same command starts again where it can")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
