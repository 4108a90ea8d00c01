"""What nobody needs any more: found, counted, and removed when a person has seen the plan and said so.

Leftovers in the spool and the inbox, unfinished files, old events, old snapshots of the catalogue. No object of an
image is ever touched, and no file that a row names, that a living process may want, or that is older than the
catalogue: another one, which is gone, may have known it. What is odd and was paid for stays.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from archiver.catalogue import Catalogue
from archiver.core.errors import AdapterError, Unusable
from archiver.core.keeping import surplus
from archiver.core.ports import Littered, Store
from archiver.core.redaction import redact
from archiver.pipeline.backup import snapshots_in
from archiver.pipeline.recovery import LEFTOVER_AGE
from archiver.pipeline.spool import Spool

Item = TypeVar("Item")

#: An answer that nobody could read is kept so long after the images of its generation were stored all the same.
ODD_AGE = timedelta(days=30)
BATCH = 300
_ENDED = ("completed", "cancelled", "reused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One thing that may go, and how."""

    what: str
    where: str
    size: int
    at: datetime
    remove: Callable[[], None]
    count: int = 1


@dataclass(slots=True, kw_only=True)
class Heap:
    """All things of a kind in one place: how many, their bytes, and when the oldest was written."""

    what: str
    where: str
    count: int = 0
    size: int = 0
    oldest: datetime | None = None

    def add(self, item: Leftover) -> None:
        """One more."""
        self.count += item.count
        self.size += item.size
        self.oldest = item.at if self.oldest is None else min(self.oldest, item.at)


@dataclass(slots=True)
class Pruned:
    """What was found, or removed; `troubles` are places that could not be looked at or cleaned, with the reason.
    `unreachable` are the stores among them."""

    heaps: list[Heap] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)

    def add(self, item: Leftover) -> None:
        """Count one thing."""
        for heap in self.heaps:
            if (heap.what, heap.where) == (item.what, item.where):
                heap.add(item)
                return
        self.heaps.append(Heap(what=item.what, where=item.where))
        self.heaps[-1].add(item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """`is_alone` is asked whether no other process lives. Events and snapshots go that are older than `events` and
    `backups`."""

    catalogue: Catalogue
    stores: Mapping[str, Store]
    inbox: Path
    spool: Spool
    parts: Path
    now: Callable[[], datetime]
    is_alone: Callable[[], bool]
    events: timedelta
    backups: timedelta

    def plan(self) -> Pruned:
        """Only look."""
        return self._go_through(lambda _: None)

    def run(self) -> Pruned:
        """Remove what is found now, one thing after the other: what a death interrupts, the next run ends."""
        return self._go_through(lambda item: item.remove())

    def _go_through(self, act: Callable[[Leftover], None]) -> Pruned:
        pruned = Pruned()
        places: list[tuple[str, Callable[[], Iterator[Leftover]]]] = [
            ("spool", self._spooled),
            ("inbox", self._answers),
            ("parts", self._parts),
            ("catalogue", self._events),
        ]
        places += [(name, partial(self._in_store, store)) for name, store in self.stores.items()]
        for place, look in places:
            try:
                for item in look():
                    act(item)
                    pruned.add(item)
            except (AdapterError, Unusable, OSError) as error:
                pruned.troubles[place] = redact(str(error))
                if place in self.stores:
                    pruned.unreachable.add(place)
        return pruned

    def _spooled(self) -> Iterator[Leftover]:
        names = self.spool.names()
        quiet = self._quiet()  # only now: whoever starts later puts no file among these
        for batch in _batches(names):
            states = self.catalogue.images.spool_states([name.partition(".")[0] for name in batch])
            for name in batch:
                state, _ = states.get(name.partition(".")[0], (None, None))
                item = _file("spool file", "spool", self.spool.path(name))
                if item is None:
                    continue
                is_part = name.endswith(".part") and quiet(item.at)
                is_ours = state is None and item.at >= self.catalogue.born and quiet(item.at)
                if state in ("stored", "forgotten") or is_ours or (is_part and state is not None):
                    yield item

    def _answers(self) -> Iterator[Leftover]:
        paths = sorted(self.inbox.iterdir())
        quiet = self._quiet()
        unfinished = self.catalogue.batch_reports.unfinished()
        for batch in _batches(paths):
            settled = self.catalogue.pruning.settled([path.name.partition(".")[0] for path in batch])
            for path in batch:
                name = path.name.partition(".")[0]
                item = _file("answer", "inbox", path)
                if item is None:
                    continue
                if path.suffix == ".answer":
                    goes = self.catalogue.images.is_whole(name)
                elif path.suffix == ".odd":
                    goes = name in settled and item.at < self.now() - ODD_AGE
                elif path.suffix == ".part":
                    goes = quiet(item.at) and self._is_over(name)
                else:
                    goes = path.suffix in (".batch", ".fetching") and name not in unfinished and quiet(item.at)
                if goes and item.at >= self.catalogue.born:
                    yield item

    def _is_over(self, generation_id: str) -> bool:
        standing = self.catalogue.generations.standing(generation_id)
        return standing is not None and standing.state in _ENDED and self.catalogue.images.is_whole(generation_id)

    def _parts(self) -> Iterator[Leftover]:
        paths = sorted(path for path in self.parts.rglob("*") if path.is_file())
        quiet = self._quiet()
        for path in paths:
            item = _file("unfinished file", "parts", path)
            if item is not None and quiet(item.at):
                yield item

    def _events(self) -> Iterator[Leftover]:
        before = self.now() - self.events
        old = self.catalogue.pruning.old_events(before)
        if old.oldest is None:
            return

        def remove() -> None:
            after: int | None = 0
            while after is not None:
                _, after = self.catalogue.pruning.remove_events(before, after)

        yield Leftover(
            what="old event", where="catalogue", size=old.size, at=old.oldest, count=old.count, remove=remove
        )

    def _in_store(self, store: Store) -> Iterator[Leftover]:
        now = self.now()
        if isinstance(store, Littered):
            for name, size, written in store.unfinished(now - LEFTOVER_AGE):
                yield Leftover(
                    what="unfinished file",
                    where=store.name,
                    size=size,
                    at=written,
                    remove=partial(store.sweep, name),
                )
        snapshots = {found.key: found for found in snapshots_in(store)}
        times = [(key, found.taken_at) for key, found in snapshots.items()]
        for key in sorted(surplus(times, now, self.backups)):
            found = snapshots[key]
            yield Leftover(
                what="old snapshot",
                where=store.name,
                size=found.size,
                at=found.taken_at,
                remove=partial(store.delete, key),
            )

    def _quiet(self) -> Callable[[datetime], bool]:
        """Whether nobody can be writing a file any more that was last written at a time: nobody else lives, or it is a
        day ago."""
        alone, limit = self.is_alone(), self.now() - LEFTOVER_AGE
        return lambda at: alone or at < limit


def _file(what: str, where: str, path: Path) -> Leftover | None:
    """A file as it is now; None when it is gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    written = datetime.fromtimestamp(found.st_mtime, UTC)
    return Leftover(what=what, where=where, size=found.st_size, at=written, remove=lambda: path.unlink(missing_ok=True))


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    following = iter(items)
    while batch := list(islice(following, BATCH)):
        yield batch
