"""A pipeline in the test's own process: real catalogue, real adapters, real sockets; only the clock is the test's."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from archiver.catalogue import Catalogue, Draft, Owner
from archiver.core import policy
from archiver.core.model import Network, Outcome, SecretReference
from archiver.core.ports import Outside, Provider, Store
from archiver.pipeline import Pipeline
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.preflight import Preflight
from archiver.pipeline.reception import Reception
from archiver.pipeline.settler import Settler
from archiver.pipeline.spool import Spool
from archiver.pipeline.transfer import Carrier
from archiver.providers import images, sandbox
from archiver.resilience import Doors, GatedStore
from archiver.stores import local, oss
from archiver.transport import AddressGuard, CurlEngine, FetchLimits
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


@dataclass
class Clock:
    """Time that passes when the test says so."""

    moment: datetime = START

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **amount: float) -> None:
        """Let time pass."""
        self.moment += timedelta(**amount)


@dataclass
class Workshop:
    """One process's view: `pipeline`, and shortcuts to make work and do it step by step."""

    pipeline: Pipeline
    clock: Clock
    data_dir: Path
    new_id: Any
    drafts: list[Draft] = field(default_factory=list)

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue."""
        return self.pipeline.catalogue

    def plan(
        self, provider: str, *prompts: str, stores: tuple[str, ...] = ("near",), n: int = 1, model: str = "m"
    ) -> list[str]:
        """Plan one generation per prompt; their ids."""
        drafts = [
            Draft(
                id=self.new_id(), origin="generate", prompt=prompt, provider=provider, model=model, stores=stores, n=n
            )
            for prompt in prompts
        ]
        self.catalogue.generations.add(drafts, self.clock())
        return [draft.id for draft in drafts]

    def ask(self, provider: str) -> int:
        """Submit everything that is planned and due; how many there were."""
        port = self.pipeline.providers[provider]
        count = 0
        while (submission := self.pipeline.next_to_submit(port)) is not None:
            self.pipeline.submit(port, submission)
            count += 1
        return count

    def copy(self) -> list[Outcome]:
        """Copy and settle, as one batch, everything that is due."""
        outcomes = []
        while (ticket := self.pipeline.next_to_copy()) is not None:
            outcomes.append(self.pipeline.copy(ticket))
        if outcomes:
            self.pipeline.settler.settle(outcomes)
        return outcomes

    def images(self) -> list[dict[str, Any]]:
        """All images, oldest first."""
        return self.catalogue.reports.images(limit=1000)[::-1]

    def states(self) -> list[str]:
        """The states of all images."""
        return [image["state"] for image in self.images()]

    def generation(self, generation_id: str) -> dict[str, Any]:
        """How one generation stands."""
        return self.catalogue.reports.under_way([generation_id])[0]

    def files(self, folder: str) -> list[str]:
        """The names in a folder of the data."""
        return sorted(path.name for path in (self.data_dir / folder).iterdir())


_ids = itertools.count(1)
_lock = threading.Lock()


def _new_id() -> str:
    with _lock:
        return f"id{next(_ids):08d}"


@contextmanager
def open_workshop(
    folder: Path,
    *,
    near: Path | None = None,
    far: OssDouble | None = None,
    double: ImagesProvider | None = None,
    clock: Clock | None = None,
    sandbox_settings: dict[str, Any] | None = None,
    others: Callable[[Outside], dict[str, Store]] | None = None,
    askers: Callable[[Outside], dict[str, Provider]] | None = None,
    free: Callable[[], int] | None = None,
    spool_max: int = 10**10,
    limits: FetchLimits | None = None,
    **settings: Any,
) -> Iterator[Workshop]:
    """A process: stores `near` (a folder), `far` (an OSS double), `others`, providers `double`, `sandbox`, `askers`.

    With `free`, which tells the bytes free on its disk, stores have gates and money is spent after a preflight only.
    """
    clock = clock or Clock()
    for name in ("owners", "inbox", "spool", "providers", "parts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    secrets = {"env:K": far.access_key if far else "", "env:S": far.secret_key if far else "", "env:P": "sk"}
    if double is not None:
        secrets["env:P"] = double.api_key

    def secret(reference: SecretReference) -> str:
        return secrets[reference.text]

    with ExitStack() as stack:
        catalogue = Catalogue.open(folder, create=True)
        stack.callback(catalogue.close)
        owner = stack.enter_context(Owner(folder / "owners", _new_id()))
        engine = CurlEngine(Network(), AddressGuard(["127.0.0.1/32"]), temp_dir=folder / "parts")
        stack.callback(engine.close)
        outside = Outside(
            secret=secret,
            now=clock,
            elapsed=lambda: clock().timestamp(),
            network=Network(),
            engine=engine,
            state_dir=folder / "providers",
        )
        stores: dict[str, Store] = {
            "near": local.connect("near", local.Settings(url=f"file://{near or folder / 'near'}"), outside)
        }
        if far is not None:
            far_settings = oss.Settings(
                url=f"oss://{far.bucket}/archive",
                endpoint=far.endpoint,
                region=far.region,
                access_key_id=SecretReference("env:K"),
                access_key_secret=SecretReference("env:S"),
            )
            stores["far"] = oss.connect("far", far_settings, outside)
        stores |= others(outside) if others else {}
        doors, preflight = Doors(), None
        if free is not None:
            stores = {
                name: GatedStore(inner=store, gates=doors.stores, now=clock, luck=lambda: 0.5)
                for name, store in stores.items()
            }
        providers: dict[str, Provider] = {}
        if double is not None:
            given = images.Settings(
                base_url=(double.endpoint,), api_key=(SecretReference("env:P"),), model="nano-banana-pro", **settings
            )
            providers["double"] = images.connect("double", given, outside)
        providers |= askers(outside) if askers else {}
        if sandbox_settings is not None:
            made = sandbox.connect("sandbox", sandbox.Settings(**sandbox_settings), outside)
            stack.callback(made.close)
            providers["sandbox"] = made
        inbox, spool = Inbox(folder / "inbox"), Spool(folder / "spool")
        fetch = engine.fetch if limits is None else partial(engine.fetch, limits=limits)
        carrier = Carrier(fetch=fetch, stores=stores, spool=spool, key_template=policy.DEFAULT_KEY, now=clock)
        settler = Settler(
            catalogue=catalogue, stores=stores, inbox=inbox, spool=spool, now=clock, luck=lambda: 0.5, new_id=_new_id
        )
        reception = Reception(
            catalogue=catalogue, providers=providers, inbox=inbox, spool=spool, now=clock, new_id=_new_id
        )
        if free is not None:
            preflight = Preflight(
                catalogue=catalogue,
                stores=stores,
                gates=doors.stores,
                free=free,
                min_free=10**6,
                spool_max=spool_max,
                now=clock,
                luck=lambda: 0.5,
            )
        pipeline = Pipeline(
            preflight=preflight,
            doors=doors,
            catalogue=catalogue,
            owner=owner,
            providers=providers,
            reception=reception,
            carrier=carrier,
            settler=settler,
            inbox=inbox,
            spool=spool,
            now=clock,
            luck=lambda: 0.5,
            new_id=_new_id,
        )
        yield Workshop(pipeline=pipeline, clock=clock, data_dir=folder, new_id=_new_id)
