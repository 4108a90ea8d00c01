"""The composition root: a configuration becomes a pipeline.

Entry points, secrets, the clock, randomness, the environment and the address guard enter the program here and nowhere
else. It does no work of its own: what it builds is handed to the daemon or to a command, and closed again.
"""

import logging
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from ulid import ULID

from archiver import config as configuration
from archiver.catalogue import Catalogue, Owner
from archiver.config import Config
from archiver.core.errors import ConfigurationError, Unusable, UsageError
from archiver.core.model import SecretReference
from archiver.core.ports import Outside, Provider, Store
from archiver.core.redaction import redact
from archiver.pipeline import Job, Pipeline
from archiver.pipeline.backfill import Backfill
from archiver.pipeline.settler import Settler
from archiver.pipeline.spool import Inbox, Spool
from archiver.pipeline.transfer import Carrier
from archiver.transport import AddressGuard, CurlEngine, FetchLimits

FOLDERS = ("owners", "inbox", "spool", "providers", "parts")
NOISY_LOGGERS = ("urllib3", "requests", "botocore", "boto3", "s3transfer", "oss2", "aliyunsdkcore", "apscheduler")


def now() -> datetime:
    """The time, in UTC: the only clock of the house."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new identifier: a ULID in lower case, so that ids sort by time."""
    return str(ULID()).lower()


def load_config(explicit: str | None) -> Config:
    """Find, read and check the configuration, the adapters' own keys included. Raises ConfigurationError."""
    path = configuration.require_config(explicit, os.environ, cwd=Path.cwd(), home=Path.home())
    config = configuration.load(path, os.environ, machine_zone())
    for name in config.providers:
        _settings(config, "providers", name)
    for name in config.stores:
        _settings(config, "stores", name)
    return config


def machine_zone() -> str:
    """The machine's IANA time zone, UTC when it cannot be told."""
    if zone := os.environ.get("TZ", "").lstrip(":"):
        return zone if _is_zone(zone) else "UTC"
    local = Path("/etc/localtime")
    if local.is_symlink():
        _, found, name = str(local.resolve()).partition("zoneinfo/")
        if found and _is_zone(name):
            return name
    return "UTC"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError):
        return False
    return True


def resolve_secret(reference: SecretReference, folder: Path) -> str:
    """The secret behind `env:NAME` or `file:PATH` (relative to the configuration). Raises ConfigurationError."""
    kind, _, where = reference.text.partition(":")
    if kind == "env":
        value = os.environ.get(where, "").strip()
        if not value:
            raise ConfigurationError(f"the environment variable {where} is not set; it must hold the secret")
        return value
    path = folder / Path(where).expanduser()
    try:
        value = path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read the secret in {path}: {error.strerror}") from error
    if not value:
        raise ConfigurationError(f"{path} is empty; it must hold the secret")
    return value


def open_catalogue(config: Config, *, create: bool = False) -> Catalogue:
    """The catalogue alone, for questions: no secret, no network."""
    if create:
        make_data_dir(config.archiver.data_dir)
    return Catalogue.open(config.archiver.data_dir, create=create)


def make_data_dir(data_dir: Path) -> None:
    """Make the folders of the data, private to this user. Raises Unusable."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Unusable(f"cannot use data_dir {data_dir}: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Everything that is built from one configuration."""

    config: Config
    catalogue: Catalogue
    pipeline: Pipeline
    stores: Mapping[str, Store]

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
                prompts=partial(configuration.job_prompts, job),
                size=job.size,
                n=job.n,
                priority=job.priority,
                tags=job.tags,
            )
            for job in chosen
        ]

    def backfill(self, stores: Sequence[str]) -> Backfill:
        """The way in for URLs kept elsewhere; `stores` as in `choose_stores`."""
        return Backfill(
            catalogue=self.catalogue,
            stores=choose_stores(self.config, stores),
            zone=ZoneInfo(self.config.archiver.zone),
            now=now,
            new_id=new_id,
        )


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
    raise UsageError(f"say which store is meant, with --store; known are: {', '.join(known) or 'none'}")


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
        engine = CurlEngine(network, guard, temp_dir=data_dir / "parts")
        stack.callback(engine.close)
        outside = Outside(
            secret=partial(resolve_secret, folder=config.path.parent),
            now=now,
            network=network,
            engine=engine,
            state_dir=data_dir / "providers",
        )
        providers: dict[str, Provider] = {}
        for name in config.providers:
            provider: Any = _connect(config, "providers", name, outside)
            providers[name] = provider
            if hasattr(provider, "serve"):  # the sandbox: a source inside archiver
                sandboxes.append(provider)
                stack.callback(provider.close)
                provider.serve()
        stores: dict[str, Store] = {name: _connect(config, "stores", name, outside) for name in config.stores}
        limits = FetchLimits(max_bytes=config.fetch.max_bytes)
        inbox, spool = Inbox(data_dir / "inbox"), Spool(data_dir / "spool")
        carrier = Carrier(
            fetch=partial(engine.fetch, limits=limits),
            stores=stores,
            spool=spool,
            key_template=config.archiver.key_template,
            now=now,
        )
        settler = Settler(
            catalogue=catalogue, stores=stores, inbox=inbox, spool=spool, now=now, luck=random.random, new_id=new_id
        )
        pipeline = Pipeline(
            catalogue=catalogue,
            owner=owner,
            providers=providers,
            carrier=carrier,
            settler=settler,
            inbox=inbox,
            spool=spool,
            now=now,
            luck=random.random,
            new_id=new_id,
        )
        pipeline.recover()
        yield House(config=config, catalogue=catalogue, pipeline=pipeline, stores=stores)


def _module(kind: str, name: str, path: str) -> ModuleType:
    found = {point.name: point for point in entry_points(group=f"archiver.{kind}")}
    if name not in found:
        what = "kind of provider" if kind == "providers" else "kind of store"
        raise ConfigurationError(f"there is no {what} {name!r}; known are: {', '.join(sorted(found))}", path)
    module: ModuleType = found[name].load()
    return module


def _settings(config: Config, kind: str, name: str) -> tuple[ModuleType, Any]:
    if kind == "providers":
        provider = config.providers[name]
        module, raw = _module(kind, provider.kind, f"providers.{name}.kind"), provider.settings
    else:
        store = config.stores[name]
        module, raw = _module(kind, store.scheme, f"stores.{name}.url"), store.settings
    return module, configuration.validate_section(module.Settings, raw, f"{kind}.{name}", config.path)


def _connect(config: Config, kind: str, name: str, outside: Outside) -> Any:
    module, settings = _settings(config, kind, name)
    return module.connect(name, settings, outside)


def set_up_logging(level: str) -> None:
    """Log lines on stderr: readable on a terminal, one JSON object a line elsewhere. Secrets are taken out last."""
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    is_terminal = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=is_terminal and "NO_COLOR" not in os.environ)
        if is_terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            renderer,
            lambda _logger, _method, line: redact(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
