"""Fingerprints of requests: equal for the same, different for anything else that reaches a provider."""

from datetime import timedelta
from typing import Any

import pytest

from archiver.catalogue import InputRow
from archiver.core.likeness import fingerprint
from tests.catalogue.filling import draft

FOX = InputRow(sha256="a" * 64, content_type="image/png", path="/fox.png")
CAT = InputRow(sha256="b" * 64, content_type="image/png", path="/cat.png")
ASKED: dict[str, Any] = {
    "prompt": "一只猫",
    "size": "1024x1024",
    "n": 2,
    "parameters": {"quality": "high", "seed": 7},
    "inputs": (FOX, CAT),
    "continues": "g9",
    "settings": {"response_format": "url"},
}


@pytest.mark.parametrize(
    "otherwise",
    [
        {"provider": "other"},
        {"model": "other"},
        {"prompt": "一只猫 "},
        {"size": None},
        {"n": 1},
        {"parameters": {"quality": "high", "seed": "7"}},
        {"inputs": (CAT, FOX)},
        {"inputs": (FOX,)},
        {"continues": None},
        {"settings": {"response_format": "b64_json"}},
    ],
)
def test_whatever_differs_makes_another_request(otherwise: dict[str, Any]) -> None:
    assert draft(1, **ASKED).fingerprint != draft(2, **ASKED | otherwise).fingerprint


def test_what_no_provider_is_told_makes_no_difference() -> None:
    """Neither the job, the stores nor where an input lies, nor the order of parameters."""
    moved = InputRow(sha256="a" * 64, content_type="image/png", image_id="i1")
    same = ASKED | {
        "parameters": {"seed": 7, "quality": "high"},
        "inputs": (moved, CAT),
        "job": "daily",
        "tags": ("x",),
    }
    assert draft(1, **ASKED).fingerprint == draft(2, **same, stores=("here",), reuse=timedelta(hours=1)).fingerprint


def test_what_was_made_elsewhere_has_none() -> None:
    assert draft(1, origin="backfill").fingerprint is None


def test_a_setting_that_is_no_json_does_no_harm() -> None:
    assert len(fingerprint({"settings": {"when": timedelta(1)}})) == 64
