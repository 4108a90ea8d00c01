"""What README and docs point to is there, and every command line that they show is one that archiver takes.

Links are looked up in this folder, headings as GitHub names them; nothing is fetched. Command lines are parsed, and
nothing is run.
"""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pytest

from tests.shells.test_help import _parts, _unparsed
from tests.world import ROOT

PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]
#: Usage texts of click, which name arguments and are no command lines.
GENERATED = frozenset({"reference.md", "json.md"})
_LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_BEFORE = re.compile(r"[\d*/,-]+|@\w+|\$|exec")  # the five fields of cron, a prompt


def _named(page: Path) -> str:
    return page.name


def _bare(text: str) -> str:
    return re.sub(r"```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(text: str) -> set[str]:
    """The anchors of a page: lower case, blanks to hyphens, without marks; the second of a name gets `-1`."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+?)\s*$", _bare(text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number, one = 0, slug
        while one in found:
            number += 1
            one = f"{slug}-{number}"
        found.add(one)
    return found


def dead_links(page: Path, text: str) -> list[str]:
    """The relative links of a page that lead nowhere."""
    dead = []
    for target in _LINK.findall(_bare(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        place = page.parent / name if name else page
        if not place.exists() or (
            anchor and anchor not in headings(text if place == page else place.read_text("utf-8"))
        ):
            dead.append(target)
    return dead


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of every `archiver ...` in the code blocks of a page: each part of a pipe, of a line of cron."""
    for language, block in _BLOCK.findall(text):
        line = ""
        for piece in (block if language in ("sh", "text", "") else "").replace("\\\n", " ").splitlines():
            line = f"{line}\n{piece}" if line else re.sub(r"\$\(\(.*?\)\)", "1", piece)
            try:
                parts = [*_parts(line)]
            except ValueError:  # a quotation that goes on in the next line
                continue
            line = ""
            for part in parts:
                name, *rest = [*itertools.dropwhile(_BEFORE.fullmatch, part)] or [""]
                if PurePosixPath(name).name == "archiver" and rest != ["--help"]:
                    yield ["archiver", *rest]


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in GENERATED], ids=_named)
def test_every_command_line_is_taken(page: Path) -> None:
    wrong = [complaint for words in command_lines(page.read_text("utf-8")) if (complaint := _unparsed(words))]
    assert wrong == []


def test_there_is_something_to_read() -> None:
    found = {page.name: len([*command_lines(page.read_text("utf-8"))]) for page in PAGES}
    assert found["README.md"] > 50 and found["daemon.md"] > 12 and found["querying.md"] > 8, found
    assert found["README.md"] == found["README.zh-CN.md"]
    links = sum(len(_LINK.findall(_bare(page.read_text("utf-8")))) for page in PAGES)
    assert links > 60


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("[a](nowhere.md)", ["nowhere.md"]),
        ("[a](README.md#no-such-heading)", ["README.md#no-such-heading"]),
        ("# Two words!\n[a](#two-words) [b](https://example.com/x) [c](#two)", ["#two"]),
        ("# 作为 服务\n[a](#作为-服务)\n```\n[b](gone.md)\n```\n", []),
    ],
)
def test_a_dead_link_is_found(text: str, dead: list[str]) -> None:
    assert dead_links(ROOT / "README.md", text) == dead


@pytest.mark.parametrize(
    "line",
    [
        "archiver images --nosuch",
        "*/5 * * * *  cd /srv && .venv/bin/archiver run --twice",
        "cat x | archiver nosuch -   # a comment",
        "archiver check --read-data --subset 60/52",
        'archiver query "select 1\nfrom x" --cvs',
    ],
)
def test_a_wrong_command_line_is_found(line: str) -> None:
    (words,) = command_lines(f"```sh\n{line}\n```\n")
    assert _unparsed(words), shlex.join(words)
