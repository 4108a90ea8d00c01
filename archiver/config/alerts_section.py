"""The table `[alerts]`: where alerts are sent, besides the log and `archiver status`.

The address of a webhook is a secret where its path or query says who may write there: it is shown by its host alone,
and no complaint repeats it.
"""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from archiver.core.model import SecretReference
from archiver.settings import Section, parse_reference

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


def check_webhook(url: str) -> str:
    """`url` when alerts may be sent there: https, or http to this machine. Raises ValueError, which does not repeat
    it."""
    try:
        parts = urlsplit(url)
        host, usable = parts.hostname, parts.port != 0
    except ValueError:
        host, usable = None, False
    if not host or not usable or not url.isascii() or re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise ValueError("is no address; write https://host/path, or env:NAME for one that is a secret")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _THIS_MACHINE):
        raise ValueError("must begin with https://: alerts name your jobs to everybody on the way")
    if "@" in parts.netloc:
        raise ValueError("an address has no user and password")
    return url


def shown_webhook(webhook: SecretReference | str | None) -> str | None:
    """A webhook for people: a reference as written, of an address nothing but the host."""
    if webhook is None:
        return None
    if isinstance(webhook, SecretReference):
        return str(webhook)
    parts = urlsplit(webhook)
    return f"{parts.scheme}://{parts.netloc}/***"


def _webhook(value: object) -> object:
    if isinstance(value, str) and not value.startswith(("env:", "file:")):
        return check_webhook(value)
    return parse_reference(value)


class AlertsSection(Section):
    """`[alerts]`: a webhook that gets each alert as JSON, a command that gets it on its standard input, or both."""

    webhook: Annotated[SecretReference | str, BeforeValidator(_webhook)] | None = Field(default=None, repr=False)
    command: tuple[Annotated[str, Field(min_length=1)], ...] = ()
