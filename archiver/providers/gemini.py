"""The kind `gemini`: one POST to `v1beta/models/{model}:generateContent`, in Google's own dialect.

For Google and for relays that speak alike (the Nano Banana series at APIYI is served so). Images come as bytes or as
URLs in the text. What is said is in `gemini_dialect`. It refuses to retry.
"""

import json
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, JsonValue

from archiver.core.errors import Permanent
from archiver.core.model import Answer, Ask, Completed, Json
from archiver.core.news import Remark
from archiver.core.ports import AnswerSink, Outside
from archiver.providers import answers, checking, gemini_dialect
from archiver.providers.account import Account, AccountSettings, answer_timeouts, bearer, json_headers


class Settings(AccountSettings):
    """One provider of the kind `gemini`.

    `auth` is how the key is told: `bearer` as most relays want it, `google` in the header `x-goog-api-key`.
    `aspect_ratio` and `image_size` go with every request, unless a size says otherwise. `parameters` go into
    `generationConfig`, or to the top where the dialect has them there.
    """

    model: str = Field(min_length=1)
    auth: Literal["bearer", "google"] = "bearer"
    aspect_ratio: Annotated[str, Field(pattern=r"^[0-9]+:[0-9]+$")] | None = None
    image_size: Annotated[str, Field(pattern=r"^[0-9.]+K?$")] | None = None
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    inline: bool = True


def connect(name: str, settings: Settings, outside: Outside) -> "Gemini":
    """The provider `name`. Does no I/O; the key is resolved when it is needed."""
    return Gemini(name, settings, outside)


def _google(key: str) -> dict[str, str]:
    return {"x-goog-api-key": key}


class Gemini:
    """See `Provider`. Any number of threads may submit at once."""

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        self.name = name
        self.model = settings.model
        self.concurrency = settings.concurrency
        self.promise = settings.promise(inline=settings.inline)
        self._settings = settings
        self._account = Account(name, settings, outside, authorise=_google if settings.auth == "google" else bearer)

    def check(self, ask: Ask) -> tuple[Remark, ...]:
        """See `Provider.check`."""
        return checking.remarks_on(ask) + checking.unbuildable(lambda: self._wanted(ask))

    def submit(self, ask: Ask, sink: AnswerSink) -> None:
        """See `Provider.submit`. Raises Permanent before anything is sent for a size that has no meaning here."""
        checking.refuse(self.name, checking.remarks_on(ask))
        wanted, size = self._wanted(ask)
        path = f"v1beta/models/{quote(ask.model.removeprefix('models/'), safe='')}:generateContent"
        content = json.dumps(wanted).encode("ascii")
        headers = json_headers(ask.generation_id)
        with self._account.submit(path, content, headers, timeouts=answer_timeouts(size)) as reply:
            sink.begin(reply.status, reply.content_type, reply.headers)
            for piece in reply.pieces():
                sink.write(piece)

    def poll(self, handle: str, sink: AnswerSink) -> None:  # noqa: ARG002 -- the signature is the port's
        """Always raises Permanent: there is no accepted work."""
        raise Permanent(f"{self.name} answers at once and keeps no work to ask for")

    def read(self, answer: Answer) -> Completed:
        """See `Provider.read`."""
        document = answers.parse(answer.body)
        return gemini_dialect.understood(document, answers.complaint(answer.body), answer.request_id)

    def _wanted(self, ask: Ask) -> tuple[dict[str, Json], str | None]:
        settings = self._settings
        return gemini_dialect.wanted(
            ask, settings.parameters, aspect_ratio=settings.aspect_ratio, image_size=settings.image_size
        )
