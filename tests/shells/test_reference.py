"""The documentation that the code can write is what the code writes now."""

import re
import subprocess
import sys
from pathlib import Path

from archiver.cli import COMMANDS

ROOT = Path(__file__).parents[2]


def test_the_reference_page_is_in_step() -> None:
    """docs/reference.md is what scripts/reference.py writes; run it again after a change."""
    done = subprocess.run([sys.executable, "scripts/reference.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run: .venv/bin/python scripts/reference.py"


def test_both_readmes_have_the_same_headings_and_code() -> None:
    """README.zh-CN.md says what README.md says: as many headings of each level, and every code block alike."""
    english, chinese = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert _levels(english) == _levels(chinese)
    assert len(_levels(english)) > 10
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
