"""What the doctor is handed: stores and settings as they are, on an engine that remembers what it was answered.

No catalogue is opened, nobody's work is taken over, and nothing is left on the disk. It refuses to judge.
"""

import os
import re
import resource
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from archiver.config import Config
from archiver.core.errors import ConfigurationError
from archiver.core.model import HttpReply
from archiver.core.ports import Outside, Store
from archiver.transport import AddressGuard, CurlEngine
from archiver.transport.guard import literal_address
from archiver.wiring.adapters import connect, secret_references, settings_of
from archiver.wiring.surroundings import elapsed, now, resolve_secret

#: A server that takes longer is of no use to anybody who waits for an answer.
PATIENCE_S = 30.0
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)(?:\[[^]]*\])?(.*)")
#: Packages that put other files in place of those that we need.
_UNWANTED = ("crcmod-plus", "pysqlite3-binary", "urllib3-future")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One reply: who gave it to which method, and between which moments of our clock."""

    host: str
    method: str
    reply: HttpReply
    began: datetime
    ended: datetime


@dataclass(slots=True)
class Listener:
    """`core.ports.Engine` that passes everything on, and remembers the replies."""

    inner: CurlEngine
    heard: list[Heard] = field(default_factory=list)

    def send(self, method: str, url: str, **how: Any) -> HttpReply:
        """See `core.ports.Engine.send`."""
        began = now()
        how["total_s"] = min(how.get("total_s", PATIENCE_S), PATIENCE_S)
        reply = self.inner.send(method, url, **how)
        host = urlsplit(url).netloc.rpartition("@")[2]
        self.heard.append(Heard(host=host, method=method, reply=reply, began=began, ended=now()))
        return reply


@dataclass(frozen=True, slots=True)
class Bench:
    """Where stores and providers are tried. `direct` goes past the proxy, as providers do on this machine."""

    config: Config
    outside: Outside
    engine: Listener
    direct: Listener

    def store(self, name: str) -> Store:
        """A store, as it is: no gate before it."""
        made: Store = connect(self.config, "stores", name, self.outside)
        return made

    def settings(self, kind: str, name: str) -> Any:
        """The settings of a provider or a store, understood."""
        return settings_of(self.config, kind, name)

    def get(self, url: str) -> HttpReply:
        """One plain GET without any key, past the proxy where the host is this machine."""
        host = urlsplit(url).hostname or ""
        address = literal_address(host)
        is_here = host == "localhost" or (address is not None and ip_address(address).is_loopback)
        return (self.direct if is_here else self.engine).send("GET", url, headers={})


@contextmanager
def open_bench(config: Config) -> Iterator[Bench]:
    """A bench until the end."""
    guard = AddressGuard(config.fetch.allow_cidrs)
    engine = CurlEngine(config.network, guard)
    direct = CurlEngine(replace(config.network, proxy=None), guard)
    with TemporaryDirectory(prefix="archiver-doctor-") as folder:
        try:
            listening = Listener(engine)
            outside = Outside(
                secret=partial(resolve_secret, folder=config.path.parent),
                now=now,
                elapsed=elapsed,
                network=config.network,
                engine=listening,
                state_dir=Path(folder),
            )
            yield Bench(config, outside, listening, Listener(direct, listening.heard))
        finally:
            engine.close()
            direct.close()


def secrets(config: Config) -> Iterator[tuple[str, Path | None, str | None, str]]:
    """Every secret that is named: its key, its file where it has one, the secret (None: not to be had) and why not."""
    for key, reference in secret_references(config):
        kind, _, where = reference.text.partition(":")
        file = config.path.parent / Path(where).expanduser() if kind == "file" else None
        try:
            yield key, file, resolve_secret(reference, config.path.parent), ""
        except ConfigurationError as error:
            yield key, file, None, str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this machine says of itself. `libraries`: what archiver needs, with the version that is here (None: none)
    and the versions that are wanted; `mounts` is the text of /proc/self/mountinfo, empty where there is none."""

    python: tuple[int, ...]
    libraries: Mapping[str, tuple[str | None, str]]
    unwanted: tuple[str, ...]
    open_files: int
    mounts: str
    user: int


def look_at_machine() -> Machine:
    """Gather what this machine says of itself."""
    return Machine(
        python=tuple(sys.version_info[:3]),
        libraries={name: (_version(name), wanted) for name, wanted in _required()},
        unwanted=tuple(name for name in _UNWANTED if _version(name) is not None),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        mounts=_text(Path("/proc/self/mountinfo")),
        user=os.geteuid(),
    )


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder."""
    return shutil.disk_usage(folder).free


def _required() -> Iterator[tuple[str, str]]:
    for line in requires("archiver") or ():
        wanted, _, condition = line.partition(";")
        if "extra" not in condition and (match := _REQUIREMENT.match(wanted)):
            yield match[1], match[2].strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
