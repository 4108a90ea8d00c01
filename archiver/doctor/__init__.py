"""Self-tests: can this machine, with this configuration, archive images? A list of findings, each with what to do.

It never raises, spends nothing, and changes nothing but the probe object in each store. What the command line does with
the findings is not its business.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from archiver.catalogue.health import library
from archiver.config import Config, describe
from archiver.core.errors import UsageError
from archiver.doctor import folders, machine
from archiver.doctor.catalogue import catalogue
from archiver.doctor.clock import clock
from archiver.doctor.findings import CONFIGURATION, STOPS, Finding, bad, kept, ok, veiled, warn
from archiver.doctor.providers import provider
from archiver.doctor.stores import ESSENTIAL, StoreTrial
from archiver.wiring.examining import Bench, Machine, free_bytes, look_at_machine, open_bench, secrets
from archiver.wiring.surroundings import elapsed

__all__ = ["Finding", "Patient", "examine", "exit_code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is to be examined. With `stores` or `providers`, only those, and what concerns them; with `offline` nothing
    leaves this machine; `deep` reads the whole catalogue."""

    load: Callable[[], Config]
    stores: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    offline: bool = False
    deep: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether everything is examined."""
        return not self.stores and not self.providers


def exit_code(findings: list[Finding]) -> int:
    """0 all is well, or only warnings; 1 something is bad and archiving goes on; 2 the configuration; 3 it cannot."""
    return max((finding.code for finding in findings), default=0)


def examine(patient: Patient) -> Iterator[Finding]:
    """All findings, one by one, as they are made."""
    about = look_at_machine()
    if patient.is_whole:
        yield from kept("machine", "versions", lambda: machine.versions(about))
        yield from kept("machine", "sqlite", lambda: machine.sqlite(library()))
    loaded: list[Config] = []
    yield from kept("configuration", "load", lambda: _load(patient, loaded))
    for config in loaded:
        known = [secret for _, _, secret, _ in secrets(config) if secret]
        proxy = config.network.proxy or ""
        known += [part for part in proxy.rpartition("@")[0].partition("://")[2].split(":") if part]
        for finding in _examined(patient, config, about):
            yield veiled(finding, known)


def _load(patient: Patient, into: list[Config]) -> Iterator[Finding]:
    try:
        into.append(patient.load())
    except UsageError as error:
        yield bad("configuration", "load", str(error), "correct it, then `archiver config check`", CONFIGURATION)


def _examined(patient: Patient, config: Config, about: Machine) -> Iterator[Finding]:
    data_dir = config.archiver.data_dir
    yield from kept("configuration", "load", lambda: _configuration(patient, config))
    yield from kept("configuration", "secrets", lambda: _secrets(patient, config))
    if patient.is_whole:
        yield from kept("data_dir", "permissions", lambda: folders.permissions(data_dir, about.user))
        yield from kept("data_dir", "file system", lambda: folders.disk(data_dir, about.mounts))
        yield from kept("data_dir", "free space", lambda: folders.room(data_dir, free_bytes, config.archiver.min_free))
        yield from kept("catalogue", "file", lambda: catalogue(data_dir, deep=patient.deep, elapsed=elapsed))
        yield from kept("machine", "open files", lambda: _open_files(config, about))
    with ExitStack() as stack:
        benches: list[Bench] = []
        yield from kept("network", "engine", lambda: _set_up(stack, config, benches))
        for bench in benches:
            yield from _outside(patient, config, bench)


def _set_up(stack: ExitStack, config: Config, benches: list[Bench]) -> Iterator[Finding]:
    benches.append(stack.enter_context(open_bench(config)))
    if proxy := next((row.value for row in describe(config) if row.key == "network.proxy"), None):
        yield ok("network", "proxy", f"{proxy} is used")


def _outside(patient: Patient, config: Config, bench: Bench) -> Iterator[Finding]:
    """What is told by asking others."""
    if patient.offline:
        yield ok("network", "offline", "nobody was asked: providers, clock and stores in buckets were not tried")
    else:
        for name in patient.providers or (() if patient.stores else config.providers):
            yield from kept(f"provider {name}", "reach", partial(provider, bench, name))
    broken = []
    names = patient.stores or (() if patient.providers else tuple(config.stores))
    for name in names:
        trial = StoreTrial(bench, name)
        found = list(kept(trial.subject, "connect", partial(trial.run, offline=patient.offline)))
        yield from found
        broken += [name] if any(one.verdict == "bad" and one.check in ESSENTIAL for one in found) else []
    if broken and len(broken) == len(names):
        text = "no store takes images: " + ", ".join(broken)
        yield bad("stores", "all", text, "mend one of them; until then nothing is asked for", STOPS)
    if not config.stores:
        text = "no store is configured"
        yield bad("stores", "all", text, "add a section such as [stores.main] with a url", CONFIGURATION)
    yield from kept("clock", "date", lambda: clock(bench.engine.heard))


def _configuration(patient: Patient, config: Config) -> Iterator[Finding]:
    count = f"{len(config.providers)} providers, {len(config.stores)} stores, {len(config.jobs)} jobs"
    yield ok("configuration", "load", f"{config.path}: {count}")
    if not patient.is_whole:
        return
    may = set(folders.open_to_all(config.path))
    if "change" in may:
        text = f"others on this machine may change {config.path}, and what it names is run and asked for"
        yield bad("configuration", "permissions", text, f"chmod go-w {config.path}")
    elif "read" in may:
        text = f"everybody on this machine may read {config.path}"
        yield warn("configuration", "permissions", text, f"chmod o-r {config.path}; it holds addresses and names")
    else:
        yield ok("configuration", "permissions", "not for everybody's eyes")


def _secrets(patient: Patient, config: Config) -> Iterator[Finding]:
    wanted = {f"stores.{name}" for name in patient.stores} | {f"providers.{name}" for name in patient.providers}
    chosen = [row for row in secrets(config) if patient.is_whole or row[0].rpartition(".")[0] in wanted]
    for key, file, secret, why in chosen:
        if secret is None:
            yield bad("configuration", "secrets", f"{key}: {why}", "set it, or correct the reference", CONFIGURATION)
        elif file is not None and (may := set(folders.open_to_all(file))):
            text = f"{key}: everybody on this machine may {' and '.join(sorted(may))} {file}"
            yield warn("configuration", "secrets", text, f"chmod 600 {file}")
    if all(secret is not None for _, _, secret, _ in chosen):
        yield ok("configuration", "secrets", f"{len(chosen)} secrets can be had")


def _open_files(config: Config, about: Machine) -> Iterator[Finding]:
    requests = 0
    for section in config.providers.values():
        asked = section.settings.get("concurrency", 16)
        requests += asked if isinstance(asked, int) else 16
    yield from machine.open_files(about, config.archiver.copies, requests)
