"""Answers as they were seen and documented, kept as data, each with what it means: `tests/data/answers/KIND-*.json`.

A file names the kind that reads it, the answer (or a `body` that is no JSON), and what is expected: the images with
their roles and the words that remain, or an error and what it says. Bytes are named by their digest.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from archiver.core import errors
from archiver.core.model import Answer, Completed, Output
from archiver.core.ports import Provider
from archiver.providers import chat, gemini
from tests.providers.paid import START, outside

KINDS: dict[str, Any] = {"chat": chat, "gemini": gemini}
ANSWERS = sorted(path for kind in KINDS for path in (Path(__file__).parents[1] / "data/answers").glob(f"{kind}-*.json"))


def reader(kind: str) -> Provider:
    settings = {"base_url": "https://api.example.com", "model": "m-1", "api_key": "env:KEY"}
    module = KINDS[kind]
    made: Provider = module.connect("apiyi", module.Settings.model_validate(settings), outside(Path("/nowhere")))
    return made


def named(output: Output) -> list[str]:
    """Role, and the URL or the digest of the bytes."""
    if output.url is not None:
        return [output.role, output.url.reveal()]
    return [output.role, "sha256:" + hashlib.sha256(output.data or b"").hexdigest()[:16]]


def test_there_are_answers_of_every_kind() -> None:
    assert {json.loads(path.read_text("utf-8"))["kind"] for path in ANSWERS} == set(KINDS)
    assert len(ANSWERS) >= 30


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
def test_a_recorded_answer_means_what_its_file_says(path: Path) -> None:
    case = json.loads(path.read_text("utf-8"))
    body = case["body"].encode() if "body" in case else json.dumps(case["answer"]).encode()
    answer = Answer(status=200, content_type="application/json", body=body, received_at=START)
    expected = case["expected"]
    if "error" in expected:
        with pytest.raises(getattr(errors, expected["error"])) as caught:
            reader(case["kind"]).read(answer)
        for words in expected["says"]:
            assert words in str(caught.value)
        return
    result = reader(case["kind"]).read(answer)
    assert isinstance(result, Completed)
    assert [named(output) for output in result.outputs] == expected["images"]
    assert [output.index for output in result.outputs] == list(range(len(result.outputs)))
    assert result.reply == expected["reply"]
    assert "usage" in result.facts or "usageMetadata" in result.facts
    assert "Signature" not in json.dumps(dict(result.facts))
