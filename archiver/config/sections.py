"""The tables of the configuration file, each with its keys, defaults and what they may hold.

The keys of a provider or a store are its adapter's: they stay raw here. Paths come out absolute. Validation happens in
`Surroundings`, because a job names providers and stores, and paths are relative to the file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from archiver.config.alerts_section import AlertsSection
from archiver.config.budget_section import Budgeted
from archiver.config.complaints import did_you_mean
from archiver.core.model import Network
from archiver.core.policy import check_key_template
from archiver.schedule import Schedule, find_zone, parse
from archiver.settings import Section

_SIZE = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "KI": 1024, "MI": 1024**2, "GI": 1024**3}
_PICTURE_SIZE = re.compile(r"[1-9][0-9]*x[1-9][0-9]*|[0-9.]+[kK]|[0-9]+:[0-9]+|[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What one table must know of the others: the file's folder, the user's home, and all names that exist."""

    folder: Path
    home: Path | None
    providers: frozenset[str]
    stores: frozenset[str]


def absolute(text: str, around: Surroundings) -> Path:
    """A path of the configuration: relative to the file's folder; `~/` is the user's home. Raises ValueError."""
    if not text.strip() or "\0" in text:
        raise ValueError("is no path")
    if text == "~" or text.startswith("~/"):
        if around.home is None:
            raise ValueError("~ means nothing here: HOME is not set")
        return around.home / text[2:]
    return around.folder / text


def _absolute(value: object, info: ValidationInfo) -> object:
    return absolute(value, info.context) if isinstance(value, str) and info.context else value


def _folder_url(rest: str, around: Surroundings | None) -> str:
    """`file://./folder` and `file://~/folder` as a URL with an absolute path; anything else would name a host."""
    if not rest.startswith(("./", "../", "~/")) or around is None:
        raise ValueError('names a host; write "file:///absolute/folder", or "file://./folder" beside this file')
    return "file://" + quote(str(absolute(unquote(rest), around)))


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,64}", text):
        raise ValueError("a name has only a-z, 0-9 and -, at most 64 of them")
    return text


def _zone(name: str) -> str:
    return find_zone(name).key


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMG]I?|)B", value.strip().upper())
    if match is None:
        raise ValueError('is no size; write a number with B, KB, MB, GB, KiB, MiB or GiB, for example "100MB"')
    return int(float(match[1]) * _SIZE[match[2]])


def _template(text: str) -> str:
    check_key_template(text)
    return text


def _cidrs(value: object) -> object:
    """The environment has no lists: a text with commas is one."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _cidr(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError('is no network; write for example "127.0.0.1/32" or "10.0.0.0/8"') from None


def _proxy(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https", "socks5", "socks5h") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:  # never repeated: it may hold a password
        raise ValueError('is no proxy; write "http://host:port", or socks5h:// in place of http://')
    return text


def _prompt(text: str) -> str:
    if not text.strip():
        raise ValueError("is an empty prompt")
    return text


AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
# Without `strict`, pydantic would read "3" and true as numbers.
Count = Annotated[int, Field(strict=True)]


class ArchiverSection(Budgeted):
    """`[archiver]`: where the data is, the zone of all schedules, and how objects are named."""

    data_dir: AbsolutePath = Field(default="./data", validate_default=True)
    zone: Zone
    copies: Annotated[Count, Field(ge=1, le=256)] = 16
    min_free: Annotated[Count, BeforeValidator(_bytes), Field(ge=0)] = 512 * 1000**2
    spool_max: Annotated[Count, BeforeValidator(_bytes), Field(ge=0)] = 10 * 1000**3
    key_template: Annotated[str, AfterValidator(_template)] = "{prefix}/{job}/{yyyy}/{mm}/{dd}/{id}-{sha256:12}.{ext}"


class FetchSection(Section):
    """`[fetch]`: what image URLs may point to, and how large an image may be (bytes)."""

    allow_cidrs: Annotated[tuple[Annotated[str, AfterValidator(_cidr)], ...], BeforeValidator(_cidrs)] = ()
    max_bytes: Annotated[Count, BeforeValidator(_bytes), Field(ge=1000)] = 100 * 1000**2


class NetworkSection(Section):
    """`[network]`: how this machine reaches the outside."""

    proxy: Annotated[str, AfterValidator(_proxy)] | None = None
    ca_file: AbsolutePath | None = None


class ProviderSection(Budgeted):
    """`[providers.NAME]`: the kind of adapter and its budgets, and its own keys, not yet validated."""

    model_config = ConfigDict(extra="allow")

    kind: str = Field(min_length=1)

    @property
    def settings(self) -> Mapping[str, object]:
        """The adapter's own keys, as written."""
        return dict(self.model_extra or {})


class StoreSection(Section):
    """`[stores.NAME]`: the URL, whose scheme says which adapter, and its own keys, not yet validated."""

    model_config = ConfigDict(extra="allow")

    url: str

    @field_validator("url")
    @classmethod
    def _addressed(cls, url: str, info: ValidationInfo) -> str:
        match = re.fullmatch(r"([a-z][a-z0-9+.-]*)://(.+)", url)
        if match is None:
            raise ValueError('is no store; write "file:///folder", "s3://bucket/prefix" or "oss://bucket/prefix"')
        scheme, rest = match.groups()
        if scheme == "file" and not rest.startswith("/"):
            return _folder_url(rest, info.context)
        if scheme != "file" and "@" in rest.partition("/")[0]:
            raise ValueError("a key does not belong into the URL; write access_key_id and access_key_secret")
        return url

    @property
    def scheme(self) -> str:
        """`file`, `s3`, `oss`: the name of the adapter's entry point."""
        return self.url.partition(":")[0]

    @property
    def settings(self) -> Mapping[str, object]:
        """The adapter's keys as written, with the `url` (a `file` one made absolute)."""
        return {"url": self.url, **(self.model_extra or {})}


class Job(Budgeted):
    """`[[jobs]]`: a schedule with prompts and a provider. Loading fills in `zone` and `stores` where they are left out.

    The zone comes before the schedule: it is needed to understand it.
    """

    name: Name
    zone: Zone
    schedule: str
    provider: str
    stores: tuple[str, ...] = Field(default=(), validate_default=True)
    prompts: Annotated[tuple[Annotated[str, AfterValidator(_prompt)], ...], Field(min_length=1)] | None = None
    prompts_file: AbsolutePath | None = None
    size: str | None = None
    n: Annotated[Count, Field(ge=1, le=10)] = 1
    enabled: Annotated[bool, Field(strict=True)] = True
    catch_up: Literal["once", "all", "skip"] = "once"
    priority: Count = 0
    tags: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @property
    def when(self) -> Schedule:
        """The schedule, understood."""
        return parse(self.schedule, self.zone)

    @field_validator("schedule")
    @classmethod
    def _understood(cls, schedule: str, info: ValidationInfo) -> str:
        parse(schedule, info.data.get("zone", "UTC"))
        return schedule

    @field_validator("provider")
    @classmethod
    def _configured_provider(cls, provider: str, info: ValidationInfo) -> str:
        if info.context and provider not in info.context.providers:
            raise ValueError(f'unknown provider "{provider}"{did_you_mean(provider, sorted(info.context.providers))}')
        return provider

    @field_validator("stores")
    @classmethod
    def _configured_stores(cls, stores: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = sorted(info.context.stores) if info.context else sorted(stores)
        if not stores:
            choice = f"one or more of: {', '.join(known)}" if known else "a store, after configuring [stores.NAME]"
            raise ValueError(f"names no store; write stores = [...] with {choice}")
        for store in stores:
            if store not in known:
                raise ValueError(f'unknown store "{store}"{did_you_mean(store, known)}')
        if len(set(stores)) < len(stores):
            raise ValueError("names a store twice")
        return stores

    @field_validator("size")
    @classmethod
    def _picture_size(cls, size: str | None) -> str | None:
        if size is not None and not _PICTURE_SIZE.fullmatch(size):
            raise ValueError('is no size; write "2048x2048", or a word of the provider such as "2K" or "auto"')
        return size

    @model_validator(mode="after")
    def _one_source_of_prompts(self) -> "Job":
        if (self.prompts is None) == (self.prompts_file is None):
            raise ValueError("write either prompts = [...] or prompts_file, exactly one of the two")
        return self


class Document(Section):
    """The whole file."""

    archiver: ArchiverSection
    providers: dict[Name, ProviderSection] = Field(default_factory=dict)
    stores: dict[Name, StoreSection] = Field(default_factory=dict)
    fetch: FetchSection = FetchSection()
    network: NetworkSection = NetworkSection()
    alerts: AlertsSection = AlertsSection()
    jobs: tuple[Job, ...] = ()

    @field_validator("jobs")
    @classmethod
    def _distinct(cls, jobs: tuple[Job, ...]) -> tuple[Job, ...]:
        names = [job.name for job in jobs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'two jobs are called "{twice[0]}"; the name is what the catalogue remembers a job by')
        return jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A valid configuration. `origins` says of each dotted key that was set whether by `file` or by `env`."""

    path: Path
    origins: Mapping[str, str]
    archiver: ArchiverSection
    providers: Mapping[str, ProviderSection]
    stores: Mapping[str, StoreSection]
    fetch: FetchSection
    network: Network
    alerts: AlertsSection
    jobs: tuple[Job, ...]
