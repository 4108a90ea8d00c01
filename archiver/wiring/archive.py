"""The stores and the catalogue alone, for commands that check what is kept: no provider, and nothing is taken over from
processes that are gone, since what they left may be needed first."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from archiver.catalogue import FILE_NAME, Catalogue, Owner
from archiver.config import Config
from archiver.core.ports import Outside, Store
from archiver.pipeline.rebuild import Rebuild
from archiver.pipeline.spool import Spool
from archiver.transport import AddressGuard, CurlEngine
from archiver.wiring import choose_stores, make_data_dir
from archiver.wiring.adapters import connect
from archiver.wiring.surroundings import elapsed, new_id, now, resolve_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What is kept. There is no catalogue when none was made yet and none may be."""

    config: Config
    catalogue: Catalogue | None
    owner: Owner | None
    stores: Mapping[str, Store]

    def rebuild(self) -> Rebuild:
        """Making the catalogue anew."""
        return Rebuild(
            catalogue=self.catalogue,
            stores=self.stores,
            known=frozenset(self.config.stores),
            spool=Spool(self.config.archiver.data_dir / "spool"),
            now=now,
            new_id=new_id,
        )


@contextmanager
def open_archive(config: Config, named: Sequence[str], *, create: bool) -> Iterator[Archive]:
    """The archive with the stores of these names. With `create`, a catalogue is made where there is none, and this
    process counts as one that works."""
    data_dir = config.archiver.data_dir
    with ExitStack() as stack:
        catalogue = owner = None
        if create:
            make_data_dir(data_dir)
            owner = stack.enter_context(Owner(data_dir / "owners", new_id()))
        if create or (data_dir / FILE_NAME).exists():
            catalogue = Catalogue.open(data_dir, create=create)
            stack.callback(catalogue.close)
        engine = CurlEngine(config.network, AddressGuard(config.fetch.allow_cidrs), temp_dir=data_dir / "parts")
        stack.callback(engine.close)
        outside = Outside(
            secret=partial(resolve_secret, folder=config.path.parent),
            now=now,
            elapsed=elapsed,
            network=config.network,
            engine=engine,
            state_dir=data_dir / "stores",
        )
        stores = {name: connect(config, "stores", name, outside) for name in choose_stores(config, named)}
        yield Archive(config=config, catalogue=catalogue, owner=owner, stores=stores)
