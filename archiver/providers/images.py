"""The kind `images`: one POST to an endpoint in the OpenAI Images dialect, which answers with the result.

Works with OpenAI, APIYI and the many relays that speak alike: what differs between them is settings. A request with
input images, or one that goes on from an image, goes to the endpoint for edits. It refuses to retry, and it cannot
follow a task: an answer that only names one is an error.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field, JsonValue
from urllib3.filepost import encode_multipart_formdata

from archiver.core.errors import Permanent
from archiver.core.model import Answer, Ask, Completed, Json
from archiver.core.news import Remark
from archiver.core.ports import AnswerSink, Outside
from archiver.providers import answers, checking
from archiver.providers.account import Account, AccountSettings, answer_timeouts, json_headers

GENERATIONS = "v1/images/generations"
EDITS = "v1/images/edits"


class Settings(AccountSettings):
    """One provider of the kind `images`.

    `response_format = "omit"` sends none, for models that refuse the parameter (gpt-image). `parameters` go with every
    request, unless a job or a prompt says otherwise.
    """

    model: str = Field(min_length=1)
    response_format: Literal["url", "b64_json", "omit"] = "url"
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


def connect(name: str, settings: Settings, outside: Outside) -> "Images":
    """The provider `name`. Does no I/O; the key is resolved when it is needed."""
    return Images(name, settings, outside)


class Images:
    """See `Provider`. Any number of threads may submit at once."""

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        self.name = name
        self.model = settings.model
        self.concurrency = settings.concurrency
        self.promise = settings.promise(inline=settings.response_format == "b64_json")
        self._settings = settings
        self._account = Account(name, settings, outside)

    def check(self, ask: Ask) -> tuple[Remark, ...]:
        """See `Provider.check`."""
        return checking.remarks_on(ask, self._wanted(ask))

    def submit(self, ask: Ask, sink: AnswerSink) -> None:
        """See `Provider.submit`. Only an answer of 2xx reaches the sink; a lost connection is `Ambiguous`. What
        `check` calls an error is not sent."""
        if ask.turns and not ask.inputs:
            # No dialogues here, but its last image can be worked on.
            ask = replace(ask, inputs=ask.turns[-1].images[-1:])
        checking.refuse(self.name, self.check(ask))
        headers = json_headers(ask.generation_id)
        wanted = self._wanted(ask)
        if ask.inputs:
            content, headers["Content-Type"] = _form(ask, wanted)
        else:
            content = json.dumps(wanted).encode("ascii")
        with self._account.submit(
            EDITS if ask.inputs else GENERATIONS, content, headers, timeouts=answer_timeouts(ask.size)
        ) as reply:
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
                'the kind "images" needs an endpoint that answers at once; the kind "tasks" follows tasks'
            )
        completed = answers.images(document)
        return completed if completed.request_id else replace(completed, request_id=answer.request_id)

    def _wanted(self, ask: Ask) -> dict[str, Json]:
        wanted: dict[str, Json] = {"prompt": ask.prompt, "model": ask.model, "n": ask.n}
        if self._settings.response_format != "omit":
            wanted["response_format"] = self._settings.response_format
        if ask.size is not None:
            wanted["size"] = ask.size
        return {**self._settings.parameters, **ask.parameters, **wanted}


def _form(ask: Ask, wanted: Mapping[str, Json]) -> tuple[bytes, str]:
    """A request with images as a form, and its Content-Type. Their order is the one in which a prompt counts them."""
    fields: list[tuple[str, str | tuple[str, bytes, str]]] = [
        (name, value if isinstance(value, str) else json.dumps(value)) for name, value in wanted.items()
    ]
    name = "image" if len(ask.inputs) == 1 else "image[]"
    for number, item in enumerate(ask.inputs):
        extension = item.content_type.rpartition("/")[2].partition("+")[0]
        fields.append((name, (f"input-{number}.{extension}", item.data, item.content_type)))
    return encode_multipart_formdata(fields)
