"""The composition root: a configuration becomes a pipeline.

Entry points, secrets, the clock, randomness, the environment and the address guard enter the program here and nowhere
else. It does no work of its own: what `house` builds is handed to the daemon or to a command, and closed again. This
front door is light, so that a question to the catalogue does not load what moves images.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from archiver.catalogue import Catalogue
from archiver.config import Config
from archiver.core.errors import Unusable, UsageError
from archiver.wiring.adapters import check_secrets, load_config, request_settings, tariffs
from archiver.wiring.budgets import budget_limits
from archiver.wiring.surroundings import new_id, now, set_up_logging

__all__ = [
    "budget_limits",
    "check_secrets",
    "choose_stores",
    "load_config",
    "make_data_dir",
    "new_id",
    "now",
    "open_catalogue",
    "request_settings",
    "set_up_logging",
    "tariffs",
]

FOLDERS = ("owners", "inbox", "spool", "parts", "providers", "stores")


def open_catalogue(config: Config, *, create: bool = False) -> Catalogue:
    """The catalogue alone, for questions: no secret, no network."""
    if create:
        make_data_dir(config.archiver.data_dir)
    return Catalogue.open(config.archiver.data_dir, create=create)


def make_data_dir(data_dir: Path) -> None:
    """Make the folders of the data, private to this user, and new ones durable: a power loss takes a folder that its
    own folder does not name yet, whatever was flushed inside. Raises Unusable."""
    folders = [data_dir / name for name in FOLDERS]
    try:
        missing = [path for path in (*folders, data_dir, *data_dir.parents) if not path.exists()]
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in folders:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):  # the spool is needed when a store fails: too late to learn
                raise Unusable(f"cannot write into {folder}: Permission denied")
        for parent in {path.parent for path in missing}:
            _flush_folder(parent)
    except OSError as error:
        raise Unusable(f"cannot use data_dir {data_dir}: {error.strerror}") from error


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def choose_stores(config: Config, named: Sequence[str]) -> tuple[str, ...]:
    """The stores that a command means: the named ones, or the only one there is. Raises UsageError."""
    known = list(config.stores)
    for name in named:
        if name not in config.stores:
            raise UsageError(f"there is no store {name!r}; known are: {', '.join(known) or 'none'}")
    if named:
        return tuple(dict.fromkeys(named))
    if len(known) == 1:
        return (known[0],)
    if not known:
        raise UsageError("no store is configured: add a section such as [stores.main] with a url")
    raise UsageError(f"say which store is meant, with --store; known are: {', '.join(known)}")
