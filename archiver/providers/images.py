"""The kind `images`: one POST to an endpoint in the OpenAI Images dialect, which answers with the result.

Works with OpenAI, APIYI and the many relays that speak alike. It decides, from the status alone, whether a refusal was
free (`Throttled`), final (`Permanent`) or perhaps paid (`Ambiguous`); what it does not know counts as perhaps paid. It
refuses to retry, and it cannot follow a task: an answer that only names one is an error.
"""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from archiver.core.errors import AdapterError, Ambiguous, ConfigurationError, Permanent, Throttled
from archiver.core.model import Answer, Ask, Completed, Promise
from archiver.core.ports import AnswerSink, Outside
from archiver.core.pricing import micro_usd
from archiver.providers import answers
from archiver.providers.post import Reply, is_loopback, post
from archiver.settings import Duration, Reference, Section

_CONNECT_S = 10.0
_READ_S = 300.0  # 1K and 2K take up to 170 s
_READ_LARGE_S = 600.0  # 4K: what the platform's own samples use
_LARGE = 4096  # pixels on one side

_REFUSED = frozenset({400, 401, 402, 403, 404, 405, 406, 407, 410, 411, 413, 414, 415, 422, 431, 451})
"""Statuses with which a server refuses before it works. Any other one, 408 and 409 too, may come after the work."""

_HINTS = {
    401: "check api_key",
    402: "check the balance",
    403: "check the permissions and the balance of the key",
    404: "check base_url and model",
    407: "check the proxy",
}


class Settings(Section):
    """One provider of the kind `images`.

    `base_url` may end in `/v1` or not. `response_format = "omit"` sends none, for models that refuse the parameter.
    `lifetime` is how long its URLs live, `price_usd` the price of one image. `free_statuses` are answers that this
    provider does not charge for, besides 429 (and 503 at apiyi.com, which says so); they are asked again.
    """

    allow_http: bool = False
    base_url: str
    model: str = Field(min_length=1)
    api_key: Reference | None = None
    response_format: Literal["url", "b64_json", "omit"] = "url"
    lifetime: Annotated[Duration, Field(gt=timedelta(0))] | None = None
    concurrency: int = Field(default=16, ge=1)
    price_usd: Decimal | None = Field(default=None, ge=0)
    free_statuses: tuple[Annotated[int, Field(ge=400, le=599)], ...] = ()

    @field_validator("base_url")
    @classmethod
    def _reachable_safely(cls, base_url: str, info: ValidationInfo) -> str:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\\]", base_url):
            raise ValueError("write an address such as https://api.example.com/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("an address has no user, query or fragment; the key belongs into api_key")
        if parts.scheme == "http" and not is_loopback(parts.hostname) and not info.data.get("allow_http"):
            raise ValueError(
                "http shows the API key to everybody on the way and lets them choose what we fetch; "
                "write https, or set allow_http = true"
            )
        return base_url


def connect(name: str, settings: Settings, outside: Outside) -> "Images":
    """The provider `name`. Does no I/O; the key is resolved when it is needed."""
    return Images(name, settings, outside)


class Images:
    """See `Provider`. Without state: any number of threads may submit at once."""

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        self.name = name
        self.model = settings.model
        self.concurrency = settings.concurrency
        price = None if settings.price_usd is None else micro_usd(settings.price_usd)
        self.promise = Promise(
            lifetime=settings.lifetime, price_micro=price, inline=settings.response_format == "b64_json"
        )
        self._settings = settings
        self._outside = outside
        base = settings.base_url.rstrip("/")
        self._endpoint = f"{base}/images/generations" if re.search(r"/v\d+$", base) else f"{base}/v1/images/generations"
        host = urlsplit(base).hostname or ""
        documented = {503} if host == "apiyi.com" or host.endswith(".apiyi.com") else set()
        self._free = frozenset({429, *documented, *settings.free_statuses})

    def submit(self, ask: Ask, sink: AnswerSink) -> None:
        """See `Provider.submit`. Only an answer of 2xx reaches the sink; a lost connection is `Ambiguous`."""
        key = self._key()
        with post(
            self._endpoint,
            self._body(ask),
            _headers(ask, key),
            timeouts=(_CONNECT_S, _READ_LARGE_S if _is_large(ask.size) else _READ_S),
            outside=self._outside,
        ) as reply:
            if not 200 <= reply.status < 300:
                raise self._refusal(reply, key)
            sink.begin(reply.status, reply.content_type, reply.headers)
            for piece in reply.pieces():
                sink.write(piece)

    def poll(self, handle: str, sink: AnswerSink) -> None:  # noqa: ARG002 -- the signature is the port's
        """Always raises Permanent: there is no accepted work."""
        raise Permanent(f"{self.name} answers at once and keeps no work to ask for")

    def read(self, answer: Answer) -> Completed:
        """See `Provider.read`."""
        document = answers.parse(answer.body)
        task = answers.task_id(document)
        if task is not None:
            raise Permanent(
                f"{self.name} answered with the task {answers.clean(task)} instead of images; "
                'the kind "images" needs an endpoint that answers at once'
            )
        completed = answers.images(document)
        return completed if completed.request_id else replace(completed, request_id=answer.request_id)

    def _key(self) -> str:
        """The API key, empty when none is configured. Asked for at each call, so that a rotated key is seen."""
        if self._settings.api_key is None:
            return ""
        try:
            key = self._outside.secret(self._settings.api_key).strip()
        except ConfigurationError as error:
            raise Permanent(str(error)) from None
        if not re.fullmatch(r"[!-~]+", key):
            raise Permanent(f"{self.name}: what api_key refers to ({self._settings.api_key}) is no key")
        return key

    def _body(self, ask: Ask) -> bytes:
        wanted: dict[str, object] = {"prompt": ask.prompt, "model": ask.model, "n": ask.n}
        if self._settings.response_format != "omit":
            wanted["response_format"] = self._settings.response_format
        if ask.size is not None:
            wanted["size"] = ask.size
        return json.dumps(wanted).encode("ascii")

    def _refusal(self, reply: Reply, key: str) -> AdapterError:
        """The error word for a status that is not 2xx."""
        words = answers.complaint(reply.complaint(), key)
        text = f"{self.name} answered {reply.status}" + (f": {words}" if words else "")
        if reply.status in self._free:
            return Throttled(text, retry_after(reply.headers.get("Retry-After"), self._outside.now()))
        if 300 <= reply.status < 400:
            return Permanent(f"{self.name} answered {reply.status}: redirects are not followed; correct base_url")
        if reply.status in _REFUSED:
            hint = _HINTS.get(reply.status)
            return Permanent(f"{text} ({hint})" if hint else text)
        return Ambiguous(text)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a `Retry-After` header in either of its forms, at least 1 and at most 3600.

    None when there is no header or nobody could read it.
    """
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", text):
        wait = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
            # "-0000" gives a naive time: UTC by the standard of mail dates.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            wait = (moment - now).total_seconds()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(max(wait, 1.0), 3600.0)


def _headers(ask: Ask, key: str) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "archiver",
        # Where the provider honours it, even a repetition by the user does not pay twice.
        "Idempotency-Key": ask.generation_id,
    }
    return headers | ({"Authorization": f"Bearer {key}"} if key else {})


def _is_large(size: str | None) -> bool:
    """Whether one side has 4096 pixels or more, in `4096x4096` or `4K`."""
    if size is None:
        return False
    return size.strip().upper() == "4K" or any(int(side) >= _LARGE for side in re.findall(r"[0-9]{1,9}", size))
