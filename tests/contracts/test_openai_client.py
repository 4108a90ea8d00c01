"""The official `openai` package as a client of the doubles: it is understood by them, and understands them as we do.

So neither the doubles nor our adapters have a dialect of their own. The client's own parsing of one answer is compared
with what our provider reads in the same bytes.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from archiver.core.model import Answer, Completed
from archiver.core.ports import Provider
from archiver.providers import chat, images
from tests.data.images import png
from tests.doubles.chat import ChatProvider
from tests.doubles.ledger import Mishap, Paid
from tests.doubles.provider import ImagesProvider
from tests.providers.paid import START, outside

PROMPT = "a fox on the moon 月球"


def client_of(double: Paid, key: str | None = None) -> openai.OpenAI:
    """The client as a user would make it, except that it never asks twice."""
    return openai.OpenAI(api_key=key or double.api_key, base_url=f"{double.endpoint}/v1", max_retries=0, timeout=20)


def ours(module: Any, raw: Any, **settings: object) -> Completed:
    """What our provider reads in the bytes that the client got."""
    values = {"base_url": "https://api.example.com", "model": "m-1", **settings}
    provider: Provider = module.connect("one", module.Settings.model_validate(values), outside(Path("/nowhere")))
    kind, body = raw.headers["content-type"], raw.content
    result = provider.read(Answer(status=raw.status_code, content_type=kind, body=body, received_at=START))
    assert isinstance(result, Completed)
    return result


@pytest.fixture
def client_and_double() -> Iterator[tuple[openai.OpenAI, ChatProvider]]:
    with ChatProvider() as double, client_of(double) as client:
        yield client, double


@pytest.mark.parametrize("form", ["url", "b64_json"])
def test_images_are_the_same_to_both(form: Any) -> None:
    with ImagesProvider() as double, client_of(double) as client:
        raw = client.images.with_raw_response.generate(
            model="nano-banana-pro", prompt=PROMPT, n=3, size="1024x1024", response_format=form
        )
        theirs, mine = raw.parse(), ours(images, raw.http_response)
        assert len(double.charges) == 1
    assert theirs.data and len(theirs.data) == len(mine.outputs) == 3
    for index, (item, output) in enumerate(zip(theirs.data, mine.outputs, strict=True)):
        if form == "url":
            assert output.url is not None and item.url == output.url.reveal()
        else:
            assert output.data == base64.b64decode(item.b64_json or "") == double.image(PROMPT, index)


def test_an_edit_of_the_client_is_an_edit_to_the_double() -> None:
    picture = png(8, 8)
    with ImagesProvider() as double, client_of(double) as client:
        reply = client.images.edit(model="gpt-image-2", prompt=PROMPT, image=("me.png", picture, "image/png"))
        assert double.edited == [[picture]]
        assert reply.data and reply.data[0].url


@pytest.mark.parametrize("form", ["data", "markdown", "bare", "images"])
def test_chats_are_the_same_to_both(form: Any) -> None:
    with ChatProvider(form=form) as double, client_of(double) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="gemini-2.5-flash-image-preview",
            messages=[{"role": "user", "content": PROMPT}],
            temperature=0.7,
            max_tokens=4000,
            n=2,
        )
        theirs, mine = raw.parse(), ours(chat, raw.http_response)
        assert len(double.charges) == 1
        served = list(double.served.values())
        drawn = [double.image(PROMPT, index) for index in (0, 1)]
    assert (theirs.id, theirs.model) == (mine.request_id, mine.facts["model"])
    assert theirs.usage and theirs.usage.model_dump(exclude_none=True) == mine.facts["usage"]
    for choice, output, picture in zip(theirs.choices, mine.outputs, drawn, strict=True):
        content = choice.message.content or ""
        if form == "images":
            content = choice.message.model_dump()["images"][0]["image_url"]["url"]
        if output.url is not None:
            assert output.url.reveal() in content and picture in served
        else:
            assert output.data == picture and base64.b64encode(picture).decode() in content


def test_a_dialogue_of_the_client_is_one_to_the_double(client_and_double: tuple[openai.OpenAI, ChatProvider]) -> None:
    client, double = client_and_double
    picture = png(8, 8)
    address = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    client.chat.completions.create(
        model="m-1",
        messages=[
            {"role": "system", "content": "You draw."},
            {"role": "user", "content": "a fox"},
            {"role": "assistant", "content": "Here."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "with a hat"},
                    {"type": "image_url", "image_url": {"url": address}},
                ],
            },
        ],
    )
    assert double.shown == [[picture]]
    assert double.charges[0].prompt == "with a hat"


def test_what_the_doubles_refuse_is_an_error_to_the_client(
    client_and_double: tuple[openai.OpenAI, ChatProvider],
) -> None:
    client, double = client_and_double
    say: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.BadRequestError, match="top_logprobs"):
        client.chat.completions.create(model="m-1", messages=say, top_logprobs=2)
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="m-1", messages=[*say, {"role": "assistant", "content": ""}])
    with pytest.raises(openai.BadRequestError, match="stream"):
        client.chat.completions.create(model="m-1", messages=say, stream=True)
    with client_of(double, "sk-wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="m-1", messages=say)
    double.script([Mishap(status=429, headers={"Retry-After": "2"}), Mishap(status=500)])
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="m-1", messages=say)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="m-1", messages=say)
    assert double.charges == []
