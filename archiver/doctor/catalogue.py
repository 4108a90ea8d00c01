"""Whether the catalogue is one, whole, and of this archiver's making. It is read and never opened for work."""

from collections.abc import Callable, Iterator
from pathlib import Path

from archiver.catalogue import FILE_NAME
from archiver.catalogue.health import Health, look
from archiver.doctor.findings import STOPS, Finding, bad, ok, warn

SUBJECT = "catalogue"
#: Seconds that the quick check may take.
BOUND_S = 20.0
_BRING_BACK = "bring it back with `archiver restore`, or move it away and run `archiver rebuild --from STORE`"


def catalogue(data_dir: Path, *, deep: bool, elapsed: Callable[[], float]) -> Iterator[Finding]:
    """The catalogue of a folder."""
    path = data_dir / FILE_NAME
    if path.is_symlink():
        text = f"{path} is a symbolic link: whoever comes by another way holds another lock"
        yield bad(SUBJECT, "link", text, f"set [archiver] data_dir to {path.resolve().parent}")
    if not path.exists():
        yield ok(SUBJECT, "file", f"there is none at {path} yet; the first command that works makes it")
        return
    if not path.is_file():
        yield bad(SUBJECT, "file", f"{path} is no file", "move it away", STOPS)
        return
    if path.stat().st_nlink > 1:
        text = f"{path} has {path.stat().st_nlink} names: whoever comes by another one holds another lock"
        yield bad(SUBJECT, "link", text, "remove the other hard links")
    end = elapsed() + BOUND_S
    yield from _told(path, look(path, deep=deep, is_late=lambda: not deep and elapsed() > end), deep=deep)


def _told(path: Path, health: Health, *, deep: bool) -> Iterator[Finding]:
    if health.error:
        yield bad(SUBJECT, "file", f"{path} cannot be read: {health.error}", _BRING_BACK, STOPS)
        return
    if health.is_empty:
        yield ok(SUBJECT, "file", f"{path} is empty; the first command that works fills it")
        return
    if not health.is_ours:
        text = f"{path} is a database, but no catalogue of archiver's"
        yield bad(SUBJECT, "file", text, "move it away, or set another data_dir", STOPS)
        return
    yield ok(SUBJECT, "file", f"{path}, journal {health.journal}")
    if health.unknown:
        text = f"it was made by a newer archiver ({health.unknown[-1]})"
        yield bad(SUBJECT, "schema", text, "upgrade this archiver", STOPS)
    elif health.pending:
        text = f"{len(health.pending)} migrations are wanted (from {health.pending[0]} on)"
        yield warn(SUBJECT, "schema", text, "run `archiver backup`, then `archiver db migrate`")
    else:
        yield ok(SUBJECT, "schema", "up to date")
    kind = "integrity check" if deep else "quick check"
    if health.damage is None:
        text = f"the quick check was not finished within {BOUND_S:.0f} s"
        yield warn(SUBJECT, "damage", text, "run `archiver doctor --deep` when there is time")
    elif health.damage:
        yield bad(SUBJECT, "damage", f"{kind}: {'; '.join(health.damage)}", _BRING_BACK, STOPS)
    else:
        yield ok(SUBJECT, "damage", f"none found by the {kind}")
