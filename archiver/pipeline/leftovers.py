"""What processes that died left in the spool: bytes that they rescued and did not write down are adopted, and what
nobody needs any more goes.

A rescue is durable under its name before the catalogue knows of it; in between lies a moment to die in, and the source
may be gone when the next process comes. Nothing here fetches, and no file goes that a living process may still want.
"""

from collections.abc import Callable
from datetime import datetime

from archiver.catalogue import Catalogue
from archiver.pipeline.spool import Spool
from archiver.transport import Body


def look_through(spool: Spool, catalogue: Catalogue, now: datetime, *, is_alone: Callable[[], bool]) -> int:
    """Adopt the whole files of images that wait unclaimed, and remove those of images that are stored.

    `is_alone` is asked whether no other process lives and this one has not begun to work: then every file that no row
    names is a leftover too, unless it is older than the catalogue: another one, which is gone, may have known it, or
    known it better.
    Returns the number of files adopted.
    """
    adopted = 0
    names = spool.names()
    alone = is_alone()  # only now: whoever starts later puts no file among these
    images = catalogue.images.spool_states([name.partition(".")[0] for name in names])
    for name in names:
        image_id, _, sha256 = name.partition(".")
        state, file = images.get(image_id, (None, None))
        if state == "pending" and _holds(spool, name, sha256):
            adopted += catalogue.images.adopt_rescued(image_id, name, sha256, now)
        elif state == "missing":
            continue  # it may hold what a repair looks for, or has just brought back
        elif state == "stored" or (alone and file != name and _is_ours(spool, name, catalogue.born)):
            spool.discard(name)
    return adopted


def _is_ours(spool: Spool, name: str, born: datetime) -> bool:
    written = spool.written(name)
    return written is not None and written >= born


def _holds(spool: Spool, name: str, sha256: str) -> bool:
    """Whether a file holds the bytes that its name promises; one that is still being written has another name."""
    try:
        with Body.from_file(spool.path(name)) as body:
            return body.sha256 == sha256
    except OSError:
        return False
