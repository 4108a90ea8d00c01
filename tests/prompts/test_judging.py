"""What is said of a prompt before anything is paid for it."""

import pytest

from archiver.prompts import flaw, remarks


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a cat", ["very short"]),
        (" " * 20 + "cat" + " " * 20, ["very short"]),
        ("123456789", ["very short"]),
        ("1234567890", []),
        ("猫", ["very short"]),
        ("三只猫", ["very short"]),
        ("一只小猫", []),
        ("고양이와 달", []),
        ("x" * 1000, []),
        ("x" * 1001, ["very long (1001 characters)"]),
        ("猫" * 333, []),
        ("猫" * 334, ["very long (334 characters)"]),
    ],
)
def test_odd_lengths_are_remarked_a_wide_character_as_three(prompt: str, words: list[str]) -> None:
    said = remarks(prompt)
    assert len(said) == len(words)
    assert all(remark.startswith(word) for remark, word in zip(said, words, strict=True))


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a cat", None),
        ("🐈\u200d⬛", None),
        ("", "is an empty prompt"),
        (" \n\u3000", "is an empty prompt"),
        ("a\0b", "holds a NUL, which is no text"),
        ("caf\udce9", "is not UTF-8 text"),
        ("\ud83d", "is not UTF-8 text"),
    ],
)
def test_what_is_no_prompt_has_a_reason(prompt: str, reason: str | None) -> None:
    assert flaw(prompt) == reason
