"""docs/catalogue.md is what the schema says now, and no public column is without a meaning."""

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "catalogue_page.py"))


def test_the_page_is_in_step() -> None:
    wanted = PAGE["text"](PAGE["schema"]())
    assert wanted == PAGE["TARGET"].read_text("utf-8"), "run: .venv/bin/python scripts/catalogue_page.py"


def test_a_column_without_a_meaning_is_found() -> None:
    """So is a whole view, and a meaning whose column has gone."""
    views = PAGE["schema"]()
    for odd in (
        {**views, "losses": [*views["losses"], "shoe_size"]},
        {**views, "moods": ["good"]},
        {**views, "lineage": [name for name in views["lineage"] if name != "inputs"]},
    ):
        with pytest.raises((KeyError, ValueError)):
            PAGE["text"](odd)
