"""What the machine gives: the clock, chance, the time zone, secrets, and where log lines go.

The only file that looks at the environment, the clock and randomness; everybody else is handed what they need.
"""

import logging
import os
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ulid import ULID

from archiver.core.errors import ConfigurationError
from archiver.core.model import SecretReference
from archiver.core.redaction import redact

NOISY_LOGGERS = ("urllib3", "requests", "botocore", "boto3", "s3transfer", "oss2", "aliyunsdkcore", "apscheduler")


def now() -> datetime:
    """The time, in UTC: the only clock of the house."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Seconds since some moment, on a clock that nobody sets: for how long a thing may take."""
    return time.monotonic()


def worked() -> float:
    """Seconds that processors have given this process."""
    return time.process_time()


def new_id() -> str:
    """A new identifier: a ULID in lower case, so that ids sort by time."""
    return str(ULID()).lower()


def luck() -> float:
    """A number in [0, 1), for jitter."""
    return random.random()  # noqa: S311 - jitter, no secret


def machine_zone() -> str | None:
    """The machine's IANA time zone: `TZ`, else /etc/localtime, else /etc/timezone; UTC when there is none of them.

    None when they do not tell a name (`TZ=CST-8`, a copied file): guessing would fire jobs at the wrong hour.
    """
    told = os.environ.get("TZ", "").removeprefix(":")
    if not told and not Path("/etc/localtime").exists() and not Path("/etc/timezone").exists():
        return "UTC"
    if told and not told.startswith("/"):
        return _zone(told)
    for path in (Path(told or "/etc/localtime"), Path("/etc/localtime")):
        _, found, name = str(path.resolve()).partition("zoneinfo/")
        if found and (zone := _zone(name)):
            return zone
    try:
        return _zone(Path("/etc/timezone").read_text("ascii").strip())
    except (OSError, ValueError):
        return None


def _zone(name: str) -> str | None:
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        return None


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
    import structlog  # late: questions to the catalogue log nothing

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
