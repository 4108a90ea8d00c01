"""The two verbs that delete what is kept, built over an open archive. They are asked for by a person, and never happen
by themselves."""

from collections.abc import Callable
from datetime import timedelta

from archiver.catalogue import Catalogue, anyone_lives
from archiver.core.errors import Unusable
from archiver.pipeline.forgetting import Forget
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.pruning import Prune
from archiver.pipeline.spool import Spool
from archiver.wiring.archive import Archive
from archiver.wiring.surroundings import now


def forget_in(archive: Archive) -> Forget:
    """Erasing images. Raises Unusable when there is no catalogue."""
    settings = archive.config.archiver
    return Forget(
        catalogue=catalogue_of(archive),
        stores=archive.stores,
        inbox=Inbox(settings.data_dir / "inbox"),
        spool=Spool(settings.data_dir / "spool"),
        parts=settings.data_dir / "parts",
        key_template=settings.key_template,
        now=now,
    )


def prune_in(archive: Archive, *, events: timedelta, backups: timedelta) -> Prune:
    """Removing what nobody needs any more: events and snapshots of the catalogue from these ages on."""
    data_dir = archive.config.archiver.data_dir
    is_alone: Callable[[], bool] = archive.owner.is_alone if archive.owner else lambda: not anyone_lives(data_dir)
    return Prune(
        catalogue=catalogue_of(archive),
        stores=archive.stores,
        inbox=data_dir / "inbox",
        spool=Spool(data_dir / "spool"),
        parts=data_dir / "parts",
        now=now,
        is_alone=is_alone,
        events=events,
        backups=backups,
    )


def catalogue_of(archive: Archive) -> Catalogue:
    """The catalogue, without which nobody knows what may go."""
    if archive.catalogue is None:
        raise Unusable(
            f"there is no catalogue in {archive.config.archiver.data_dir}: without it nobody knows what is needed"
        )
    return archive.catalogue
