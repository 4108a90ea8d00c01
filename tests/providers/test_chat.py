"""The kind `chat`: the request it makes of an ask, its presets, its dialogue, and what it refuses before paying."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from archiver.core.errors import Permanent
from archiver.core.known_models import find_model
from archiver.core.model import Answer, Input, Turn
from archiver.providers import account, chat
from tests.data.images import jpeg, png
from tests.doubles.chat import ChatProvider
from tests.providers.paid import KEY, START, Kept, ask, outside, paid, sends


def provider(base_url: str, state: Path, secret: str = KEY, **values: object) -> chat.Chat:
    settings = {"base_url": base_url, "model": "m-1", "api_key": "env:KEY", **values}
    return chat.connect("apiyi", chat.Settings.model_validate(settings), outside(state, secret=secret))


def request(tmp_path: Path, settings: dict[str, object] | None = None, **asked: object) -> dict[str, Any]:
    """The body that goes out."""
    with ChatProvider() as double:
        provider(double.endpoint, tmp_path, double.api_key, **(settings or {})).submit(ask(**asked), Kept())
        (body,) = double.asked
    return body


def picture(data: bytes, content_type: str = "image/png") -> Input:
    return Input(sha256=hashlib.sha256(data).hexdigest(), content_type=content_type, data=data)


def part(data: bytes, content_type: str = "image/png") -> dict[str, object]:
    return {
        "type": "image_url",
        "image_url": {"url": f"data:{content_type};base64,{base64.b64encode(data).decode()}"},
    }


def test_the_request_is_the_one_of_the_seeds(tmp_path: Path) -> None:
    """S102: model, no stream, the prompt as the one message, temperature 0.7, 4,000 tokens; and nothing else."""
    assert request(tmp_path, prompt="一只狐狸") == {
        "model": "m-1",
        "stream": False,
        "messages": [{"role": "user", "content": "一只狐狸"}],
        "temperature": 0.7,
        "max_tokens": 4000,
    }


@pytest.mark.parametrize("model", ["gpt-4o-image", "sora_image", "gemini-2.5-flash-image-preview"])
def test_only_the_name_changes_with_the_model(model: str, tmp_path: Path) -> None:
    """S100, S170: going over to another model is one line of the configuration, and the name is a known one."""
    sent = request(tmp_path, {"model": model}, model=model)
    assert sent == request(tmp_path) | {"model": model}
    assert find_model(model) is not None


@pytest.mark.parametrize(
    ("settings", "parameters", "expected"),
    [
        ({}, {}, (0.7, 4000)),
        ({"preset": "draft"}, {}, (0.9, 2000)),
        ({"preset": "high"}, {}, (0.5, 6000)),
        ({"preset": "high", "temperature": 0}, {}, (0, 6000)),
        ({"preset": "high", "max_tokens": 100}, {"preset": "draft"}, (0.9, 2000)),
        ({"temperature": 1.5}, {"max_tokens": 77}, (1.5, 77)),
        ({"parameters": {"temperature": 0.2}}, {}, (0.2, 4000)),
        ({"parameters": {"temperature": 0.2}}, {"preset": "draft", "temperature": 1}, (1, 2000)),
    ],
)
def test_the_nearest_word_on_temperature_and_length_wins(
    settings: dict[str, object], parameters: dict[str, object], expected: tuple[float, int], tmp_path: Path
) -> None:
    """A prompt's or job's parameters, then those of the provider, then its settings; a number before a preset."""
    body = request(tmp_path, settings, parameters=parameters)
    assert (body["temperature"], body["max_tokens"]) == expected
    assert "preset" not in body


def test_parameters_go_along_and_change_nothing_that_is_ours(tmp_path: Path) -> None:
    settings: dict[str, object] = {"parameters": {"modalities": ["image", "text"], "seed": 1}}
    wanted = {"seed": 2, "stream": True, "messages": []}
    body = request(tmp_path, settings, parameters=wanted, n=2)
    assert (body["modalities"], body["seed"], body["n"]) == (["image", "text"], 2, 2)
    assert (body["model"], body["stream"], len(body["messages"])) == ("m-1", False, 1)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"parameters": {"preset": "fast"}}, "draft, standard, high"),
        ({"parameters": {"preset": ["high"]}}, "no such preset"),
        ({"parameters": {"temperature": "hot"}}, "temperature must be a number from 0 to 2"),
        ({"parameters": {"temperature": 3}}, "temperature"),
        ({"parameters": {"temperature": True}}, "temperature"),
        ({"parameters": {"max_tokens": 0}}, "max_tokens"),
        ({"parameters": {"max_tokens": 10.5}}, "max_tokens"),
        ({"parameters": {"model": "other"}}, "model is 'm-1', and 'other' among the parameters"),
        ({"size": "2048x2048"}, "say it in the prompt"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    asked: dict[str, object], words: str, tmp_path: Path
) -> None:
    with ChatProvider() as double:
        with pytest.raises(Permanent, match=words):
            provider(double.endpoint, tmp_path, double.api_key).submit(ask(**asked), Kept())
        assert double.requests == []


@pytest.mark.parametrize("wrong", [{"preset": "fast"}, {"temperature": 2.1}, {"max_tokens": 0}, {"streem": True}])
def test_settings_that_cannot_be_meant_are_no_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        chat.Settings.model_validate({"base_url": "https://api.example.com", "model": "m", **wrong})


def test_a_dialogue_goes_along_with_every_image(tmp_path: Path) -> None:
    """What the model drew comes back in the user's next words, after the inputs that these words count."""
    mine, first, second, extra = (picture(png(number, 3)) for number in range(1, 5))
    photo = picture(jpeg(), "image/jpeg")
    turns = (
        Turn(prompt="a fox", reply="Here it is: [image 1]", inputs=(mine,), images=(first,)),
        Turn(prompt="with a hat", images=(second,)),
    )
    with ChatProvider() as double:
        subject = provider(double.endpoint, tmp_path, double.api_key, system="You draw.")
        subject.submit(ask(prompt="in snow", turns=turns, inputs=(photo, extra)), Kept())
        assert double.dialogues == [
            [
                {"role": "system", "content": "You draw."},
                {"role": "user", "content": [{"type": "text", "text": "a fox"}, part(mine.data)]},
                {"role": "assistant", "content": "Here it is: [image 1]"},
                {"role": "user", "content": [{"type": "text", "text": "with a hat"}, part(first.data)]},
                {"role": "assistant", "content": "[image 1]"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "in snow"},
                        part(photo.data, "image/jpeg"),
                        part(extra.data),
                        part(second.data),
                    ],
                },
            ]
        ]
        assert double.shown == [[mine.data, first.data, photo.data, extra.data, second.data]]


def test_a_turn_without_an_answer_leaves_no_empty_message(tmp_path: Path) -> None:
    with paid(sends(200, {"choices": []})) as endpoint:
        provider(endpoint.base_url, tmp_path).submit(ask(prompt="again", turns=(Turn(prompt="a fox"),)), Kept())
    assert json.loads(endpoint.ledger[0].body)["messages"] == [
        {"role": "user", "content": "a fox"},
        {"role": "user", "content": "again"},
    ]


def test_room_for_the_bytes_is_promised_unless_told_otherwise(tmp_path: Path) -> None:
    assert provider("https://api.example.com", tmp_path).promise.inline is True
    assert provider("https://api.example.com", tmp_path, inline=False).promise.inline is False


def test_a_large_image_may_take_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the parameters have a known word for the size; the other waits are those of every kind."""
    seen: list[tuple[float, float]] = []
    real = account.Account._submit

    def noted(self: Any, stack: Any, path: str, content: bytes, headers: Any, timeouts: tuple[float, float]) -> Any:
        seen.append(timeouts)
        return real(self, stack, path, content, headers, timeouts)

    monkeypatch.setattr(account.Account, "_submit", noted)
    request(tmp_path)
    request(tmp_path, parameters={"image_config": {"image_size": "4K"}})
    assert seen == [(account.CONNECT_S, account.READ_S), (account.CONNECT_S, account.READ_LARGE_S)]


def test_the_id_of_the_header_is_what_a_refund_asks_for(tmp_path: Path) -> None:
    body = json.dumps({"id": "chatcmpl-1", "choices": [{"message": {"content": "https://h/a.png"}}]}).encode()
    subject = provider("https://api.example.com", tmp_path)
    for headers, expected in (({"x-request-id": "req-9"}, "req-9"), ({}, "chatcmpl-1")):
        answer = Answer(status=200, content_type="", body=body, received_at=START, headers=headers)
        assert subject.read(answer).request_id == expected
