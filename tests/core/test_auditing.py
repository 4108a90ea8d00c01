"""What findings mean, which part of an archive a run reads, and which rules of a bucket are dangerous."""

from datetime import UTC, datetime

import pytest

from archiver.core.auditing import (
    MENDED,
    WORDS,
    Share,
    exit_code,
    exit_code_of_repair,
    is_doomed_by,
    possible_ids,
    rule_text,
)
from archiver.core.bucket_rules import BucketRule


@pytest.mark.parametrize("of", [1, 2, 7, 52])
def test_every_name_is_in_exactly_one_part_and_no_part_is_much_larger(of: int) -> None:
    names = [f"01kag2m5x8f3w9y7b1q0z4{number:04}" for number in range(5200)]
    parts = [Share(number=number, of=of) for number in range(1, of + 1)]
    sizes = [sum(part.holds(name) for name in names) for part in parts]
    assert sum(sizes) == len(names) and all(sum(part.holds(name) for part in parts) == 1 for name in names[:200])
    assert max(sizes) < 2 * len(names) / of


def test_the_part_of_a_name_never_changes() -> None:
    """Else 52 weeks would not cover an archive: these were computed once."""
    name = "01kag2m5x8f3w9y7b1q0z4c6de"
    assert [number for number in range(1, 53) if Share(number=number, of=52).holds(name)] == [36]


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/1000000000", "１/２"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 1/52"):
        Share.parse(text)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("archive/cats/2026/11/20/01kag2m5x8f3w9y7b1q0z4c6de-abcdef012345.png", True),
        ("cats01kag2m5x8f3w9y7b1q0z4c6dexyz.png", True),
        ("01KAG2M5X8F3W9Y7B1Q0Z4C6DE", True),
        ("holiday/IMG_2041.jpg", False),
    ],
)
def test_an_id_is_found_wherever_a_template_puts_it(key: str, expected: bool) -> None:
    assert ("01kag2m5x8f3w9y7b1q0z4c6de" in possible_ids(key)) == expected


@pytest.mark.parametrize(
    ("rule", "prefix", "expected"),
    [
        ("", "", True),
        ("", "archive/", True),
        ("arch", "archive/", True),
        ("archive/cats/", "archive/", True),
        ("archive/_lineage/", "archive/", True),
        ("archive/_catalogue/", "archive/", False),
        ("archive/_canary/", "archive/", False),
        ("_catalogue/", "", False),
        ("logs/", "archive/", False),
        ("archive2/", "archive/", False),
    ],
)
def test_a_rule_is_dangerous_where_it_meets_images_or_records(rule: str, prefix: str, expected: bool) -> None:
    assert is_doomed_by(BucketRule(name="r", action="delete", prefix=rule), prefix) == expected


def test_a_rule_says_when_and_where() -> None:
    day = datetime(2027, 1, 1, tzinfo=UTC)
    assert "30 days" in rule_text(BucketRule(name="r", action="delete", days=30))
    assert "2027-01-01" in rule_text(BucketRule(name="r", action="move", on=day))
    assert "some of" in rule_text(BucketRule(name="r", action="delete", prefix="a/", narrowed=True))


def test_the_worst_decides_the_exit_code() -> None:
    assert exit_code({}, 0) == 0
    assert {exit_code({word: 1}, 0) for word in WORDS if word != "unreadable"} == {1}
    assert exit_code({"missing": 1, "unreadable": 1}, 0) == 3
    assert exit_code({"missing": 1, "unreadable": 1}, 2) == 4


def test_a_repair_answers_for_what_it_mends_only() -> None:
    assert exit_code_of_repair({("foreign", ""): 3, ("doomed", ""): 1, ("spool-stray", ""): 1}, 0) == 0
    for word in MENDED:
        assert exit_code_of_repair({(word, "repaired"): 3}, 0) == 0
        assert exit_code_of_repair({(word, "repaired"): 3, (word, "not yet"): 1}, 0) == 1
    assert exit_code_of_repair({("unreadable", ""): 1}, 0) == 3
    assert exit_code_of_repair({("missing", ""): 1}, 1) == 4
