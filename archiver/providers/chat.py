"""The kind `chat`: one POST to `v1/chat/completions`, whose answer holds images among its words.

Works with image models behind OpenAI-style gateways and OpenRouter; another model is another `model`. Where the images
stand in an answer is `extract`'s to know. An earlier exchange goes along as messages. It refuses to retry, to stream (a
stream that comes all the same is read), and to send what would be ignored: a size has no field in this dialect.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Literal, cast

from pydantic import Field, JsonValue

from archiver.core.errors import Corrupt, Permanent
from archiver.core.model import Answer, Ask, Completed, Input, Json
from archiver.core.news import Remark
from archiver.core.ports import AnswerSink, Outside
from archiver.providers import answers, checking
from archiver.providers.account import Account, AccountSettings, answer_timeouts, json_headers
from archiver.providers.extract import extract
from archiver.providers.facts import facts

PATH = "v1/chat/completions"
PRESETS: Mapping[str, Mapping[str, Json]] = {
    "draft": {"temperature": 0.9, "max_tokens": 2000},
    "standard": {"temperature": 0.7, "max_tokens": 4000},
    "high": {"temperature": 0.5, "max_tokens": 6000},
}
"""As the seeds have them (S111 to S113). An unknown name is an error."""


class Settings(AccountSettings):
    """One provider of the kind `chat`.

    `preset` sets temperature and max_tokens, which may also be set one by one; `parameters` go with every request. A
    job's or prompt's parameters win over all of these. `inline`: its answers hold the images themselves, for which room
    on the disk is kept.
    """

    model: str = Field(min_length=1)
    system: Annotated[str, Field(min_length=1)] | None = None
    preset: Literal["draft", "standard", "high"] = "standard"
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    inline: bool = True


def connect(name: str, settings: Settings, outside: Outside) -> "Chat":
    """The provider `name`. Does no I/O; the key is resolved when it is needed."""
    return Chat(name, settings, outside)


class Chat:
    """See `Provider`. Any number of threads may submit at once."""

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        self.name = name
        self.model = settings.model
        self.concurrency = settings.concurrency
        self.promise = settings.promise(inline=settings.inline)
        self._settings = settings
        self._account = Account(name, settings, outside)

    def check(self, ask: Ask) -> tuple[Remark, ...]:
        """See `Provider.check`."""
        return checking.remarks_on(ask) + checking.unbuildable(lambda: self._wanted(ask))

    def submit(self, ask: Ask, sink: AnswerSink) -> None:
        """See `Provider.submit`. Raises Permanent before anything is sent for a preset or a number that is none."""
        checking.refuse(self.name, checking.remarks_on(ask))
        wanted = self._wanted(ask)
        content = json.dumps(wanted).encode("ascii")
        headers = json_headers(ask.generation_id)
        with self._account.submit(PATH, content, headers, timeouts=answer_timeouts(_size_in(wanted))) as reply:
            sink.begin(reply.status, reply.content_type, reply.headers)
            for piece in reply.pieces():
                sink.write(piece)

    def poll(self, handle: str, sink: AnswerSink) -> None:  # noqa: ARG002 -- the signature is the port's
        """Always raises Permanent: there is no accepted work."""
        raise Permanent(f"{self.name} answers at once and keeps no work to ask for")

    def read(self, answer: Answer) -> Completed:
        """See `Provider.read`."""
        document = _whole(answer.body)
        choices = document.get("choices")
        known = [choice for choice in choices if isinstance(choice, Mapping)] if isinstance(choices, list) else []
        messages = [message for choice in known if isinstance(message := choice.get("message"), Mapping)]
        refusal = _refusal(known, messages)
        # A refusal names pages to read, and none of them is the image.
        found = extract(messages if isinstance(choices, list) else document, guess=not refusal)
        request_id = document.get("id")
        if found.outputs:
            return Completed(
                outputs=found.outputs,
                request_id=answer.request_id or (answers.clean(request_id) if isinstance(request_id, str) else None),
                reply=found.words or None,
                facts=facts(document),
            )
        reasons = [refusal, answers.complaint(json.dumps(document).encode()), answers.clean(found.words)]
        raise Permanent(f"answered without images: {'; '.join(filter(None, reasons)) or 'no choices'}")

    def _wanted(self, ask: Ask) -> dict[str, Json]:
        if ask.size is not None:
            raise Permanent(
                f"{self.name}: a chat has no field for a size; say it in the prompt, "
                "or in parameters, in the provider's own words"
            )
        levels = (ask.parameters, cast("Mapping[str, Json]", self._settings.parameters), self._settings.model_dump())
        parameters = {name: value for level in levels[1::-1] for name, value in level.items() if name != "preset"}
        wanted: dict[str, Json] = {
            "model": ask.model,
            "stream": False,
            "messages": _messages(ask, self._settings.system),
            "temperature": _number("temperature", levels, float, 0, 2),
            "max_tokens": _number("max_tokens", levels, int, 1, 10**9),
        }
        return {**parameters, **({"n": ask.n} if ask.n > 1 else {}), **wanted}


def _number(name: str, levels: tuple[Mapping[str, Json], ...], kind: type, least: int, most: int) -> Json:
    """What the first level says that says anything: the number itself, or by its preset. Raises Permanent."""
    for level in levels:
        value, preset = level.get(name), level.get("preset")
        if value is not None:
            fits = (
                isinstance(value, int | kind) and not isinstance(value, bool) and least <= cast("float", value) <= most
            )
            if not fits:
                raise Permanent(f"{name} must be a number from {least} to {most}")
            return value
        if preset is not None:
            if not isinstance(preset, str) or preset not in PRESETS:
                raise Permanent(f"there is no such preset; known are: {', '.join(PRESETS)}")
            return PRESETS[preset][name]
    raise AssertionError("the settings have a preset")


def _messages(ask: Ask, system: str | None) -> list[Json]:
    """The dialogue so far and the prompt. What the model drew goes back with the next words of the user: the dialect
    lets nobody else show an image."""
    messages: list[Json] = [{"role": "system", "content": system}] if system else []
    drawn: tuple[Input, ...] = ()
    for turn in ask.turns:
        messages.append(_user(turn.prompt, turn.inputs + drawn))
        drawn = turn.images
        said = turn.reply or " ".join(f"[image {number}]" for number, _ in enumerate(drawn, 1))
        if said:
            messages.append({"role": "assistant", "content": said})
    return [*messages, _user(ask.prompt, ask.inputs + drawn)]


def _user(words: str, images: tuple[Input, ...]) -> Json:
    if not images:
        return {"role": "user", "content": words}
    parts: list[Json] = [{"type": "text", "text": words}]
    for image in images:
        address = f"data:{image.content_type};base64,{b64encode(image.data).decode('ascii')}"
        parts.append({"type": "image_url", "image_url": {"url": address}})
    return {"role": "user", "content": parts}


def _size_in(wanted: Mapping[str, Json]) -> str | None:
    """The size that parameters ask for, where providers are known to have a word for it."""
    config = wanted.get("image_config")
    for size in (config.get("image_size") if isinstance(config, Mapping) else None, wanted.get("size")):
        if isinstance(size, str):
            return size
    return None


def _refusal(choices: list[Mapping[str, object]], messages: list[Mapping[str, object]]) -> str:
    """Why the model says that it made nothing; empty when it does not."""
    said = [f"finish_reason {reason}" for choice in choices if (reason := choice.get("finish_reason")) in _REFUSING]
    words = [refusal for message in messages if isinstance(refusal := message.get("refusal"), str) and refusal.strip()]
    cut = [choice for choice in choices if choice.get("finish_reason") == "length"]
    return answers.clean("; ".join([*said, *words])) or ("cut off by max_tokens, which may be raised" if cut else "")


_REFUSING = frozenset({"content_filter", "safety", "refusal", "error"})


def _whole(body: bytes) -> dict[str, object]:
    """The answer as one document. Some relays stream whatever was asked for: their pieces are put together.

    Raises Corrupt when it is cut: a stream has an end of its own.
    """
    text = body.lstrip()
    if not text.startswith((b"data:", b":")):
        return answers.parse(body)
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith(b"data:")]
    if not lines or lines[-1] != b"[DONE]":
        raise Corrupt("the answer is a stream without an end")
    whole: dict[str, object] = {}
    choices: dict[object, dict[str, object]] = {}
    for event in map(answers.parse, lines[:-1]):
        pieces = event.pop("choices", None)
        whole |= event
        for piece in pieces if isinstance(pieces, list) else []:
            if isinstance(piece, Mapping):
                _join(choices.setdefault(str(piece.get("index")), {"message": {}}), piece)
    return {**whole, "choices": list(choices.values())}


def _join(choice: dict[str, object], piece: Mapping[str, object]) -> None:
    """Add one piece of a stream to the choice that it belongs to."""
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]
    message, delta = cast("dict[str, object]", choice["message"]), piece.get("delta") or piece.get("message")
    for name, value in delta.items() if isinstance(delta, Mapping) else ():
        before = message.get(name)
        if isinstance(before, str) and isinstance(value, str) and name in ("content", "refusal"):
            message[name] = before + value
        elif isinstance(before, list) and isinstance(value, list):
            message[name] = [*before, *value]
        elif value is not None:
            message[name] = value
