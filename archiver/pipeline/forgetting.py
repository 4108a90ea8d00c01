"""Forgetting one image everywhere: the catalogue first, then every store, then this machine.

The tombstone is committed before anything else goes, so that a death at any moment leaves work that the same command
finishes, and nothing that `rebuild` brings back. A store that cannot be reached keeps what it has, and stays on the
list. Only `forget` and `prune` delete what is in a store.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from archiver.catalogue import Catalogue, Owner, Target
from archiver.core.errors import AdapterError, ArchiverError, Unusable
from archiver.core.policy import permanent_key
from archiver.core.ports import Store
from archiver.pipeline import lineage
from archiver.pipeline.amending import Amending
from archiver.pipeline.backup import snapshots_in, workroom
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.spool import Spool

#: A larger file takes longer to be written anew than others wait for it.
MOST_WHILE_OTHERS_WORK = 512 << 20


class Busy(ArchiverError):
    """Somebody works on the image just now: nothing was done."""


@dataclass(slots=True)
class Forgotten:
    """What came of it. `gone` counts by store and kind; `troubles` are stores that could not be cleaned, with the
    reason; `waits` says why something on this machine must stay a while. `snapshots` may still hold the prompt, by
    store (None: it could not be asked)."""

    target: Target
    gone: dict[tuple[str, str], int] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    waits: list[str] = field(default_factory=list)
    snapshots: dict[str, int | None] = field(default_factory=dict)

    def count(self, place: str, what: str, number: int) -> None:
        """Add to what went."""
        if number:
            self.gone[place, what] = self.gone.get((place, what), 0) + number

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do."""
        return not self.troubles and not self.waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Erases images."""

    catalogue: Catalogue
    stores: Mapping[str, Store]
    inbox: Inbox
    spool: Spool
    parts: Path
    key_template: str
    now: Callable[[], datetime]

    def plan(self, target: Target) -> Forgotten:
        """Only look: what is known to be there."""
        forgotten = Forgotten(target=target)
        for name in target.stores:
            forgotten.count(name, "objects", len(self.catalogue.forgetting.keys(target, name)))
            if name not in self.stores:
                forgotten.troubles[name] = "it is not in the configuration"
        forgotten.count("spool", "files", sum(1 for _ in self._spooled(target)))
        forgotten.count("inbox", "files", sum(len(self.inbox.held(one)) for one in self._answered(target)))
        self._count_snapshots(forgotten)
        return forgotten

    def run(self, target: Target, owner: Owner, *, snapshots: bool = False) -> Forgotten:
        """Erase it, and what is left of an earlier attempt. With `snapshots`, those that were taken before go too.
        Raises `Busy` when somebody works on it."""
        forgotten, forgetting = Forgotten(target=target), self.catalogue.forgetting
        if not target.is_done:
            holders = forgetting.claimants(target)
            dead = {name for name in holders if not owner.is_alive(name)}
            with workroom(self.parts, owner):  # unpacked snapshots of those who died taking them go
                is_copied = len(list(self.parts.glob("catalogue-*"))) > 1
            if (
                is_copied
                or forgetting.is_being_collected(target)
                or not forgetting.begin(target, owner.id, dead, self.now())
            ):
                raise Busy(
                    "somebody works on this image, on one that was made of it, or on a snapshot; try again later"
                )
            for name in target.stores:
                self._clean(name, forgotten)
            self._clean_here(forgotten, owner)
        self._count_snapshots(forgotten, remove=snapshots)
        return forgotten

    def _clean(self, name: str, forgotten: Forgotten) -> None:
        """Take everything out of one store, unless it cannot be reached."""
        target = forgotten.target
        if name not in self.stores:
            forgotten.troubles[name] = "it is not in the configuration; bring its section back, and run this again"
            return
        store = self.stores[name]
        try:
            keys = sorted({*self.catalogue.forgetting.keys(target, name), *self._stray(target, store)})
            for key in keys:
                store.delete(key)
            changed = Amending(catalogue=self.catalogue, target=target).amend(store)
        except AdapterError as error:
            forgotten.troubles[name] = str(error)
            return
        self.catalogue.forgetting.visited(target, name)
        forgotten.count(name, "objects", len(keys))
        forgotten.count(name, "records", changed)

    def _stray(self, target: Target, store: Store) -> Iterator[str]:
        """Objects that no row names any more, or not yet: whoever put them was killed before it said so. Every key
        holds the id of its image, and begins with what is known of it."""
        for image_id in target.images:
            begin = permanent_key(
                _known_part(self.key_template),
                prefix=store.prefix,
                job=target.job,
                created=target.created_at,
                image_id=image_id,
                sha256="",
                ext="",
            )
            for found in store.list(begin):
                is_ours = image_id in found.key and not found.key.startswith(lineage.folder(store))
                if is_ours and not self.catalogue.forgetting.is_of_another(target, store.name, found.key):
                    yield found.key

    def _clean_here(self, forgotten: Forgotten, owner: Owner) -> None:
        target = forgotten.target
        names = list(self._spooled(target))
        for name in names:
            self.spool.discard(name)
        forgotten.count("spool", "files", len(names))
        for generation_id in self._answered(target):
            forgotten.count("inbox", "files", self.inbox.erase(generation_id))
        if self.inbox.held(target.generation_id):
            forgotten.waits.append("its answer is needed until the other images of its generation are archived")
        if self.catalogue.path.stat().st_size > MOST_WHILE_OTHERS_WORK and not owner.is_alone():
            forgotten.waits.append("the catalogue is too large to be written anew while others work: stop them first")
        if forgotten.is_whole:
            self.catalogue.forgetting.finish(target, self.now())

    def _spooled(self, target: Target) -> Iterator[str]:
        wanted = {*target.images}
        return (name for name in self.spool.names() if name.partition(".")[0] in wanted)

    def _answered(self, target: Target) -> list[str]:
        """The generations whose answers nobody needs once the images are forgotten."""
        is_needed = self.catalogue.forgetting.has_others_waiting(target)
        return [
            one for one in (target.generation_id, *target.erased[1:]) if not (is_needed and one == target.generation_id)
        ]

    def _count_snapshots(self, forgotten: Forgotten, *, remove: bool = False) -> None:
        """Snapshots that were taken before the image was forgotten everywhere."""
        target = forgotten.target
        before = target.begun if target.is_done and target.begun else self.now()
        for name, store in self.stores.items():
            try:
                old = [found.key for found in snapshots_in(store) if found.taken_at <= before]
                for key in old if remove else ():
                    store.delete(key)
            except (AdapterError, Unusable) as error:
                forgotten.snapshots[name] = None
                forgotten.troubles.setdefault(name, str(error))
                continue
            if remove:
                forgotten.count(name, "snapshots", len(old))
            forgotten.snapshots[name] = 0 if remove else len(old)


def _known_part(template: str) -> str:
    """A key template as far as it does not ask for what the bytes are."""
    ends = [at for at in (template.find("{sha256"), template.find("{ext")) if at >= 0]
    return template[: min(ends, default=len(template))]
