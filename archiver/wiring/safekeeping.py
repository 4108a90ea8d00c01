"""What snapshots need: stores, one owner lock, the clock; no provider, and nothing is taken over from the dead.

A catalogue is opened for a backup only: a restore must work where it cannot be.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from archiver.catalogue import FILE_NAME, Catalogue, Owner
from archiver.config import Config
from archiver.core.errors import Unusable
from archiver.pipeline.backup import Backup
from archiver.pipeline.restore import Restore, shrink
from archiver.wiring import make_data_dir
from archiver.wiring.reading import open_store
from archiver.wiring.surroundings import new_id, now


def free_bytes(config: Config) -> int:
    """What may be written below `data_dir`: never what `min_free` reserves for images."""
    return max(0, shutil.disk_usage(config.archiver.data_dir).free - config.archiver.min_free)


@contextmanager
def open_backup(config: Config, stores: Sequence[str]) -> Iterator[Backup]:
    """A backup of the catalogue into these stores. Raises Unusable when there is no catalogue."""
    os.umask(0o077)
    data_dir = config.archiver.data_dir
    with ExitStack() as stack:
        catalogue = Catalogue.open(data_dir, create=False)
        stack.callback(catalogue.close)
        make_data_dir(data_dir)
        yield Backup(
            catalogue=catalogue,
            owner=stack.enter_context(Owner(data_dir / "owners", new_id())),
            stores={name: stack.enter_context(open_store(config, name)) for name in stores},
            parts=data_dir / "parts",
            free=lambda: free_bytes(config),
            now=now,
            new_id=new_id,
        )


@contextmanager
def open_restore(config: Config, store: str) -> Iterator[Restore]:
    """A restore from this store. The data folder is made where there is none: a new machine has nothing yet."""
    os.umask(0o077)
    data_dir = config.archiver.data_dir
    make_data_dir(data_dir)
    with ExitStack() as stack:
        yield Restore(
            data_dir=data_dir,
            owner=stack.enter_context(Owner(data_dir / "owners", new_id())),
            store=stack.enter_context(open_store(config, store)),
            schedules={job.name: (job.when, f"{job.schedule} ({job.zone})") for job in config.jobs},
            free=lambda: free_bytes(config),
            now=now,
        )


def vacuum(config: Config) -> tuple[int, int]:
    """Write the catalogue anew without its empty pages. Returns its bytes before and after."""
    os.umask(0o077)
    data_dir = config.archiver.data_dir
    Catalogue.open(data_dir, create=False).close()  # says what is wrong with one that is not fit
    make_data_dir(data_dir)
    if not (data_dir / FILE_NAME).is_file():
        raise Unusable(f"{data_dir / FILE_NAME} is no file")
    with Owner(data_dir / "owners", new_id()) as owner:
        return shrink(data_dir / FILE_NAME, owner, data_dir / "parts", lambda: free_bytes(config))
