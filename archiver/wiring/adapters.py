"""Configuration and adapters: finding the file, finding the module behind a kind or a scheme, and its settings.

Adapters are found by entry points, built-in ones like any plugin; their heavy libraries are not loaded here.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from archiver import config as configuration
from archiver.config import Config
from archiver.core.errors import ConfigurationError
from archiver.core.model import SecretReference
from archiver.core.ports import Outside
from archiver.core.pricing import Prices, Tariff, micro_usd
from archiver.wiring.budgets import check_budgets
from archiver.wiring.surroundings import machine_zone, now, resolve_secret


def load_config(explicit: str | None) -> Config:
    """Find, read and check the configuration, the adapters' own keys included. Raises ConfigurationError."""
    path = configuration.require_config(explicit, os.environ, cwd=Path.cwd(), home=Path.home())
    config = configuration.load(path, os.environ, machine_zone())
    for name in config.providers:
        _settings(config, "providers", name)
    for name in config.stores:
        _settings(config, "stores", name)
    models = {name: str(getattr(_settings(config, "providers", name)[1], "model", "")) for name in config.providers}
    check_budgets(config, tariffs(config), models, now().date())
    return config


def tariffs(config: Config) -> dict[str, Tariff]:
    """What each provider charges, by its name: what its section says, else the price table. Raises
    ConfigurationError."""
    prices = configuration.load_prices(config.archiver.prices_file)
    return {name: _tariff(_settings(config, "providers", name)[1], prices) for name in config.providers}


def _tariff(settings: Any, prices: Prices) -> Tariff:
    """Of several addresses the first one is where the account is; an adapter of others may have none of these keys."""
    price, addresses = getattr(settings, "price_usd", None), getattr(settings, "base_url", ())
    first = addresses if isinstance(addresses, str) else next(iter(addresses), "")
    parameters = getattr(settings, "parameters", {})
    return Tariff(
        image_micro=None if price is None else micro_usd(price),
        prices=prices.at(urlsplit(first).hostname or ""),
        parameters=parameters if isinstance(parameters, Mapping) else {},
        mode=getattr(settings, "mode", None),
    )


def secret_references(config: Config) -> Iterator[tuple[str, SecretReference]]:
    """Every secret that the configuration names: the dotted key, and the reference."""
    for kind, names in (("providers", config.providers), ("stores", config.stores)):
        for name in names:
            for key, value in _settings(config, kind, name)[1]:
                for reference in value if isinstance(value, tuple) else (value,):
                    if isinstance(reference, SecretReference):
                        yield f"{kind}.{name}.{key}", reference
    if isinstance(webhook := config.alerts.webhook, SecretReference):
        yield "alerts.webhook", webhook


def check_secrets(config: Config) -> None:
    """Resolve every secret that the configuration names. Raises ConfigurationError with the key of the first
    missing."""
    for key, reference in secret_references(config):
        try:
            secret = resolve_secret(reference, config.path.parent)
            if key == "alerts.webhook":
                configuration.check_webhook(secret)
        except (ConfigurationError, ValueError) as error:
            raise ConfigurationError(str(error), key) from None


#: Settings of providers that change nothing in what is asked for.
_NOT_ASKED = frozenset({
    "allow_http", "api_key", "base_url", "concurrency", "fault_rate", "free_codes", "free_statuses", "gather",
    "latency", "lifetime", "most_at_once", "poll_interval", "price_usd",
})  # fmt: skip


def request_settings(config: Config, provider: str) -> dict[str, object]:
    """The settings of a provider that may change what it is asked for, as written: a request under other settings is
    another request. One that nobody here knows counts."""
    section = config.providers[provider]
    return {"kind": section.kind} | {key: value for key, value in section.settings.items() if key not in _NOT_ASKED}


@cache
def _points(kind: str) -> dict[str, EntryPoint]:
    """The entry points of a kind, by name. Looked for once: that reads a file of every package there is."""
    return {point.name: point for point in entry_points(group=f"archiver.{kind}")}


def _module(kind: str, name: str, path: str) -> ModuleType:
    found = _points(kind)
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


def settings_of(config: Config, kind: str, name: str) -> Any:
    """The settings of one adapter, understood: `kind` is `providers` or `stores`."""
    return _settings(config, kind, name)[1]


def connect(config: Config, kind: str, name: str, outside: Outside) -> Any:
    """Build one adapter: `kind` is `providers` or `stores`."""
    module, settings = _settings(config, kind, name)
    return module.connect(name, settings, outside)
