"""What the machine gives: the clock, chance, the time zone, secrets, and where log lines go.

The only file that looks at the environment, the clock and randomness; everybody else is handed what they need.
"""

import logging
import os
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from ulid import ULID

from archiver.core.errors import ConfigurationError
from archiver.core.model import SecretReference
from archiver.core.redaction import redact

NOISY_LOGGERS = ("urllib3", "requests", "botocore", "boto3", "s3transfer", "oss2", "aliyunsdkcore", "apscheduler")


def now() -> datetime:
    """The time, in UTC: the only clock of the house."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new identifier: a ULID in lower case, so that ids sort by time."""
    return str(ULID()).lower()


def luck() -> float:
    """A number in [0, 1), for jitter."""
    return random.random()  # noqa: S311 - jitter, no secret


def machine_zone() -> str:
    """The machine's IANA time zone, UTC when it cannot be told."""
    if zone := os.environ.get("TZ", "").lstrip(":"):
        return zone if _is_zone(zone) else "UTC"
    local = Path("/etc/localtime")
    if local.is_symlink():
        _, found, name = str(local.resolve()).partition("zoneinfo/")
        if found and _is_zone(name):
            return name
    return "UTC"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError):
        return False
    return True


def resolve_secret(reference: SecretReference, folder: Path) -> str:
    """The secret behind `env:NAME` or `file:PATH` (relative to the configuration). Raises ConfigurationError."""
    kind, _, where = reference.text.partition(":")
    if kind == "env":
        value = os.environ.get(where, "").strip()
        if not value:
            raise ConfigurationError(f"the environment variable {where} is not set; it must hold the secret")
        return value
    path = folder / Path(where).expanduser()
    try:
        value = path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read the secret in {path}: {error.strerror}") from error
    if not value:
        raise ConfigurationError(f"{path} is empty; it must hold the secret")
    return value


def set_up_logging(level: str) -> None:
    """Log lines on stderr: readable on a terminal, one JSON object a line elsewhere. Secrets are taken out last."""
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    is_terminal = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=is_terminal and "NO_COLOR" not in os.environ)
        if is_terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            renderer,
            lambda _logger, _method, line: redact(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
