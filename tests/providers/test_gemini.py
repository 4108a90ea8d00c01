"""The kind `gemini`: the request it makes of an ask, what a size means there, its dialogue, its drafts."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from archiver.core.errors import Permanent, Throttled
from archiver.core.model import Input, Turn
from archiver.providers import gemini
from archiver.providers.account import READ_LARGE_S, READ_S, answer_timeouts
from tests.data.images import jpeg, png
from tests.doubles.gemini import GeminiProvider
from tests.providers.paid import KEY, Kept, ask, outside


def provider(base_url: str, state: Path, secret: str = KEY, **values: object) -> gemini.Gemini:
    settings = {"base_url": base_url, "model": "m-1", "api_key": "env:KEY", **values}
    return gemini.connect("apiyi", gemini.Settings.model_validate(settings), outside(state, secret=secret))


def request(tmp_path: Path, settings: dict[str, object] | None = None, **asked: object) -> dict[str, Any]:
    """The body that goes out."""
    with GeminiProvider() as double:
        provider(double.endpoint, tmp_path, double.api_key, **(settings or {})).submit(ask(**asked), Kept())
        (body,) = double.asked
    return body


def picture(data: bytes, content_type: str = "image/png") -> Input:
    return Input(sha256=hashlib.sha256(data).hexdigest(), content_type=content_type, data=data)


def part(data: bytes, content_type: str = "image/png") -> dict[str, object]:
    return {"inlineData": {"mimeType": content_type, "data": base64.b64encode(data).decode()}}


def test_the_request_is_the_documented_one(tmp_path: Path) -> None:
    assert request(tmp_path, prompt="一只狐狸") == {
        "contents": [{"role": "user", "parts": [{"text": "一只狐狸"}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }


@pytest.mark.parametrize("suffix", ["", "/", "/v1beta", "/v1beta/"])
@pytest.mark.parametrize("model", ["gemini-3-pro-image-preview", "models/gemini-3-pro-image-preview"])
def test_the_model_is_a_part_of_the_path(suffix: str, model: str, tmp_path: Path) -> None:
    with GeminiProvider() as double:
        provider(double.endpoint + suffix, tmp_path, double.api_key).submit(ask(model=model), Kept())
        assert [seen.key for seen in double.requests] == ["/v1beta/models/gemini-3-pro-image-preview:generateContent"]
        assert double.charges[0].model == "gemini-3-pro-image-preview"


@pytest.mark.parametrize("auth", ["bearer", "google"])
def test_the_key_is_told_as_the_provider_wants_it(auth: str, tmp_path: Path) -> None:
    with GeminiProvider(auth=auth) as double:  # type: ignore[arg-type]
        provider(double.endpoint, tmp_path, double.api_key, auth=auth).submit(ask(), Kept())
        other = "google" if auth == "bearer" else "bearer"
        with pytest.raises(Throttled, match="check api_key"):
            provider(double.endpoint, tmp_path, double.api_key, auth=other).submit(ask(), Kept())
        named = [{"authorization", "x-goog-api-key"} & seen.headers.keys() for seen in double.requests]
    both = [{"authorization"}, {"x-goog-api-key"}]
    assert named == (both if auth == "bearer" else both[::-1])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (None, {}),
        ("auto", {}),
        ("2K", {"imageSize": "2K"}),
        ("4k", {"imageSize": "4K"}),
        ("1K", {"imageSize": "1K"}),
        ("16:9", {"aspectRatio": "16:9"}),
        ("1024x1024", {"aspectRatio": "1:1"}),
        ("2048x2048", {"aspectRatio": "1:1", "imageSize": "2K"}),
        ("4096X4096", {"aspectRatio": "1:1", "imageSize": "4K"}),
        ("1920x1080", {"aspectRatio": "16:9", "imageSize": "2K"}),
        ("2752x1536", {"aspectRatio": "16:9", "imageSize": "2K"}),
        ("5504x3072", {"aspectRatio": "16:9", "imageSize": "4K"}),
        ("1080x1920", {"aspectRatio": "9:16", "imageSize": "2K"}),
        ("832x1248", {"aspectRatio": "2:3"}),
    ],
)
def test_a_size_becomes_a_ratio_and_a_class(size: str | None, expected: dict[str, str], tmp_path: Path) -> None:
    """No smaller than what was asked for; 1K is unasked, because the first model of the series refuses the word."""
    assert request(tmp_path, size=size)["generationConfig"].get("imageConfig", {}) == expected


@pytest.mark.parametrize("size", ["8192x8192", "1000x900", "17:9", "8K", "landscape", "0x0", "100x3000"])
def test_a_size_without_a_meaning_is_refused_and_says_what_to_write(size: str, tmp_path: Path) -> None:
    with GeminiProvider() as double:
        with pytest.raises(Permanent, match=r'"1K", "2K" or "4K", a ratio \(1:1, .*or WIDTHxHEIGHT'):
            provider(double.endpoint, tmp_path, double.api_key).submit(ask(size=size), Kept())
        assert double.requests == []


def test_a_size_wins_over_the_settings_and_a_parameter_over_both(tmp_path: Path) -> None:
    settings: dict[str, object] = {"aspect_ratio": "21:9", "image_size": "4K"}
    image = [
        request(tmp_path, settings, **asked)["generationConfig"]["imageConfig"]
        for asked in ({}, {"size": "2K"}, {"size": "2K", "parameters": {"aspect_ratio": "1:1", "imageSize": "1K"}})
    ]
    assert image == [
        {"aspectRatio": "21:9", "imageSize": "4K"},
        {"aspectRatio": "21:9", "imageSize": "2K"},
        {"aspectRatio": "1:1", "imageSize": "1K"},
    ]


def test_parameters_find_their_places(tmp_path: Path) -> None:
    settings: dict[str, object] = {"parameters": {"temperature": 0.4, "seed": 1, "tools": [{"google_search": {}}]}}
    wanted = {
        "seed": 2,
        "responseModalities": ["TEXT", "IMAGE"],
        "generationConfig": {"topP": 0.5},
        "safetySettings": [],
    }
    assert request(tmp_path, settings, parameters=wanted, n=2) == {
        "contents": [{"role": "user", "parts": [{"text": "a red fox"}]}],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"],
            "candidateCount": 2,
            "temperature": 0.4,
            "seed": 2,
            "topP": 0.5,
        },
        "tools": [{"google_search": {}}],
        "safetySettings": [],
    }


def test_a_dialogue_goes_along_and_no_image_in_the_models_name(tmp_path: Path) -> None:
    """Google refuses an image of the model's without the signature that came with it; the double does too."""
    mine, first, second, photo = *(picture(png(number, 3)) for number in (1, 2, 3)), picture(jpeg(), "image/jpeg")
    turns = (
        Turn(prompt="a fox", reply="Here.", inputs=(mine,), images=(first,)),
        Turn(prompt="with a hat", images=(second,)),
    )
    assert request(tmp_path, prompt="in snow", turns=turns, inputs=(photo,))["contents"] == [
        {"role": "user", "parts": [{"text": "a fox"}, part(mine.data)]},
        {"role": "model", "parts": [{"text": "Here."}]},
        {"role": "user", "parts": [{"text": "with a hat"}, part(first.data)]},
        {"role": "model", "parts": [{"text": "[image 1]"}]},
        {"role": "user", "parts": [{"text": "in snow"}, part(photo.data, "image/jpeg"), part(second.data)]},
    ]


def test_the_last_image_is_final_and_the_others_led_to_it(tmp_path: Path) -> None:
    sink = Kept()
    with GeminiProvider(form="drafts") as double:
        subject = provider(double.endpoint, tmp_path, double.api_key)
        subject.submit(ask(prompt="a fox", n=2), sink)
        result = subject.read(sink.answer())
        drawn = [
            double.image(name, index) for index in (0, 1) for name in ("a fox (thought)", "a fox (draft)", "a fox")
        ]
    assert [output.data for output in result.outputs] == drawn
    assert [output.role for output in result.outputs] == ["draft", "draft", "final"] * 2
    assert result.reply == "Here it is.\n\nHere it is."
    assert result.facts["usageMetadata"] == {
        "promptTokenCount": 9,
        "candidatesTokenCount": 1120,
        "totalTokenCount": 1129,
    }
    assert [candidate["finishReason"] for candidate in result.facts["candidates"]] == ["STOP"] * 2  # type: ignore[index, union-attr, call-overload]


def test_a_large_image_may_take_longer(tmp_path: Path) -> None:
    subject = provider("https://api.example.com", tmp_path)
    for size, wait in (("4K", READ_LARGE_S), ("4096x4096", READ_LARGE_S), ("3840x2160", READ_LARGE_S), ("2K", READ_S)):
        _, chosen = subject._wanted(ask(size=size))
        assert answer_timeouts(chosen)[1] == wait


@pytest.mark.parametrize("wrong", [{"auth": "basic"}, {"aspect_ratio": "wide"}, {"image_size": "huge"}, {"sise": "2K"}])
def test_settings_that_cannot_be_meant_are_no_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        gemini.Settings.model_validate({"base_url": "https://api.example.com", "model": "m", **wrong})
