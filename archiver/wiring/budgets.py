"""Prices and budgets, from the configuration to the values that the pipeline and the commands take.

A budget without a price would be a promise that nobody can keep: it is refused here, where the adapters' settings are
known, before anything is spent.
"""

from collections.abc import Mapping
from datetime import tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

from archiver.config import Budgeted, Config
from archiver.core.budget import EVERYTHING, Limit
from archiver.core.errors import ConfigurationError
from archiver.core.pricing import micro_usd


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


def check_budgets(config: Config, prices: Mapping[str, Decimal | None]) -> None:
    """Refuse a budget that holds for a provider without a price (`prices`, by the provider's name). Raises
    ConfigurationError."""
    used_by = {job.name: {job.provider} for job in config.jobs}
    for limit in budget_limits(config):
        if limit.job is not None:
            providers = used_by[limit.job]
        else:
            providers = set(config.providers) if limit.provider is None else {limit.provider}
        for name in sorted(providers):
            if prices[name] is None:
                raise ConfigurationError(
                    f"its provider {name} has no price; set providers.{name}.price_usd to what one image costs"
                    f" (in {config.path})",
                    key=f"{limit.scope}.budget_usd_per_{limit.per}",
                )
