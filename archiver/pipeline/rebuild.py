"""A whole catalogue from what the buckets say of themselves, and from what lies in the spool.

Records stream through: a few hundred at a time are in memory, and in one transaction. What is damaged, foreign or
unreadable is counted and named, and stops nothing. It fetches no image and writes into no store.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TypeVar

from archiver.catalogue import Arrival, Catalogue, Draft, Told
from archiver.core.errors import AdapterError
from archiver.core.ports import Store
from archiver.core.redaction import redact
from archiver.pipeline import lineage
from archiver.pipeline.recollection import understand
from archiver.pipeline.spool import Spool
from archiver.pipeline.transfer import describe
from archiver.transport import Body

Item = TypeVar("Item")

BATCH = 300
MOST_NAMED = 20


@dataclass(slots=True)
class Rebuilt:
    """What came of it. `counts` by word; `named` are the first of those that could not be used, with the reason."""

    counts: Counter[str] = field(default_factory=Counter)
    named: list[dict[str, str]] = field(default_factory=list)

    def complain(self, word: str, store: str, key: str, reason: str) -> None:
        """Count one that could not be used, and name it unless many are."""
        self.counts[word] += 1
        if len(self.named) < MOST_NAMED:
            self.named.append({"word": word, "store": store, "key": key, "reason": redact(reason)})

    @property
    def is_whole(self) -> bool:
        """Whether every record that is there could be used."""
        return not any(self.counts[word] for word in ("unreadable", "damaged", "contradicting"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """`stores` are read; `known` are all that the configuration names. Without a catalogue nothing is written."""

    catalogue: Catalogue | None
    stores: Mapping[str, Store]
    known: frozenset[str]
    spool: Spool
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    def count(self) -> Rebuilt:
        """Only look: how many copies the records tell of, and how many of them the catalogue does not have."""
        rebuilt = Rebuilt()
        for batch in _batches(self._told(rebuilt)):
            missing = [True] * len(batch) if self.catalogue is None else self.catalogue.rebuilding.missing(batch)
            rebuilt.counts["missing"] += sum(missing)
            rebuilt.counts["known"] += len(batch) - sum(missing)
        return rebuilt

    def run(self, *, is_alone: Callable[[], bool]) -> Rebuilt:
        """Add everything that is missing. Of files in the spool, those that no row names are taken in when this process
        `is_alone`: another one may be working on them."""
        if self.catalogue is None:
            raise ValueError("without a catalogue there is nothing to add to")
        rebuilt, rebuilding = Rebuilt(), self.catalogue.rebuilding
        rebuilding.begin()
        for batch in _batches(self._told(rebuilt)):
            counts, odd = rebuilding.add(batch)
            rebuilt.counts.update(counts)
            for item in odd:
                key = f"{item.copy['lineage_key']}: {item.copy['key']}"
                rebuilt.complain("contradicting", item.copy["store"], key, "the catalogue says otherwise")
        if is_alone():
            rebuilt.counts["rescued"] = self._look_into_spool(self.catalogue)
        if not rebuilt.counts["unreadable"]:  # its record may be among those
            rebuilt.counts["lost"] = rebuilding.stand_in(self.now())
        rebuilt.counts["loose"] = rebuilding.link()
        rebuilt.counts["waiting"] = rebuilding.settle(tuple(self.stores))
        if rebuilt.counts["added"]:
            rebuilding.note(f"{rebuilt.counts['added']} copies, from {', '.join(self.stores)}", self.now())
        return rebuilt

    def _told(self, rebuilt: Rebuilt) -> Iterator[Told]:
        for name, store in self.stores.items():
            for found in store.list(lineage.folder(store)):
                if not lineage.is_record(store, found.key):
                    rebuilt.complain("foreign", name, found.key, "no name of a lineage record")
                    continue
                rebuilt.counts["records"] += 1
                yield from self._told_by(store, found.key, rebuilt)

    def _told_by(self, store: Store, key: str, rebuilt: Rebuilt) -> Iterator[Told]:
        try:
            for number, line in enumerate(lineage.lines(store, key), 1):
                try:
                    told = understand(line, key, store.name, self.known)
                except ValueError as error:
                    rebuilt.complain("damaged", store.name, f"{key}:{number}", str(error))
                    continue
                yield told
        except (AdapterError, ValueError) as error:
            rebuilt.complain(
                "unreadable" if isinstance(error, AdapterError) else "damaged", store.name, key, str(error)
            )

    def _look_into_spool(self, catalogue: Catalogue) -> int:
        """Files of the spool are swept away when no row names them: they may be all that is left of an image."""
        rescued = 0
        for names in _batches(self.spool.names()):
            states = catalogue.images.spool_states([name.partition(".")[0] for name in names])
            for name in names:
                image_id, _, sha256 = name.partition(".")
                if image_id and len(sha256) == len("0" * 64) and image_id not in states:
                    rescued += self._adopt(catalogue, name, image_id, sha256)
        return rescued

    def _adopt(self, catalogue: Catalogue, name: str, image_id: str, sha256: str) -> bool:
        now = self.now()
        try:
            with Body.from_file(self.spool.path(name)) as body:
                if body.sha256 != sha256:
                    return False
                info, size = describe(body), body.size
        except OSError:
            return False
        stores = tuple(self.stores)
        draft = Draft(id=self.new_id(), origin="backfill", prompt="", provider=None, model=None, stores=stores)
        arrival = Arrival(
            id=image_id,
            index=0,
            deadline=now,
            deadline_from="inline",
            give_up_at=now,
            spool=name,
            sha256=sha256,
            size=size,
            info=info,
        )
        return catalogue.rebuilding.adopt(draft, arrival, now)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    following = iter(items)
    while batch := list(islice(following, BATCH)):
        yield batch
