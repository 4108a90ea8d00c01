"""Prices and budgets, from the configuration to the values that the pipeline and the commands take.

A budget without a price would be a promise that nobody can keep: it is refused here, where the adapters' settings are
known, before anything is spent.
"""

from collections.abc import Mapping
from datetime import date, tzinfo
from zoneinfo import ZoneInfo

from archiver.config import Budgeted, Config
from archiver.core.budget import EVERYTHING, Limit
from archiver.core.errors import ConfigurationError
from archiver.core.pricing import Order, Tariff, micro_usd


def budget_limits(config: Config) -> tuple[Limit, ...]:
    """Every budget of a configuration. Days and months follow the job's zone, and for all others that of
    `[archiver]`."""
    zone = ZoneInfo(config.archiver.zone)
    limits = _limits(EVERYTHING, config.archiver, zone)
    for name, provider in config.providers.items():
        limits += _limits(f"providers.{name}", provider, zone, provider=name)
    for job in config.jobs:
        limits += _limits(f"jobs.{job.name}", job, ZoneInfo(job.zone), job=job.name)
    return limits


def _limits(
    scope: str,
    section: Budgeted,
    zone: tzinfo,
    *,
    provider: str | None = None,
    job: str | None = None,
) -> tuple[Limit, ...]:
    day, month = section.budget_usd_per_day, section.budget_usd_per_month
    found: list[Limit] = []
    if day is not None:
        found.append(Limit(scope=scope, per="day", micro=micro_usd(day), zone=zone, provider=provider, job=job))
    if month is not None:
        found.append(Limit(scope=scope, per="month", micro=micro_usd(month), zone=zone, provider=provider, job=job))
    return tuple(found)


def check_budgets(config: Config, tariffs: Mapping[str, Tariff], models: Mapping[str, str], today: date) -> None:
    """Refuse a budget that holds for a provider or a job without a price. `tariffs` and `models` are by the provider's
    name. Raises ConfigurationError."""
    for limit in budget_limits(config):
        key = f"{limit.scope}.budget_usd_per_{limit.per}"
        providers = set(config.providers) if limit.provider is None else {limit.provider}
        if limit.job is None:
            for name in sorted(providers):
                if tariffs[name].image_micro is None and not tariffs[name].prices.knows(models[name]):
                    raise _unpriced(config, key, name, f"its provider {name} has no price for the model {models[name]}")
        for job in config.jobs:
            if limit.job not in (None, job.name) or job.provider not in providers:
                continue
            order = Order(model=models[job.provider], on=today, size=job.size, n=job.n, parameters=dict(job.parameters))
            if tariffs[job.provider].price(order) is None:
                text = f"there is no price for what job {job.name} asks of provider {job.provider}: {_words(order)}"
                raise _unpriced(config, key, job.provider, text)


def _words(order: Order) -> str:
    quality = f", quality {order.quality}" if "quality" in order.parameters else ""
    return f"model {order.model}, size {order.size_word}{quality}"


def _unpriced(config: Config, key: str, provider: str, text: str) -> ConfigurationError:
    return ConfigurationError(
        f"{text}; set providers.{provider}.price_usd to what one image costs, or write a row for it into"
        f" archiver.prices_file (in {config.path})",
        key=key,
    )
