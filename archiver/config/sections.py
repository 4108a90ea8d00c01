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
)

from archiver.config.alerts_section import AlertsSection
from archiver.config.budget_section import Budgeted
from archiver.config.job_section import Job
from archiver.config.values import AbsolutePath, Bytes, Count, Name, Surroundings, Zone, absolute
from archiver.core.model import Network
from archiver.core.pace import Rate, parse_rate
from archiver.core.policy import check_key_template
from archiver.settings import Section


def _folder_url(rest: str, around: Surroundings | None) -> str:
    """`file://./folder` and `file://~/folder` as a URL with an absolute path; anything else would name a host."""
    if not rest.startswith(("./", "../", "~/")) or around is None:
        raise ValueError('names a host; write "file:///absolute/folder", or "file://./folder" beside this file')
    return "file://" + quote(str(absolute(unquote(rest), around)))


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


def _pace(text: str) -> str:
    parse_rate(text)
    return text


class ArchiverSection(Budgeted):
    """`[archiver]`: where the data is, the zone of all schedules, and how objects are named."""

    data_dir: AbsolutePath = Field(default="./data", validate_default=True)
    zone: Zone
    copies: Annotated[Count, Field(ge=1, le=256)] = 16
    processes: Annotated[Count, Field(ge=1, le=16)] = 1
    min_free: Annotated[Bytes, Field(ge=0)] = 512 * 1000**2
    spool_max: Annotated[Bytes, Field(ge=0)] = 10 * 1000**3
    prices_file: AbsolutePath | None = None
    key_template: Annotated[str, AfterValidator(_template)] = "{prefix}/{job}/{yyyy}/{mm}/{dd}/{id}-{sha256:12}.{ext}"


class FetchSection(Section):
    """`[fetch]`: what image URLs may point to, and how large an image may be (bytes)."""

    allow_cidrs: Annotated[tuple[Annotated[str, AfterValidator(_cidr)], ...], BeforeValidator(_cidrs)] = ()
    max_bytes: Annotated[Bytes, Field(ge=1000)] = 100 * 1000**2


class NetworkSection(Section):
    """`[network]`: how this machine reaches the outside."""

    proxy: Annotated[str, AfterValidator(_proxy)] | None = None
    ca_file: AbsolutePath | None = None


class ProviderSection(Budgeted):
    """`[providers.NAME]`: the kind of adapter, what holds for all kinds, and its own keys, not yet validated.

    `pace` is how often it may be asked, `burst` how many at once after a silence. An outcome that is unknown is held
    for the user, or with `on_unknown = "retry"` asked for once more, which may pay twice.
    """

    model_config = ConfigDict(extra="allow")

    kind: str = Field(min_length=1)
    pace: Annotated[str, AfterValidator(_pace)] | None = None
    burst: Annotated[Count, Field(ge=1)] = 1
    on_unknown: Literal["hold", "retry"] = "hold"

    @property
    def rate(self) -> Rate | None:
        """The pace, understood."""
        return Rate(every_s=parse_rate(self.pace), burst=self.burst) if self.pace is not None else None

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
