"""A configuration as rows for people: each key, its value and where the value comes from.

A secret reference is shown as written; a literal secret at the wrong place, a password in an address and a query string
are not shown.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel

from archiver.config.alerts_section import shown_webhook
from archiver.config.budget_section import Budgeted
from archiver.config.sections import Config, NetworkSection
from archiver.settings import duration_text

_SECRET_KEY = re.compile(r"key|secret|token|password|passwd|credential|authorization|cookie", re.IGNORECASE)
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")
_HIDDEN = "***"


class Row(NamedTuple):
    """One setting. `value` is what JSON can say; `origin` is `default`, `file` or `env`."""

    key: str
    value: object
    origin: str


def describe(config: Config) -> list[Row]:
    """All settings in the order of the documentation. Of adapters, the keys that are set."""
    return [Row(key, value, config.origins.get(key, "default")) for key, value in _settings(config)]


def _settings(config: Config) -> Iterator[tuple[str, object]]:
    yield from _own("archiver", config.archiver)
    for name, provider in config.providers.items():
        yield from _own(f"providers.{name}", provider)
        yield from _foreign(f"providers.{name}", provider.settings)
    for name, store in config.stores.items():
        yield from _foreign(f"stores.{name}", store.settings)
    yield from _own("fetch", config.fetch)
    for key in NetworkSection.model_fields:
        yield f"network.{key}", _shown(key, getattr(config.network, key))
    yield "alerts.webhook", shown_webhook(config.alerts.webhook)
    yield "alerts.command", list(config.alerts.command)
    for job in config.jobs:
        yield from _own(f"jobs.{job.name}", job)


def _own(path: str, section: BaseModel) -> Iterator[tuple[str, object]]:
    # Inherited keys come first in a model; budgets are documented last.
    for key in sorted(type(section).model_fields, key=lambda key: key in Budgeted.model_fields):
        yield f"{path}.{key}", _plain(getattr(section, key))


def _plain(value: object) -> object:
    """A value as JSON can say it."""
    if isinstance(value, Path | Decimal):
        return str(value)
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _foreign(path: str, settings: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        yield f"{path}.{key}", _shown(key, value)


def _shown(key: str, value: object) -> object:
    if isinstance(value, dict):
        return {inner: _shown(f"{key}.{inner}", item) for inner, item in value.items()}
    if isinstance(value, list):
        return [_shown(key, item) for item in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = str(value)
    if _SECRET_KEY.search(key) and not _REFERENCE.fullmatch(text):
        return _HIDDEN
    return _without_credentials(text) if "://" in text else text


def _without_credentials(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return _HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    query = f"?{_HIDDEN}" if parts.query else ""
    return f"{parts.scheme}://{_HIDDEN + at if user else ''}{host}{parts.path}{query}"
