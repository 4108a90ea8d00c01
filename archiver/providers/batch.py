"""The kind `batch`: many requests as one file, at half the price, and their answers as a file within a day or so.

Only `create` buys anything, and it is sent once; handing the file over, asking how a batch stands and fetching its
output are free. It refuses to ask for one image by itself, and to hold an output in memory.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from archiver.core.batching import BatchLine, BatchState
from archiver.core.errors import Ambiguous, Corrupt, Permanent, Transient
from archiver.core.model import Answer, Ask, Completed
from archiver.core.news import Remark
from archiver.core.ports import AnswerSink, Outside
from archiver.providers import answers, checking
from archiver.providers.account import CONNECT_S, SUBMIT_S, Account, AccountSettings, json_headers
from archiver.providers.batch_dialect import Dialect, Said
from archiver.providers.batch_gemini import GeminiBatches
from archiver.providers.batch_openai import OpenAIBatches
from archiver.settings import Duration

UPLOAD_S = 300.0
LOOK_S = 30.0
FETCH_S = 60.0
"""Silence. An output may have gigabytes, and takes what it takes, up to `LONGEST_FETCH_S`."""
LONGEST_FETCH_S = 6 * 3600.0
_LOOK_LIMIT = 16 * 1024**2


class Settings(AccountSettings):
    """One provider of the kind `batch`.

    What is planned is gathered until nothing new came for `gather`, or there is as much as goes into one batch
    (`most_at_once`). `poll_interval` is how often a batch is asked for. `parameters` go with every request.
    """

    mode: ClassVar[str] = "batch"

    dialect: Literal["gemini", "openai"]
    model: str = Field(min_length=1)
    image_size: Annotated[str, Field(pattern=r"^[0-9.]+K?$")] | None = None
    gather: Annotated[Duration, Field(ge=timedelta(0))] = timedelta(seconds=10)
    most_at_once: int | None = Field(default=None, ge=1)
    poll_interval: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(minutes=1)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("base_url")
    @classmethod
    def _without_version(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        # Google's files are not below the version, but beside it.
        return tuple(address.rstrip("/").removesuffix("/v1beta") for address in addresses)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        most = self.spoken().most_allowed
        if self.most_at_once is not None and self.most_at_once > most:
            raise ValueError(f'most_at_once is at most {most} for dialect "{self.dialect}"')
        if self.image_size is not None and self.dialect != "gemini":
            raise ValueError('image_size is for dialect "gemini"; a size says the same elsewhere')
        return self

    def spoken(self) -> Dialect:
        """The dialect."""
        return GeminiBatches(self.image_size) if self.dialect == "gemini" else OpenAIBatches()


def connect(name: str, settings: Settings, outside: Outside) -> "Batch":
    """The provider `name`. Does no I/O; the key is resolved when it is needed."""
    return Batch(name, settings, outside)


class Batch:
    """See `BatchProvider`. Any number of threads may ask at once."""

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        self.name = name
        self.model = settings.model
        self.concurrency = settings.concurrency
        self.promise = replace(settings.promise(inline=True), poll_interval=settings.poll_interval)
        self.gather = settings.gather
        self._dialect = settings.spoken()
        self.most_bytes = self._dialect.most_bytes
        self._settings = settings
        self._account = Account(name, settings, outside, authorise=self._dialect.authorise)

    def most_at_once(self, size: str | None) -> int:
        """See `BatchProvider`."""
        own = self._dialect.most_at_once_large if self._dialect.is_large(size) else self._dialect.most_at_once
        return self._settings.most_at_once or own

    def check(self, ask: Ask) -> tuple[Remark, ...]:
        """See `Provider.check`."""
        return checking.remarks_on(ask) + checking.unbuildable(
            lambda: self._dialect.line(ask, self._settings.parameters)
        )

    def submit(self, ask: Ask, sink: AnswerSink) -> None:  # noqa: ARG002 -- the signature is the port's
        """Always raises Permanent: nothing is asked for by itself."""
        raise Permanent(f"{self.name} is asked by batches only")

    def poll(self, handle: str, sink: AnswerSink) -> None:  # noqa: ARG002 -- the signature is the port's
        """Always raises Permanent: see `look`."""
        raise Permanent(f"{self.name} is asked by batches only")

    def line(self, ask: Ask) -> bytes:
        """See `BatchProvider`."""
        checking.refuse(self.name, checking.remarks_on(ask))
        return json.dumps(self._dialect.line(ask, self._settings.parameters)).encode("ascii") + b"\n"

    def upload(self, batch_id: str, lines: bytes) -> str:
        """See `BatchProvider`."""
        try:
            return self._dialect.uploaded(self._post(batch_id, self._dialect.upload(batch_id, lines), UPLOAD_S))
        except (Ambiguous, Corrupt) as error:
            raise Transient(f"the file was not taken: {error}") from None

    def create(self, batch_id: str, uploaded: str) -> str:
        """See `BatchProvider`."""
        said = self._dialect.create(batch_id, uploaded, self.model)
        try:
            return self._dialect.handle(self._post(batch_id, said, SUBMIT_S))
        except Corrupt as error:
            raise Ambiguous(f"the answer to the order cannot be read: {error}") from None

    def find(self, batch_id: str) -> str | None:
        """See `BatchProvider`."""
        return self._dialect.found(self._get(self._dialect.listing), batch_id)

    def look(self, handle: str) -> BatchState:
        """See `BatchProvider`."""
        return self._dialect.state(self._get(self._dialect.status_path(handle)))

    def fetch(self, file: str, write: Callable[[bytes], None]) -> None:
        """See `BatchProvider`."""
        path = self._dialect.file_path(file)
        with self._account.look(path, timeout=FETCH_S, tail_s=LONGEST_FETCH_S) as reply:
            for piece in reply.pieces(math.inf):
                write(piece)

    def tell(self, line: bytes) -> BatchLine:
        """See `BatchProvider`."""
        return self._dialect.tell(answers.parse(line))

    def read(self, answer: Answer) -> Completed:
        """See `Provider.read`: an answer is one line of an output."""
        return self._dialect.read(answers.parse(answer.body), answer)

    def _post(self, batch_id: str, said: Said, seconds: float) -> Mapping[str, object]:
        headers = {**json_headers(batch_id), **said.headers}
        with self._account.submit(said.path, said.body, headers, timeouts=(CONNECT_S, seconds)) as reply:
            return answers.parse(b"".join(reply.pieces(_LOOK_LIMIT)))

    def _get(self, path: str) -> Mapping[str, object]:
        try:
            with self._account.look(path, timeout=LOOK_S) as reply:
                return answers.parse(b"".join(reply.pieces(_LOOK_LIMIT)))
        except Corrupt as error:
            raise Transient(f"{self.name} cannot be understood: {error}") from None
