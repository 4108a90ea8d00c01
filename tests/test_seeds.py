"""docs/seeds.md answers every statement of the articles, and what it names exists.

It judges the table, and refuses to judge whether a test or a command is a good answer.
"""

import re
from dataclasses import dataclass

import click
import pytest

from archiver.cli import cli
from tests.failures import ROOT, existing

PAGE = ROOT / "docs" / "seeds.md"
DEMANDED = (*range(1, 45), *range(84, 97), *range(97, 186))
STATES = ("☑ done", "✗ refused", "☐ later", "– not for software")
#: Every reason for `later` begins with one of them; the page says what they are.
PARTS = ("F", "gateway")
TESTS = existing()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; `cells` are what is asked for, the state, what shows it, and the remark or reason."""

    name: str
    cells: tuple[str, ...]


def rows(page: str) -> list[Row]:
    """Every row whose first cell looks like the number of a statement, in the order of the page."""
    found = []
    for line in page.splitlines():
        name, *cells = (cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|"))
        if line.startswith("|") and re.match(r"S\d", name):
            found.append(Row(name, tuple(cells)))
    return found


def complaints(page: str) -> list[str]:
    """All that is wrong with the table."""
    found = rows(page)
    names = [row.name for row in found]
    wanted = [f"S{number}" for number in DEMANDED]
    wrong = [f"{name}: is missing" for name in wanted if name not in names]
    wrong += [f"{name}: nobody asks for it" for name in names if name not in wanted]
    wrong += [f"{name}: stands {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1]
    return wrong + [f"{row.name}: {what}" for row in found for what in _wrong_in(row)]


def _wrong_in(row: Row) -> list[str]:
    if len(row.cells) != 4:
        return ["has not five columns"]
    asked, state, shown_by, reason = row.cells
    shown = re.findall(r"`([^`]*)`", shown_by)
    wrong = [] if asked else ["does not say what is asked for"]
    if state not in STATES:
        wrong.append(f"nobody knows the state {state!r}")
    if state == "☑ done" and not shown:
        wrong.append("is done, and nothing shows it")
    if state != "☑ done" and not reason:
        wrong.append("has no reason")
    if state == "☐ later" and reason and reason.partition(":")[0] not in PARTS:
        wrong.append("does not begin with the part of the plan that it belongs to")
    if re.sub(r"`[^`]*`|[,\s]", "", shown_by):
        wrong.append("is shown by words; name tests and commands, each in backticks")
    return wrong + [what for named in shown if (what := _unknown(named))]


def _unknown(named: str) -> str:
    """Why this is no test and no command of ours; empty when it is one."""
    if named.startswith("tests/"):
        return "" if named in TESTS else f"there is no test {named}"
    program, *words = named.split()
    if program != "archiver" or not words:
        return f"{named} is neither a test nor a command"
    command: click.Command | None = cli
    for word in words:
        context = click.Context(command or cli)
        if isinstance(command, click.Group) and not word.startswith("-"):
            command = command.get_command(context, word)
        elif command and not any(word in option.opts for option in command.get_params(context)):
            return f"{named}: there is no {word}"
        if command is None:
            return f"there is no command {named}"
    return ""


def test_every_statement_is_answered_by_something_that_exists() -> None:
    assert len(TESTS) > 500, "the tree was not read"
    assert complaints(PAGE.read_text("utf-8")) == []


def test_the_page_says_what_its_states_and_parts_are() -> None:
    page = PAGE.read_text("utf-8")
    assert [state for state in STATES if f"| {state} |" not in page.partition("\n## ")[0]] == []
    assert [part for part in PARTS if f"**{part}**" not in page] == []


DONE = "| S1 | background jobs | ☑ done | `archiver run` | |"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "S1: is missing"),
        (f"{DONE}\n{DONE}", "S1: stands 2 times"),
        (f"{DONE}\n{DONE.replace('S1 ', 'S45 ')}", "S45: nobody asks for it"),
        (DONE.replace("archiver run", "tests/test_seeds.py::test_of_nothing"), "there is no test tests/test_seeds"),
        (DONE.replace("archiver run", "archiver runn"), "there is no command archiver runn"),
        (DONE.replace("archiver run", "archiver config chek"), "there is no command archiver config chek"),
        (DONE.replace("archiver run", "archiver run --twice"), "there is no --twice"),
        (DONE.replace("archiver run", "rclone sync"), "is neither a test nor a command"),
        (DONE.replace("`archiver run`", "it is obvious"), "is shown by words"),
        (DONE.replace("`archiver run`", ""), "is done, and nothing shows it"),
        (DONE.replace("☑ done", "✗ refused"), "S1: has no reason"),
        (DONE.replace("☑ done", "☐ later"), "S1: has no reason"),
        (DONE.replace("☑ done", "– not for software"), "S1: has no reason"),
        (DONE.replace("☑ done | `archiver run` |", "☐ later | | some day"), "the part of the plan"),
        (DONE.replace("☑ done", "done"), "nobody knows the state 'done'"),
        (DONE.replace("| |", "|"), "has not five columns"),
    ],
)
def test_what_is_wrong_is_found(line: str, words: str) -> None:
    """A page that is right but for its first statement."""
    page = PAGE.read_text("utf-8")
    (first,) = re.findall(r"^\| S1 \|.*$", page, flags=re.MULTILINE)
    assert complaints(page.replace(first, DONE)) == []
    wrong = complaints(page.replace(first, line))
    assert any(words in complaint for complaint in wrong), wrong
    assert all(complaint.startswith(("S1:", "S45:")) for complaint in wrong)
