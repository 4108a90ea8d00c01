"""The configuration: one TOML file and the environment become a frozen `Config`, or one clear error.

A key that nobody knows is an error with "did you mean", all errors of a file are shown at once, and none repeats a
value that may be a secret. It resolves no secret, loads no adapter and makes no folder: that is wiring's work,
which also validates the adapters' own keys, by `validate_section`.
"""

from archiver.config.alerts_section import AlertsSection, check_webhook
from archiver.config.budget_section import Budgeted
from archiver.config.complaints import validate_section
from archiver.config.job_section import Job
from archiver.config.job_wishes import job_pool, job_wishes
from archiver.config.loading import find_config, load, require_config
from archiver.config.price_table import load_prices
from archiver.config.sections import (
    ArchiverSection,
    Config,
    FetchSection,
    NetworkSection,
    ProviderSection,
    StoreSection,
)
from archiver.config.showing import Row, describe

__all__ = [
    "AlertsSection",
    "ArchiverSection",
    "Budgeted",
    "Config",
    "FetchSection",
    "Job",
    "NetworkSection",
    "ProviderSection",
    "Row",
    "StoreSection",
    "check_webhook",
    "describe",
    "find_config",
    "job_pool",
    "job_wishes",
    "load",
    "load_prices",
    "require_config",
    "validate_section",
]
