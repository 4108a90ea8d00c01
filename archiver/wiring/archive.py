"""The stores and the catalogue alone, for commands that check what is kept: no provider, and nothing is taken over from
processes that are gone, since what they left may be needed first."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from archiver.catalogue import FILE_NAME, Catalogue, Owner
from archiver.config import Config
from archiver.core.auditing import Share
from archiver.core.errors import Unusable
from archiver.core.ports import Store
from archiver.pipeline.examining import Examination
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.rebuild import Rebuild
from archiver.pipeline.repairing import Repair, plan
from archiver.pipeline.settler import Settler
from archiver.pipeline.spool import Spool
from archiver.pipeline.transfer import Carrier
from archiver.transport import CurlEngine, FetchLimits
from archiver.wiring import choose_stores, make_data_dir
from archiver.wiring.reading import open_stores
from archiver.wiring.surroundings import luck, new_id, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What is kept. There is no catalogue when none was made yet and none may be, and no owner when this process does
    not work."""

    config: Config
    catalogue: Catalogue | None
    owner: Owner | None
    stores: Mapping[str, Store]
    engine: CurlEngine

    @property
    def spool(self) -> Spool:
        """The spool."""
        return Spool(self.config.archiver.data_dir / "spool")

    @property
    def inbox(self) -> Inbox:
        """Answers that were not taken in yet, or whose images are under way."""
        return Inbox(self.config.archiver.data_dir / "inbox")

    def rebuild(self) -> Rebuild:
        """Making the catalogue anew."""
        return Rebuild(
            catalogue=self.catalogue,
            stores=self.stores,
            known=frozenset(self.config.stores),
            spool=self.spool,
            now=now,
            new_id=new_id,
        )

    def examination(self, named: Sequence[str], *, share: Share | None, believes_empty: bool) -> Examination:
        """Holding the catalogue against these of the stores; none named means all."""
        return Examination(
            catalogue=self._needed(),
            stores={name: store for name, store in self.stores.items() if not named or name in named},
            known=frozenset(self.config.stores),
            spool=self.spool,
            inbox=self.inbox,
            now=now,
            share=share,
            believes_empty=believes_empty,
        )

    def repair(self) -> Repair:
        """Mending what an examination finds. Raises Unusable when this process does not count as one that works."""
        catalogue, settings = self._needed(), self.config.archiver
        if self.owner is None:
            raise Unusable("a repair works, and needs a lock of its own")
        carrier = Carrier(
            fetch=partial(self.engine.fetch, limits=FetchLimits(max_bytes=self.config.fetch.max_bytes)),
            stores=self.stores,
            spool=self.spool,
            key_template=settings.key_template,
            now=now,
        )
        settler = Settler(
            catalogue=catalogue,
            stores=self.stores,
            inbox=self.inbox,
            spool=self.spool,
            now=now,
            luck=luck,
            new_id=new_id,
        )
        return Repair(
            catalogue=catalogue,
            owner=self.owner,
            stores=self.stores,
            spool=self.spool,
            carrier=carrier,
            settler=settler,
            now=now,
            new_id=new_id,
        )

    def plan(self) -> None:
        """Saying what a repair would do with what an examination found."""
        plan(self._needed(), self.config.stores, self.spool)

    def _needed(self) -> Catalogue:
        if self.catalogue is None:
            raise Unusable(
                f"there is no catalogue in {self.config.archiver.data_dir}; `archiver rebuild` makes it from a store"
            )
        return self.catalogue


@contextmanager
def open_archive(
    config: Config, named: Sequence[str], *, create: bool = False, works: bool = False
) -> Iterator[Archive]:
    """The archive with the stores of these names. With `create`, a catalogue is made where there is none. With either,
    this process counts as one that works."""
    data_dir = config.archiver.data_dir
    has_catalogue = (data_dir / FILE_NAME).exists()
    with ExitStack() as stack:
        catalogue = owner = None
        if create or (works and has_catalogue):
            os.umask(0o077)
            make_data_dir(data_dir)
            owner = stack.enter_context(Owner(data_dir / "owners", new_id()))
        if create or has_catalogue:
            catalogue = Catalogue.open(data_dir, create=create)
            stack.callback(catalogue.close)
        stores, engine = stack.enter_context(open_stores(config, choose_stores(config, named)))
        yield Archive(config=config, catalogue=catalogue, owner=owner, stores=stores, engine=engine)
