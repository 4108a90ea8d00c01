"""An account at a provider that speaks HTTP: its addresses, its keys, and which of its refusals were free.

Every adapter over HTTP asks through here, so that money is judged in one place: from the status alone, a refusal was
free (`Throttled`), final (`Permanent`) or perhaps paid (`Ambiguous`), and what is not known counts as perhaps paid. The
only second tries are those that provably cost nothing: the next address when nothing left this machine, the next key
when the server did not know the first. It refuses to understand an answer.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from archiver.core.errors import AdapterError, Ambiguous, Permanent, Throttled, Transient
from archiver.core.kept_headers import request_id_of
from archiver.core.model import Promise
from archiver.core.ports import Outside
from archiver.core.pricing import micro_usd
from archiver.providers import answers
from archiver.providers.charging import Terms, terms_of
from archiver.providers.keys import KEY_REST_S, KeyRing
from archiver.providers.post import TAIL_S, Reply, is_loopback, retry_after, send
from archiver.settings import Duration, Reference, Section

CONNECT_S = 10.0
READ_S = 300.0
"""1K and 2K take up to 170 s (seeds S11, S14)."""
READ_LARGE_S = 600.0
"""4K: what the platform's own samples use (seeds S17)."""
SUBMIT_S = 30.0
POLL_S = 10.0

_LARGE = 4096  # pixels on one side
_REFUSED = frozenset({400, 403, 404, 405, 406, 407, 410, 411, 413, 414, 415, 422, 431, 451})
"""Statuses with which a server refuses before it works. Any other one, 408 and 409 too, may come after the work."""
_NOT_NOW = frozenset({401, 402})
"""Refused before the work, and a person can mend it: the request waits meanwhile."""
_HINTS = {
    400: "check prompt, size and parameters",
    401: "check api_key",
    402: "check the balance",
    403: "check the permissions and the balance of the key",
    404: "check base_url and model",
    407: "check the proxy",
    429: "too many at once: lower concurrency or set pace",
    500: "its own fault; it may have charged: archiver refunds",
    502: "a gateway on the way; it may have charged: archiver refunds",
    503: "overloaded, or no channel for this model",
    504: "too slow for a gateway on the way; it may have charged: archiver refunds",
}


def _listed(value: object) -> object:
    """One of a kind may be written without brackets."""
    return value if isinstance(value, list | tuple) else () if value is None else (value,)


class AccountSettings(Section):
    """What the sections of all kinds over HTTP have in common.

    `base_url` may be several: the next one is asked when nothing could be sent to the first. `api_key` may be several:
    one that is refused is set aside. `lifetime` is how long URLs live, `price_usd` the price of one image.
    `free_statuses`, and `free_codes` (what its errors call themselves: `error.code` or `error.type`), are refusals that
    this provider does not charge for, besides those in `charging`; they are asked again.
    """

    allow_http: bool = False
    base_url: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
    api_key: Annotated[tuple[Reference, ...], BeforeValidator(_listed)] = ()
    lifetime: Annotated[Duration, Field(gt=timedelta(0))] | None = None
    concurrency: int = Field(default=16, ge=1)
    price_usd: Decimal | None = Field(default=None, ge=0)
    free_statuses: tuple[Annotated[int, Field(ge=400, le=599)], ...] = ()
    free_codes: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @field_validator("base_url")
    @classmethod
    def _reachable_safely(cls, addresses: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for address in addresses:
            check_address(address, allow_http=bool(info.data.get("allow_http")))
        return addresses

    def terms(self) -> Terms:
        """What these settings say is not charged for."""
        return Terms(
            host="*",
            statuses=frozenset(self.free_statuses),
            codes=frozenset(self.free_codes),
            source="free_statuses and free_codes",
        )

    def promise(self, *, inline: bool = False) -> Promise:
        """What these settings say of lifetime and price."""
        price = None if self.price_usd is None else micro_usd(self.price_usd)
        return Promise(lifetime=self.lifetime, price_micro=price, inline=inline)


def check_address(address: str, *, allow_http: bool) -> None:
    """Raise ValueError unless `address` can be asked without giving the key away."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\\]", address):
        raise ValueError("write an address such as https://api.example.com/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("an address has no user, query or fragment; the key belongs into api_key")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_http:
        raise ValueError(
            "http shows the API key to everybody on the way and lets them choose what we fetch; "
            "write https, or set allow_http = true"
        )


def bearer(key: str) -> dict[str, str]:
    """How most providers want to be told the key."""
    return {"Authorization": f"Bearer {key}"}


class Account:
    """Asks. Used by many threads at once."""

    def __init__(
        self,
        name: str,
        settings: AccountSettings,
        outside: Outside,
        *,
        authorise: Callable[[str], Mapping[str, str]] = bearer,
    ) -> None:
        self.name = name
        self._settings = settings
        self._outside = outside
        self._authorise = authorise
        self._keys = KeyRing(name, settings.api_key, outside)

    @contextmanager
    def submit(
        self, path: str, content: bytes, headers: Mapping[str, str], *, timeouts: tuple[float, float]
    ) -> Iterator[Reply]:
        """POST `content` to `path` below the address, once; the reply is one of 2xx.

        Raises `Transient` when no address could be reached, `Throttled` for a refusal without charge that may pass,
        `Permanent` for one that will not, and `Ambiguous` in all doubt.
        """
        with ExitStack() as stack:
            reply, key = self._submit(stack, path, content, headers, timeouts)
            with _named(reply):
                yield reply
        self._keys.works(key)

    def _submit(
        self, stack: ExitStack, path: str, content: bytes, headers: Mapping[str, str], timeouts: tuple[float, float]
    ) -> tuple[Reply, str]:
        keys = self._keys.usable()
        unsent = Transient(f"{self.name} has no address")
        for base in self._settings.base_url:
            for number, key in enumerate(keys):
                said = dict(headers) | (dict(self._authorise(key)) if key else {})
                try:
                    reply = stack.enter_context(
                        send("POST", below(base, path), content, said, timeouts=timeouts, outside=self._outside)
                    )
                except Transient as error:
                    unsent = error
                    break
                if 200 <= reply.status < 300:
                    return reply, key
                refusal = self._refusal(base, reply, key)
                refusal.request_id = request_id_of(reply.headers)
                if reply.status != 401 or number + 1 == len(keys):
                    raise refusal
                stack.pop_all().close()
        raise unsent

    @contextmanager
    def look(
        self, path: str, *, timeout: float = POLL_S, tail_s: float = TAIL_S, also: Collection[int] = ()
    ) -> Iterator[Reply]:
        """GET what costs nothing: how accepted work stands. `path` may be a whole URL, which must be at one of the
        configured addresses: the key goes with it. Each address and each key is tried: work belongs to the one that it
        was asked of, and with.

        The reply is one of 2xx, or has a status in `also`. Raises `Permanent` when all of them say that there is no
        such thing (404, 410), and `Transient` or `Throttled` in every other case: it may be had later.
        """
        urls = [path] if re.match(r"[\w+.-]+:", path) else [below(base, path) for base in self._settings.base_url]
        if not self.is_ours(urls[0]):
            raise Permanent(f"{self.name} names an address elsewhere, where the key must not go")
        try:
            keys = self._keys.usable()
        except Permanent as error:  # a key that cannot be read here says nothing of the work
            raise Transient(str(error)) from None
        plain = {
            name: value for name, value in json_headers("").items() if name not in ("Content-Type", "Idempotency-Key")
        }
        resting = len(self._settings.api_key) > len(keys)  # a key that is set aside may be the one that knows
        refusals: list[AdapterError] = [Transient("a key of api_key is set aside")] if resting else []
        for url, key in product(urls, keys):
            said = plain | (dict(self._authorise(key)) if key else {})
            is_given = False
            try:
                with send(
                    "GET", url, b"", said, timeouts=(CONNECT_S, timeout), outside=self._outside, tail_s=tail_s
                ) as reply:
                    if 200 <= reply.status < 300 or reply.status in also:
                        is_given = True
                        yield reply
                        return
                    refusals.append(self._unseen(reply, key))
            except (Ambiguous, Permanent, Transient) as error:  # asking again is free
                refusals.append(Transient(str(error)))
                if is_given:
                    raise refusals[-1] from None
            if isinstance(refusals[-1], Throttled):
                break
        raise next((each for each in reversed(refusals) if not isinstance(each, Permanent)), refusals[-1])

    def is_ours(self, url: str) -> bool:
        """Whether `url` is at one of the configured addresses."""
        try:
            return any(urlsplit(url)[:2] == urlsplit(base)[:2] for base in self._settings.base_url)
        except ValueError:  # what a provider calls an address may be none
            return False

    def _unseen(self, reply: Reply, key: str) -> AdapterError:
        words = answers.complaint(reply.complaint(), key)
        text = f"{self.name} answered {reply.status}" + (f": {words}" if words else "")
        if reply.status in (404, 410):
            return Permanent(text)
        if reply.status in (429, 503):
            return Throttled(text, retry_after(reply.headers.get("Retry-After"), self._outside.now()))
        return Transient(text)

    def _refusal(self, base: str, reply: Reply, key: str) -> AdapterError:
        """The error word for a status that is not 2xx."""
        complaint = reply.complaint()
        words = answers.complaint(complaint, key)
        text = f"{self.name} answered {reply.status}" + (f": {words}" if words else "")
        hint = _HINTS.get(reply.status)
        if hint:
            text = f"{text} ({hint})"
        if free := terms_of(urlsplit(base).hostname or "", reply.status, complaint, added=self._settings.terms()):
            wait = retry_after(reply.headers.get("Retry-After"), self._outside.now())
            return Throttled(text, free.rest_s if wait is None else wait)
        if 300 <= reply.status < 400:
            return Permanent(f"{self.name} answered {reply.status}: redirects are not followed; correct base_url")
        if reply.status in _NOT_NOW:
            if reply.status == 401:
                self._keys.refuse(key)
            return Throttled(text, KEY_REST_S)
        return Permanent(text) if reply.status in _REFUSED else Ambiguous(text)


@contextmanager
def _named(reply: Reply) -> Iterator[Reply]:
    """Whatever goes wrong with a reply carries the provider's id of the request: it may have been paid."""
    try:
        yield reply
    except AdapterError as error:
        error.request_id = request_id_of(reply.headers)
        raise


def below(base: str, path: str) -> str:
    """`path` below `base`: of a version at the end of the base (`/v1`, `/api/v3`) and one at the start of the path, the
    one that was configured counts; only for a beta (`v1beta/models/...`) there is nothing below another one."""
    base, path = base.rstrip("/"), path.lstrip("/")
    if (version := re.search(r"/v\d+(beta\d*)?$", base)) and (own := re.match(r"v\d+(beta\d*)?/", path)):
        is_other = own[1] and not version[1]
        return f"{base[: version.start()]}/{path}" if is_other else f"{base}/{path[own.end() :]}"
    return f"{base}/{path}"


def json_headers(generation_id: str) -> dict[str, str]:
    """What goes with every paid request that is JSON."""
    return {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "archiver",
        # Where the provider honours it, even a repetition by the user does not pay twice.
        "Idempotency-Key": generation_id,
    }


def answer_timeouts(size: str | None) -> tuple[float, float]:
    """Seconds to connect, and to wait for an answer that comes when the image is made."""
    return CONNECT_S, READ_LARGE_S if is_large(size) else READ_S


def is_large(size: str | None) -> bool:
    """Whether one side has 4096 pixels or more, in `4096x4096` or `4K`."""
    if size is None:
        return False
    return size.strip().upper() == "4K" or any(int(side) >= _LARGE for side in re.findall(r"[0-9]{1,9}", size))
