"""Every question of docs/querying.md is asked of a small world, and those whose answer is known are held against it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue.queries import ask
from tests.shells.small_world import EDIT, FIRST, LOST, UNKNOWN, small_world
from tests.world import ROOT, World

PAGE = ROOT / "docs" / "querying.md"
CHINESE = "一只猫坐在月球上"
#: What the world has nothing of: equal bytes, requests without a price.
NOTHING_OF = ("having images > 1", "expected_micro) is null")
QUESTIONS = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def _words(question: str) -> str:
    return " ".join(question.split())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with small_world(tmp_path_factory.mktemp("asked")) as made:
        made.ok("generate", "--provider", "double", CHINESE)
        yield made


def answer(world: World, question: str) -> list[dict[str, Any]]:
    path = world.folder / "data" / "catalogue.db"
    names, rows, _ = ask(path, question, limit=1000, seconds=60, elapsed=lambda: 0)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _the_question(beginning: str) -> str:
    (found,) = [one for one in QUESTIONS if beginning in _words(one)]
    return found


def test_the_page_has_a_good_dozen_of_questions() -> None:
    assert len(QUESTIONS) >= 12
    assert len({_words(one) for one in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=_words)
def test_every_question_is_taken_and_answered(world: World, question: str) -> None:
    """SQLite takes it, nothing forbids it, and it finds something unless the world has nothing of the kind."""
    found = answer(world, question)
    assert bool(found) or any(mark in question for mark in NOTHING_OF), found


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        ("from spend group by month", [{"requests": 9, "usd": 0.24}]),
        ("where state = 'unknown'", [{"prompt": UNKNOWN, "usd": 0.04}]),
        ("from losses group by error", [{"images": 1}]),
        ("parent.key as parent_key", [{"prompt": EDIT, "made_from": FIRST}]),
        ("where tag.value = 'shop'", [{"prompt": FIRST}]),
        ("date(archived_at, '+8 hours')", [{"images": 3}]),
        ("like '%猫%'", [{"prompt": CHINESE}]),
        ("prompts match", [{"prompt": CHINESE, "state": "completed"}]),
        ("strftime(", [{"images": 3}]),
    ],
)
def test_what_is_answered_is_true(world: World, beginning: str, expected: list[dict[str, Any]]) -> None:
    found = answer(world, _the_question(beginning))
    wanted = [{**row, **right} for row, right in zip(found, expected, strict=False)]
    assert found[: len(expected)] == wanted and len(found) >= len(expected), found


def test_the_rest_of_what_is_known_of_the_world(world: World) -> None:
    (lost,) = answer(world, "select prompt from losses")
    assert lost["prompt"] == LOST
    alone = answer(world, _the_question("having count(distinct store) = 1"))
    assert len(alone) == 3
    qualities = {row["quality"]: row["images"] for row in answer(world, _the_question("'$.quality'"))}
    assert qualities == {"high": 1, "low": 1, None: 1}
    money = {row["provider"]: (row["certain"], row["may_come"]) for row in answer(world, _the_question("as may_come"))}
    assert money == {"double": (240_000, 80_000), "many": (None, 20_000), "second": (None, 40_000)}


def test_the_page_exists_in_both_languages_with_the_same_questions() -> None:
    chinese = Path(PAGE.parent / "querying.zh-CN.md").read_text("utf-8")
    assert re.findall(r"```sql\n(.*?)```", chinese, re.DOTALL) == QUESTIONS
