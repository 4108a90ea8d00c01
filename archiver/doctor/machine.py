"""Whether this machine can run archiver: versions, open files, the SQLite that is used.

Every fact comes in as an argument. It refuses to look for itself.
"""

import re
from collections.abc import Iterator

from archiver.catalogue.health import Library, has_wal_fix
from archiver.doctor.findings import STOPS, Finding, bad, ok, warn
from archiver.wiring.examining import Machine

OLDEST_PYTHON = (3, 11)
SUBJECT = "machine"
_BOUND = re.compile(r"(>=|<=|<|>|==|!=)\s*([0-9]+(?:\.[0-9]+)*)")


def versions(machine: Machine) -> Iterator[Finding]:
    """Python, and the libraries that archiver needs."""
    python = _dotted(machine.python)
    if machine.python < OLDEST_PYTHON:
        wanted = f"install Python {_dotted(OLDEST_PYTHON)} or newer"
        yield bad(SUBJECT, "python", f"Python {python} is too old", wanted, STOPS)
    else:
        yield ok(SUBJECT, "python", f"Python {python}")
    odd = {
        name: f"{name} {found or 'is missing'} (wanted: {wanted or 'any'})"
        for name, (found, wanted) in machine.libraries.items()
        if found is None or not fits(found, wanted)
    }
    missing = [name for name in odd if machine.libraries[name][0] is None]
    again = "install archiver anew into an environment of its own"
    if missing and missing != ["pysqlite3"]:
        yield bad(SUBJECT, "libraries", ", ".join(odd.values()), again, STOPS)
    elif odd:
        yield warn(SUBJECT, "libraries", ", ".join(odd.values()), again)
    else:
        yield ok(SUBJECT, "libraries", ", ".join(f"{name} {found}" for name, (found, _) in machine.libraries.items()))
    for name in machine.unwanted:
        text = f"{name} is installed, which puts other files in place of those that archiver needs"
        yield warn(SUBJECT, "libraries", text, f"uninstall {name}, then {again}")


def open_files(machine: Machine, copies: int, requests: int) -> Iterator[Finding]:
    """Whether so many copies and requests at once find file descriptors enough."""
    needed = 64 + 4 * copies + 2 * requests
    said = f"{machine.open_files} files may be open at once, about {needed} are needed"
    if 0 <= machine.open_files < needed:  # -1 is no limit
        yield warn(SUBJECT, "open files", said, f"raise the limit (ulimit -n {4 * needed}, LimitNOFILE of systemd)")
    else:
        yield ok(SUBJECT, "open files", said)


def sqlite(library: Library) -> Iterator[Finding]:
    """Whether the SQLite that is used may keep a write-ahead log."""
    said = f"SQLite {_dotted(library.version)} of {library.module}"
    if has_wal_fix(library.version):
        yield ok(SUBJECT, "sqlite", f"{said}: journal WAL")
        return
    yield warn(
        SUBJECT,
        "sqlite",
        f"{said} has the WAL-reset bug, which damages files: journal TRUNCATE is used, and writes wait for questions",
        "install pysqlite3 (a wheel with SQLite 3.51.3 or newer)",
    )


def fits(found: str, wanted: str) -> bool:
    """Whether a version is within bounds such as `<2,>=1.40`; what is no bound of numbers counts for nothing."""
    have = _numbers(found)
    for sign, bound in _BOUND.findall(wanted):
        limit = _numbers(bound)
        size = max(len(have), len(limit))
        a, b = have + (0,) * (size - len(have)), limit + (0,) * (size - len(limit))
        if not {">=": a >= b, "<=": a <= b, "<": a < b, ">": a > b, "==": a == b, "!=": a != b}[sign]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
