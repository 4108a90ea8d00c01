"""docs/json.md says what the commands print with --json: every field, of the right type, and no other.

Each command is asked in a small real world in which a bit of everything has happened.
"""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.cli import COMMANDS
from tests.shells.small_world import EDIT, FAILED, FIRST, LOST, UNKNOWN, generation_of, image_of, small_world
from tests.shells.test_help import commands
from tests.world import World

ROOT = Path(__file__).parents[2]
PAGE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "json_page.py"))
SHAPES: dict[str, tuple[str, str]] = PAGE["SHAPES"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
#: Section: the questions that together show all of its fields. `{name}` is an id of the small world.
ASKED: dict[str, tuple[tuple[str, ...], ...]] = {
    "demo": ((),),
    "config show": ((),),
    "run --once --dry-run": ((),),
    "generate": (("a fox", "--provider", "double"),),
    "generate --dry-run": (("a fox", "--provider", "double", "--size", "1024x1024"),),
    "drain --dry-run": ((),),
    "providers list": ((),),
    "providers test": (("double",),),
    "jobs": ((),),
    "images": ((),),
    "search": (("the",),),
    "at-risk": ((),),
    "losses": ((),),
    "generations": ((),),
    "batches": ((),),
    "resolve": (("{failed}", "--write-off", "--dry-run"),),
    "costs": ((),),
    "refunds": ((),),
    "show": (("{first}",), ("{edit}",), ("{lost}",), ("{unknown}",)),
    "lineage": (("the",),),
    "tree": (("{first}",), ("{edit}",)),
    "query": (("select prompt, size, cost_usd, x'00ff' as bytes from lineage",),),
    "stats": ((),),
    "status": ((),),
    "doctor": (("--offline",),),
    "check": ((),),
    "repair": (("--dry-run",),),
    "backup": ((),),
    "restore": (("--drill",),),
    "restore --list": ((),),
    "prune": (("--events", "1s"),),
    "forget": (("{first}",),),
    "db migrate": (("--dry-run",),),
    "db vacuum": ((),),
    "rebuild": (("--from", "main", "--dry-run"),),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with small_world(tmp_path_factory.mktemp("json")) as made:
        (store,) = (path for path in made.folder.parent.iterdir() if path.name == "store")
        (store / "_lineage" / "odd.jsonl").write_text("{", "utf-8")  # a record that nobody understands
        made.ok("backup")
        (store / "foreign.png").write_bytes(b"of somebody else")
        yield made


def test_the_page_is_in_step() -> None:
    assert PAGE["TARGET"].read_text("utf-8") == PAGE["text"](), "run: .venv/bin/python scripts/json_page.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_with_json_has_a_section(name: str) -> None:
    sections = {section.partition(" --")[0] for section in SHAPES}
    for path, command in commands(name):
        takes_json = any("--json" in option.opts for option in command.params)
        assert (" ".join(path) in sections) == takes_json, " ".join(path)


def test_every_section_is_one_of_a_command_and_is_asked_for() -> None:
    assert set(ASKED) == set(SHAPES)
    assert {section.split()[0] for section in SHAPES} <= set(COMMANDS)


@pytest.mark.parametrize("section", SHAPES)
def test_what_is_printed_is_what_the_page_says(world: World, section: str) -> None:
    """In both directions: nothing is printed that the page does not name, and nothing named is never printed."""
    ids = {"first": image_of(world, FIRST), "edit": image_of(world, EDIT), "lost": image_of(world, LOST)}
    ids |= {"unknown": generation_of(world, UNKNOWN), "failed": generation_of(world, FAILED)}
    printed: list[Any] = []
    for arguments in ASKED[section]:
        done = world.run(*section.split(), *(word.format(**ids) for word in arguments), "--json")
        assert done.returncode in (0, 1, 3, 4), done.stderr
        assert "Traceback" not in done.stderr
        told = json.loads(done.stdout)
        assert isinstance(told, dict if SHAPES[section][0].startswith("not an array") else list), section
        printed += [told] if isinstance(told, dict) else told
    assert printed
    assert complaints(printed, PAGE["fields"](section)) == []


def complaints(printed: list[Any], fields: dict[str, tuple[str, str]]) -> list[str]:
    """What is printed and not on the page, on the page and not printed, or of another type."""
    seen: set[str] = set()
    wrong: set[str] = set()
    for element in printed:
        for path, value in _told(element, "", fields):
            if path not in fields:
                wrong.add(f"{path} is not on the page")
                continue
            seen.add(path)
            if not _is(value, fields[path][0]):
                wrong.add(f"{path} is {value!r}, and no {fields[path][0]}")
    return sorted(wrong | {f"{path} is never printed" for path in fields if path not in seen})


def _told(value: Any, place: str, fields: dict[str, tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    """Every field below a value. What stands under names that nobody can foresee is called `*`."""
    for name, inner in value.items():
        path = f"{place}{name}"
        if path not in fields and f"{place}*" in fields:
            path = f"{place}*"
        yield path, inner
        if path not in fields or fields[path][0].startswith("any"):
            continue
        if isinstance(inner, dict):
            yield from _told(inner, f"{path}.", fields)
        for each in inner if isinstance(inner, list) else ():
            if isinstance(each, dict):
                yield from _told(each, f"{path}[].", fields)


def _is(value: Any, kind: str) -> bool:
    if value is None:
        return kind.endswith("?") or kind == "any"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "text": isinstance(value, str),
        "int": is_number and isinstance(value, int),
        "number": is_number,
        "usd": is_number,
        "seconds": is_number,
        "bool": isinstance(value, bool),
        "time": isinstance(value, str) and TIME.fullmatch(value) is not None,
        "texts": isinstance(value, list) and all(isinstance(each, str) for each in value),
        "object": isinstance(value, dict),
        "objects": isinstance(value, list) and all(isinstance(each, dict) for each in value),
        "any": True,
    }[kind.removesuffix("?")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shoe_size": 42}, "shoe_size is not on the page"),
        ({"prompt": None}, "prompt is None, and no text"),
        ({"n": "1"}, "n is '1', and no int"),
        ({"n": True}, "n is True, and no int"),
        ({"price_usd": "free"}, "price_usd is 'free', and no usd?"),
        ({"created_at": "yesterday"}, "created_at is 'yesterday', and no time"),
    ],
)
def test_what_is_wrong_is_found(change: dict[str, Any], words: str) -> None:
    fields = PAGE["fields"]("generations")
    row: dict[str, Any] = dict.fromkeys(fields) | dict.fromkeys(("generation_id", "state", "prompt"), "x")
    row |= {"n": 1, "created_at": "2026-11-20T09:15:00.000Z"}
    assert complaints([row], fields) == []
    assert complaints([row | change], fields) == [words]
    del row["error"]
    assert complaints([row], fields) == ["error is never printed"]


def test_a_field_without_a_meaning_and_a_meaning_without_a_field_are_found() -> None:
    element, named = SHAPES["tree"]
    for odd in (f"{named} shoe_size", named.replace("depth", "")):
        with pytest.raises((KeyError, ValueError)):
            PAGE["text"]({**SHAPES, "tree": (element, odd)})
