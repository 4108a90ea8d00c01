"""Building a pipeline from a configuration, and closing it again."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from archiver import config as configuration
from archiver.catalogue import Catalogue, Owner
from archiver.config import Config
from archiver.core.errors import UsageError
from archiver.core.ports import Outside, Provider, Store
from archiver.pipeline import Job, Pipeline
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.preflight import Preflight
from archiver.pipeline.reception import Reception
from archiver.pipeline.settler import Settler
from archiver.pipeline.shelf import Shelf
from archiver.pipeline.spool import Spool
from archiver.pipeline.transfer import Carrier
from archiver.resilience import Doors, GatedStore, Paces
from archiver.transport import DEFAULT_BUDGET, AddressGuard, ByteBudget, CurlEngine, FetchLimits
from archiver.wiring import make_data_dir
from archiver.wiring.adapters import connect, request_settings, tariffs
from archiver.wiring.budgets import budget_limits
from archiver.wiring.key_watch import KeyWatch
from archiver.wiring.surroundings import elapsed, luck, new_id, now, resolve_secret, worked

#: So many waiting images are worth another process.
MANY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Everything that is built from one configuration."""

    config: Config
    catalogue: Catalogue
    pipeline: Pipeline
    stores: Mapping[str, Store]
    outside: Outside
    log_level: str = "WARNING"

    @property
    def copies(self) -> int:
        """How many images each process copies at once, at most."""
        return max(1, self.config.archiver.copies // self.config.archiver.processes)

    def companions(self, *, tries_all_since: datetime | None = None, always: bool = False) -> list[list[str]]:
        """The commands of the processes that copy beside this one. None when little waits (unless `always`): to start
        one takes as long as to copy some hundred images. None beside a sandbox, which only this process may fetch of.
        """
        serves = any(hasattr(provider, "serve") for provider in self.pipeline.providers.values())
        if serves or not (always or self.catalogue.reports.busy()[1] >= MANY):
            return []
        command = [sys.executable, "-P", "-m", "archiver.beside", str(self.config.path), self.log_level]
        since = [] if tries_all_since is None else [tries_all_since.isoformat()]
        return [[*command, *since]] * (self.config.archiver.processes - 1)

    def jobs(self, name: str | None = None) -> list[Job]:
        """The enabled jobs, or the one called `name`. Raises UsageError for an unknown one."""
        known = {job.name: job for job in self.config.jobs}
        if name is not None and name not in known:
            raise UsageError(f"there is no job {name!r}; known are: {', '.join(known) or 'none'}")
        chosen = [known[name]] if name is not None else [job for job in self.config.jobs if job.enabled]
        return [
            Job(
                name=job.name,
                schedule=job.when,
                schedule_text=f"{job.schedule} ({job.zone})",
                catch_up=job.catch_up,
                provider=job.provider,
                model=self.pipeline.providers[job.provider].model,
                stores=job.stores,
                wishes=partial(configuration.job_wishes, job),
                size=job.size,
                n=job.n,
                priority=job.priority,
                tags=job.tags,
                parameters=job.parameters,
                inputs=job.inputs,
                settings=request_settings(self.config, job.provider),
                reuse=job.reuse,
            )
            for job in chosen
        ]


def _serving(providers: Mapping[str, Provider], stack: ExitStack) -> list[Any]:
    """Start the providers that serve their images themselves (the sandbox); `stack` closes them."""
    found: list[Any] = [provider for provider in providers.values() if hasattr(provider, "serve")]
    for provider in found:
        stack.callback(provider.close)
        provider.serve()
    return found


def _pipeline(
    config: Config,
    *,
    catalogue: Catalogue,
    owner: Owner,
    engine: CurlEngine,
    providers: Mapping[str, Provider],
    outside: Outside,
) -> tuple[Mapping[str, Store], Pipeline]:
    """The stores, each behind its gate, and the pipeline over all."""
    settings, doors = config.archiver, Doors(paces=_paces(config))
    stores: dict[str, Store] = {
        name: GatedStore(inner=connect(config, "stores", name, outside), gates=doors.stores, now=now, luck=luck)
        for name in config.stores
    }
    inbox, spool = Inbox(settings.data_dir / "inbox"), Spool(settings.data_dir / "spool")
    pipeline = Pipeline(
        catalogue=catalogue,
        owner=owner,
        providers=providers,
        reception=Reception(
            catalogue=catalogue,
            providers=providers,
            inbox=inbox,
            spool=spool,
            now=now,
            new_id=new_id,
            tariffs=tariffs(config),
            repeating=[name for name, section in config.providers.items() if section.on_unknown == "retry"],
        ),
        carrier=Carrier(
            fetch=partial(engine.fetch, limits=FetchLimits(max_bytes=config.fetch.max_bytes)),
            stores=stores,
            spool=spool,
            key_template=settings.key_template,
            now=now,
        ),
        settler=Settler(
            catalogue=catalogue, stores=stores, inbox=inbox, spool=spool, now=now, luck=luck, new_id=new_id
        ),
        preflight=_preflight(config, catalogue, stores, doors),
        doors=doors,
        inbox=inbox,
        spool=spool,
        now=now,
        luck=luck,
        new_id=new_id,
        elapsed=elapsed,
        worked=worked,
        shelf=Shelf(elapsed),
        limits=budget_limits(config),
    )
    return stores, pipeline


def _preflight(config: Config, catalogue: Catalogue, stores: Mapping[str, Store], doors: Doors) -> Preflight:
    settings = config.archiver
    return Preflight(
        catalogue=catalogue,
        stores=stores,
        gates=doors.stores,
        free=lambda: shutil.disk_usage(settings.data_dir).free,
        min_free=settings.min_free,
        spool_max=settings.spool_max,
        now=now,
        luck=luck,
    )


def _paces(config: Config) -> Paces:
    return Paces({name: rate for name, section in config.providers.items() if (rate := section.rate)}, elapsed)


@contextmanager
def open_house(config: Config) -> Iterator[House]:
    """Build the pipeline, take over from processes that are gone, and close everything at the end."""
    os.umask(0o077)
    data_dir = config.archiver.data_dir
    make_data_dir(data_dir)
    with ExitStack() as stack:
        catalogue = Catalogue.open(data_dir, create=True)
        stack.callback(catalogue.close)
        owner = stack.enter_context(Owner(data_dir / "owners", new_id()))
        network = config.network
        sandboxes: list[Any] = []
        # Loopback is refused but for the sandbox's own address, which may change while it runs.
        guard = AddressGuard(
            config.fetch.allow_cidrs, lambda address, port: (address, port) in {own.address() for own in sandboxes}
        )
        budget = ByteBudget(DEFAULT_BUDGET // config.archiver.processes)
        engine = CurlEngine(network, guard, budget=budget, temp_dir=data_dir / "parts")
        stack.callback(engine.close)
        outside = Outside(
            secret=partial(resolve_secret, folder=config.path.parent),
            now=now,
            elapsed=elapsed,
            network=network,
            engine=engine,
            state_dir=data_dir / "providers",
            key_news=KeyWatch(catalogue, now),
        )
        providers: dict[str, Provider] = {
            name: connect(config, "providers", name, outside) for name in config.providers
        }
        sandboxes += _serving(providers, stack)
        outside = replace(outside, state_dir=data_dir / "stores")
        stores, pipeline = _pipeline(
            config, catalogue=catalogue, owner=owner, engine=engine, providers=providers, outside=outside
        )
        catalogue.outcomes.release_held()
        pipeline.recover(at_start=True)
        yield House(config=config, catalogue=catalogue, pipeline=pipeline, stores=stores, outside=outside)
