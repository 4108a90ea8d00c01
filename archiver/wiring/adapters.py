"""Configuration and adapters: finding the file, finding the module behind a kind or a scheme, and its settings.

Adapters are found by entry points, built-in ones like any plugin; their heavy libraries are not loaded here.
"""

import os
from decimal import Decimal
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from archiver import config as configuration
from archiver.config import Config
from archiver.core.errors import ConfigurationError
from archiver.core.model import SecretReference
from archiver.core.ports import Outside
from archiver.wiring.budgets import check_budgets
from archiver.wiring.surroundings import machine_zone, resolve_secret


def load_config(explicit: str | None) -> Config:
    """Find, read and check the configuration, the adapters' own keys included. Raises ConfigurationError."""
    path = configuration.require_config(explicit, os.environ, cwd=Path.cwd(), home=Path.home())
    config = configuration.load(path, os.environ, machine_zone())
    for name in config.providers:
        _settings(config, "providers", name)
    for name in config.stores:
        _settings(config, "stores", name)
    check_budgets(config, prices(config))
    return config


def prices(config: Config) -> dict[str, Decimal | None]:
    """What one image costs in US dollars, by the name of the provider. None: its adapter is not told."""
    return {name: getattr(_settings(config, "providers", name)[1], "price_usd", None) for name in config.providers}


def check_secrets(config: Config) -> None:
    """Resolve every secret that the configuration names. Raises ConfigurationError with the key of the first
    missing."""
    for kind, names in (("providers", config.providers), ("stores", config.stores)):
        for name in names:
            _, settings = _settings(config, kind, name)
            for key, value in settings:
                if isinstance(value, SecretReference):
                    try:
                        resolve_secret(value, config.path.parent)
                    except ConfigurationError as error:
                        raise ConfigurationError(str(error), f"{kind}.{name}.{key}") from error
    if isinstance(webhook := config.alerts.webhook, SecretReference):
        try:
            configuration.check_webhook(resolve_secret(webhook, config.path.parent))
        except (ConfigurationError, ValueError) as error:
            raise ConfigurationError(str(error), "alerts.webhook") from None


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


def connect(config: Config, kind: str, name: str, outside: Outside) -> Any:
    """Build one adapter: `kind` is `providers` or `stores`."""
    module, settings = _settings(config, kind, name)
    return module.connect(name, settings, outside)
