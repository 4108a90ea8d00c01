"""Stores, to look into and nothing else: no provider, no catalogue, no recovery.

It refuses to build more than a question needs: a command that shows an image must not take over anybody's work.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from archiver.config import Config
from archiver.core.ports import Outside, Store
from archiver.transport import AddressGuard, CurlEngine
from archiver.wiring.adapters import connect
from archiver.wiring.surroundings import elapsed, now, resolve_secret


@contextmanager
def open_stores(config: Config, names: Sequence[str]) -> Iterator[tuple[Mapping[str, Store], CurlEngine]]:
    """The stores of these names, and the engine that carries their bytes, until the end."""
    data_dir = config.archiver.data_dir
    engine = CurlEngine(config.network, AddressGuard(config.fetch.allow_cidrs), temp_dir=data_dir / "parts")
    try:
        outside = Outside(
            secret=partial(resolve_secret, folder=config.path.parent),
            now=now,
            elapsed=elapsed,
            network=config.network,
            engine=engine,
            state_dir=data_dir / "stores",
        )
        yield {name: connect(config, "stores", name, outside) for name in names}, engine
    finally:
        engine.close()


@contextmanager
def open_store(config: Config, name: str) -> Iterator[Store]:
    """The store called `name`, until the end."""
    with open_stores(config, (name,)) as (stores, _):
        yield stores[name]
