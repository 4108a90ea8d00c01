"""The kind `tasks`: submit, get a handle, ask now and then how it stands, in one of the dialects of a table.

An answer that is complete at once is taken as such. A notice by webhook only says where to look: nothing in it is
believed, and what it names is asked for with our own key. It refuses to send the paid request twice, and to follow an
address that is not one of the configured ones.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import quote, urlsplit

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from archiver.core.errors import Corrupt, Permanent, Transient
from archiver.core.model import Accepted, Answer, Ask, Completed, Input, Json
from archiver.core.news import Remark
from archiver.core.ports import AnswerSink, Outside
from archiver.providers import answers, checking, notices
from archiver.providers.account import CONNECT_S, SUBMIT_S, Account, AccountSettings, json_headers
from archiver.providers.dialects import DIALECTS, Dialect, pictures, put, text_at
from archiver.providers.facts import facts
from archiver.providers.post import Reply
from archiver.settings import Duration, Reference

_HANDLE = re.compile(r"[!-~]{1,500}")
_SIDES = re.compile(r"([0-9]{1,5})[xX*]([0-9]{1,5})")
_SAYS_NO = frozenset({400, 405, 409, 413, 415, 422, 451})
"""Statuses with which the address of a result tells that there is none."""


def _several(value: object) -> object:
    """One may be written without brackets."""
    return (value,) if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]


class Settings(AccountSettings):
    """One provider of the kind `tasks`.

    `poll_interval` is how often a task is asked for, after the first time. `webhook_url` is our own address, which is
    told to the provider; `webhook_secret` verifies what comes there. All the others say otherwise what the dialect
    says; `generic` needs `submit_path` and `poll_path`.
    """

    dialect: Literal["apiyi", "dashscope", "replicate", "fal", "bfl", "sub2api", "relay", "generic"]
    model: str = Field(min_length=1)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    poll_interval: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=5)
    webhook_url: str | None = None
    webhook_secret: Reference | None = None
    submit_path: str | None = None
    poll_path: Paths | None = None
    request_at: dict[str, str] = Field(default_factory=dict)
    handle_at: Paths | None = None
    status_at: Paths | None = None
    done_words: Paths | None = None
    failed_words: Paths | None = None
    results_at: Paths | None = None
    error_at: Paths | None = None

    @field_validator("webhook_url")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        if address is not None and not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", address):
            raise ValueError("write an address such as https://archiver.example.com/webhook")
        return address

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.dialect == "generic" and not (self.submit_path and self.poll_path):
            raise ValueError('dialect "generic" needs submit_path and poll_path')
        if self.poll_path and not all("{id}" in path for path in self.poll_path):
            raise ValueError("poll_path needs {id}, where the handle goes")
        if self.webhook_url and "webhook" not in self.spoken().places:
            raise ValueError(f'dialect "{self.dialect}" has no place for webhook_url')
        return self

    def spoken(self) -> Dialect:
        """The dialect with what is said otherwise here."""
        known = DIALECTS[self.dialect]
        given: dict[str, Any] = {
            "submit": self.submit_path,
            "polls": self.poll_path,
            "handle": self.handle_at,
            "status": self.status_at,
            "done": self.done_words and frozenset(self.done_words),
            "failed": self.failed_words and frozenset(self.failed_words),
            "results": self.results_at,
            "error": self.error_at,
        }
        told = {name: value for name, value in given.items() if value}
        return replace(known, places={**known.places, **self.request_at}, **told)


def connect(name: str, settings: Settings, outside: Outside) -> "Tasks":
    """The provider `name`. Does no I/O; the key is resolved when it is needed."""
    return Tasks(name, settings, outside)


class Tasks:
    """See `Provider` and `Notified`. Any number of threads may submit and poll at once."""

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        self.name = name
        self.model = settings.model
        self.concurrency = settings.concurrency
        self._dialect = settings.spoken()
        self.promise = replace(settings.promise(), renews=self._dialect.renews, poll_interval=settings.poll_interval)
        self._settings = settings
        self._outside = outside
        self._account = Account(name, settings, outside, authorise=self._dialect.authorise)

    def check(self, ask: Ask) -> tuple[Remark, ...]:
        """See `Provider.check`."""
        return checking.remarks_on(ask) + checking.unbuildable(lambda: self._wanted(ask))

    def submit(self, ask: Ask, sink: AnswerSink) -> None:
        """See `Provider.submit`. It takes seconds: what does not come within 30 is `Ambiguous`."""
        content = json.dumps(self._wanted(ask)).encode("ascii")
        path = self._dialect.submit.replace("{model}", quote(ask.model, safe="/:"))
        headers = {**json_headers(ask.generation_id), **self._dialect.headers}
        with self._account.submit(path, content, headers, timeouts=(CONNECT_S, SUBMIT_S)) as reply:
            _stream(reply, sink)

    def poll(self, handle: str, sink: AnswerSink) -> None:
        """See `Provider.poll`. Raises Transient for a handle that is an address which is not configured: a person can
        add it, and the work is paid for."""
        *earlier, last = self._addresses(handle)
        for path in earlier:
            try:
                self._poll_at(path, handle, sink)
            except Permanent:
                continue
            return
        self._poll_at(last, handle, sink)

    def _poll_at(self, path: str, handle: str, sink: AnswerSink) -> None:
        if self._dialect.result is None:
            with self._account.look(path) as reply:
                _stream(reply, sink, handle)
            return
        with self._account.look(path) as reply:
            status, kind, headers, body = reply.status, reply.content_type, reply.headers, b"".join(reply.pieces())
        result = self._result_of(body)
        if result:
            with self._account.look(result, also=_SAYS_NO) as reply:
                _stream(reply, sink, handle)
            return
        sink.begin(status, kind, {**headers, "location": handle})
        sink.write(body)

    def _result_of(self, body: bytes) -> str:
        """Where the result of a task stands that is done; empty when it is not, or when there is none."""
        try:
            document = cast("dict[str, Json]", answers.parse(body))
        except Corrupt:
            return ""
        is_done = text_at(document, self._dialect.status).casefold() in self._dialect.done
        says_why = text_at(document, self._dialect.error)
        return text_at(document, (self._dialect.result or "",)) if is_done and not says_why else ""

    def _addresses(self, handle: str) -> list[str]:
        if not _HANDLE.fullmatch(handle):
            raise Permanent(f"{self.name} knows no such task")
        if self._dialect.polls:
            return [path.replace("{id}", quote(handle, safe="")) for path in self._dialect.polls]
        try:
            scheme, host = urlsplit(handle).scheme, urlsplit(handle).hostname
        except ValueError:  # a bracket that is none, for example
            scheme, host = "", None
        if scheme not in ("http", "https"):
            raise Permanent(f"{self.name} knows no such task")
        if not self._account.is_ours(handle):
            raise Transient(f"{self.name} has the result at {host}: add its address to base_url, and it is asked there")
        return [handle]

    def read(self, answer: Answer) -> Completed | Accepted:
        """See `Provider.read`. A status that nobody knows means that the task still runs."""
        document = cast("dict[str, Json]", answers.parse(answer.body))
        dialect = self._dialect
        word = text_at(document, dialect.status).casefold()
        why = answers.clean(text_at(document, dialect.error))
        if word in dialect.failed or answer.status >= 400:
            raise Permanent(f"{self.name}: the task failed: {why or word or answer.status}")
        is_done = word in dialect.done
        found = pictures(document, dialect.results) if is_done or not word else []
        named = text_at(document, dialect.handle)
        # What stands at the address of a result, without a status, is the result: then the task is done.
        is_done = is_done or bool(dialect.result and not word and not named and "location" in answer.headers)
        handle = named or answer.headers.get("location", "")
        if found:
            completed = answers.images({"data": found})
            request_id = text_at(document, dialect.request_id) or answer.request_id
            return replace(completed, request_id=_storable(request_id), facts=facts(document))
        if handle and (not is_done or (dialect.result and word and not why)):
            return Accepted(handle=_storable(handle) or "")
        if is_done or why:
            raise Permanent(f"{self.name} answered without images: {why or 'the task is done and has none'}")
        raise Corrupt(f"the answer has neither images nor a task ({', '.join(dialect.handle)})")

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """See `Notified`. Where a secret is configured it decides; a dialect whose webhooks are signed needs one.
        Raises ConfigurationError when the secret cannot be had."""
        reference = self._settings.webhook_secret
        if reference is not None:
            secret = self._outside.secret(reference)
            if not notices.is_genuine(headers, body, secret, self._outside.now()):
                return None
        elif self._dialect.webhook == "standard":
            return None
        try:
            document = cast("dict[str, Json]", answers.parse(body))
        except Corrupt:
            return None
        return _storable(text_at(document, self._dialect.handle)) or None

    def _wanted(self, ask: Ask) -> dict[str, Any]:
        """The body of a request. Raises Permanent for what this dialect cannot say: nothing was sent."""
        dialect, places = self._dialect, self._dialect.places
        if ask.turns and not ask.inputs:
            # No dialogues here, but its last image can be worked on.
            ask = replace(ask, inputs=ask.turns[-1].images[-1:])
        wanted: dict[str, Any] = {}
        for path, value in dialect.constants.items():
            put(wanted, path, value)
        put(wanted, places.get("parameters", ""), {**self._settings.parameters, **ask.parameters})
        is_version = "version" in places and (":" in ask.model or re.fullmatch(r"[0-9a-f]{64}", ask.model))
        said: dict[str, Json] = {"prompt": ask.prompt, "version" if is_version else "model": ask.model}
        if ask.n > 1 and "n" not in places:
            raise Permanent(f"{self.name} makes one image of a request; say n = 1, or give it a place in request_at")
        if ask.n > 1 or not dialect.one_unsaid:
            said["n"] = ask.n
        said |= _size(ask.size, dialect)
        if ask.inputs:
            said["inputs"] = _inputs(ask.inputs, places.get("inputs"), self.name)
        if self._settings.webhook_url:
            said["webhook"] = self._settings.webhook_url
        for word, value in said.items():
            if word in places:
                put(wanted, places[word].removesuffix("[]"), value)
        return wanted


def _size(size: str | None, dialect: Dialect) -> dict[str, Json]:
    if size is None:
        return {}
    sides = _SIDES.fullmatch(size.strip())
    if sides and "width" in dialect.places:
        return {"width": int(sides[1]), "height": int(sides[2])}
    return {"size": f"{sides[1]}{dialect.times}{sides[2]}" if sides else size}


def _inputs(inputs: tuple[Input, ...], place: str | None, name: str) -> Json:
    """Images as data URIs: a list, or the only one where there is room for one."""
    if place is None:
        raise Permanent(f"{name} takes no input images; give them a place in request_at")
    uris: list[Json] = [f"data:{item.content_type};base64,{base64.b64encode(item.data).decode()}" for item in inputs]
    if place.endswith("[]"):
        return uris
    if len(uris) > 1:
        raise Permanent(f"{name} takes one input image at {place}")
    return uris[0]


def _stream(reply: Reply, sink: AnswerSink, handle: str | None = None) -> None:
    """Write a reply as it came. The answer to a poll need not name its task: its handle is kept beside it."""
    headers = dict(reply.headers)
    if handle is not None:
        headers = {name: value for name, value in headers.items() if name.lower() != "location"} | {"location": handle}
    sink.begin(reply.status, reply.content_type, headers)
    for piece in reply.pieces():
        sink.write(piece)


def _storable(text: str | None) -> str | None:
    """JSON may hold half a surrogate pair, and no database can store one."""
    return None if not text else text.encode("utf-8", "replace").decode()
