"""Remarks before money is spent: what would be refused for sure, what is only odd, and that errors send nothing."""

from pathlib import Path
from typing import Any

import pytest

from archiver.core.errors import Permanent
from archiver.core.known_models import KNOWN, find_model
from archiver.core.model import Input, Turn
from archiver.providers import images, sandbox
from tests.providers.images_support import provider, settings
from tests.providers.paid import Kept, ask, outside, paid

FOX = Input(sha256="0" * 64, content_type="image/png", data=b"")


def told(state: Path, asked: dict[str, Any], **values: Any) -> list[tuple[str, str]]:
    """The remarks of an `images` provider."""
    model = {"model": asked.get("model", "m-1")}
    made = images.connect("apiyi", settings(**{"response_format": "omit"} | values | model), outside(state))
    return [(remark.level, remark.text) for remark in made.check(ask(**asked))]


def test_a_request_that_is_right_has_no_remarks(tmp_path: Path) -> None:
    assert told(tmp_path, {"model": "nano-banana-pro", "size": "4096x4096", "n": 4}, response_format="url") == []
    assert told(tmp_path, {"model": "gpt-image-2", "size": "2048x1152", "parameters": {"quality": "high"}}) == []


def test_an_unknown_model_is_only_odd(tmp_path: Path) -> None:
    ((level, text),) = told(tmp_path, {"model": "my-own-model", "size": "5x5", "n": 10})
    assert level == "warning" and '"my-own-model" is not known' in text


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"model": "dall-e-3", "n": 2}, "dall-e-3 makes at most one image a request, not 2"),
        ({"model": "dall-e-3", "inputs": (FOX,)}, "dall-e-3 takes no images as input, not 1"),
        ({"model": "gpt-image-1", "inputs": (FOX,) * 17}, "takes at most 16 images as input, not 17"),
        ({"model": "gpt-image-2", "parameters": {"response_format": "url"}}, 'write response_format = "omit"'),
        ({"model": "dall-e-2", "prompt": " \n"}, "the prompt is empty"),
        ({"model": "dall-e-2", "parameters": {"n": 4}}, "n is 1, and 4 among the parameters"),
        ({"model": "dall-e-2", "n": 0}, "n must be 1 or more"),
    ],
)
def test_what_would_be_refused_is_an_error_and_sends_nothing(tmp_path: Path, asked: dict[str, Any], words: str) -> None:
    assert any(level == "error" and words in text for level, text in told(tmp_path, asked))
    with paid() as endpoint, pytest.raises(Permanent, match="not asked"):
        provider(endpoint.base_url, tmp_path, model=asked["model"], response_format="omit").submit(ask(**asked), Kept())
    assert endpoint.ledger == []


def test_response_format_is_refused_as_it_stands_in_the_settings(tmp_path: Path) -> None:
    """The default of the kind is `url`, which gpt-image answers with 400."""
    ((level, text),) = told(tmp_path, {"model": "gpt-image-1"}, response_format="url")
    assert (level, 'response_format = "omit"' in text) == ("error", True)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"model": "dall-e-3", "size": "512x512"}, "not known to make the size 512x512"),
        ({"model": "gpt-image-2", "size": "1000x1000"}, "the size 1000x1000"),
        ({"model": "gpt-image-2", "size": "3840x1024"}, "the size 3840x1024"),
        ({"model": "gemini-3-pro-image-preview", "size": "8K"}, "the size 8K"),
        ({"model": "dall-e-3", "parameters": {"quality": "ultra"}}, "known are hd, standard"),
    ],
)
def test_what_it_may_take_after_all_is_a_warning_and_is_sent(tmp_path: Path, asked: dict[str, Any], words: str) -> None:
    ((level, text),) = told(tmp_path, asked)
    assert level == "warning" and words in text
    with paid() as endpoint:
        provider(endpoint.base_url, tmp_path, model=asked["model"], response_format="omit").submit(ask(**asked), Kept())
    assert len(endpoint.ledger) == 1


def test_a_shape_is_no_size(tmp_path: Path) -> None:
    assert told(tmp_path, {"model": "nano-banana-pro", "size": "16:9"}) == []


def test_the_last_image_of_a_dialogue_counts_as_an_input(tmp_path: Path) -> None:
    with paid() as endpoint, pytest.raises(Permanent, match="takes no images"):
        asked = ask(model="dall-e-3", turns=(Turn(prompt="a fox", images=(FOX,)),))
        provider(endpoint.base_url, tmp_path, model="dall-e-3", response_format="omit").submit(asked, Kept())
    assert endpoint.ledger == []


def test_the_sandbox_says_what_it_does_not_draw(tmp_path: Path) -> None:
    made = sandbox.connect("sandbox", sandbox.Settings(), outside(tmp_path))
    assert made.check(ask(size="1024x1024")) == ()
    (remark,) = made.check(ask(size="9000x9000"))
    assert remark.level == "error" and "up to 4096" in remark.text
    assert list(tmp_path.iterdir()) == [], "a remark starts no server"


def test_every_known_model_says_who_says_so_and_is_found_by_its_own_name() -> None:
    for known in KNOWN:
        assert known.source and known.most >= 1
        assert known.smallest is None or known.makes(known.smallest)
    for name in ("dall-e-3", "gpt-image-2", "gpt-image-2-vip", "nano-banana", "nano-banana-pro", "imagen-4"):
        assert find_model(name) is not None
    assert find_model("gpt-4o-image") is not None and find_model("sora_image") is not None
    pro, first = find_model("google/Gemini-3-Pro-Image-Preview"), find_model("gemini-2.5-flash-image")
    assert pro is not None and pro.makes("4K") and first is not None and not first.makes("4K")
    assert find_model("gpt-4o") is None
