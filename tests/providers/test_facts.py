"""What is kept of an answer besides its images: everything but images, URLs and secrets."""

import json

from archiver.providers.facts import LEFT_OUT, MOST_CHARACTERS, facts


def test_usage_and_unknown_fields_are_kept() -> None:
    document = {"created": 1, "usage": {"total_tokens": 9}, "new_field": [1, None, {"deep": True}], "model": "m-2"}
    assert facts(document) == document


def test_images_urls_and_secrets_are_not() -> None:
    kept = facts(
        {
            "data": [{"url": "https://h/a.png?Signature=hush", "b64_json": "QUJD" * 100, "revised_prompt": "a fox"}],
            "content": "see ![it](https://h/b.png?token=hush)",
            "image": "data:image/png;base64,QUJD",
            "api_key": "hush",
            "thoughtSignature": "QUJD",
            "parts": [{"thoughtSignature": "QUJD"}],
        }
    )
    assert kept == {
        "data": [{"url": LEFT_OUT, "b64_json": LEFT_OUT, "revised_prompt": "a fox"}],
        "content": LEFT_OUT,
        "image": LEFT_OUT,
        "api_key": LEFT_OUT,
        "parts": [{}],
    }


def test_an_endless_answer_leaves_its_plain_values() -> None:
    kept = facts({"model": "m", "noise": list(range(MOST_CHARACTERS))})
    assert kept == {"model": "m"}
    assert facts({str(number): number for number in range(MOST_CHARACTERS)}) == {}


def test_half_a_surrogate_pair_can_be_stored() -> None:
    assert json.dumps(facts({"text": "\ud83d"})) == '{"text": "?"}'


def test_what_is_nested_too_deep_is_left_out() -> None:
    """As deep as JSON may be read; the stack would not bear it, and a paid answer would not be read."""
    deep: object = 1
    for _ in range(800):
        deep = {"a": [deep]}
    assert LEFT_OUT in json.dumps(facts({"usage": {"n": 1}, "deep": deep}))
    assert facts({"usage": {"n": 1}, "deep": deep})["usage"] == {"n": 1}
