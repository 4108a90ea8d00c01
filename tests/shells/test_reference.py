"""The documentation that the code can write is what the code writes now."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from archiver.cli import COMMANDS

ROOT = Path(__file__).parents[2]
#: The pages in two languages, each with fewer headings than it has at least.
PAIRS = {
    "README": 10,
    "docs/backfill": 5,
    "docs/browsing": 3,
    "docs/costs": 2,
    "docs/daemon": 9,
    "docs/policies": 8,
    "docs/providers": 3,
    "docs/querying": 5,
    "docs/stores": 7,
}


def test_the_reference_page_is_in_step() -> None:
    """docs/reference.md is what scripts/reference.py writes; run it again after a change."""
    done = subprocess.run([sys.executable, "scripts/reference.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run: .venv/bin/python scripts/reference.py"


@pytest.mark.parametrize(("page", "headings"), PAIRS.items())
def test_both_languages_have_the_same_headings_and_code(page: str, headings: int) -> None:
    """The Chinese page says what the English one says: as many headings of each level, and every code block alike."""
    english, chinese = ((ROOT / f"{page}{suffix}.md").read_text("utf-8") for suffix in ("", ".zh-CN"))
    assert _levels(english) == _levels(chinese)
    assert len(_levels(english)) > headings
    assert _code(english) == _code(chinese)


def test_readme_names_every_command() -> None:
    """A command that README does not show does not exist for a newcomer."""
    readme = (ROOT / "README.md").read_text("utf-8")
    missing = [name for name in COMMANDS if f"archiver {name}" not in readme and f"bootstrap.py {name}" not in readme]
    assert not missing


def _levels(text: str) -> list[str]:
    bare = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"^(#+) ", bare, flags=re.MULTILINE)


def _code(text: str) -> list[str]:
    """Code blocks without their comments, which are translated."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    return [re.sub(r"\s*#[^\n]*", "", block).strip() for block in blocks]


def test_every_page_in_chinese_is_compared() -> None:
    """A pair that the list above does not name could drift apart."""
    pages = [*ROOT.glob("*.zh-CN.md"), *ROOT.glob("docs/**/*.zh-CN.md")]
    assert {str(page.relative_to(ROOT)).removesuffix(".zh-CN.md") for page in pages} == set(PAIRS)
