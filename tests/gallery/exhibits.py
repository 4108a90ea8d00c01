"""Galleries for tests: pictures that a test makes up, with real files beside the page, and no catalogue or store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archiver.gallery import Picture, write_page
from tests.doubles.pngs import png

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    "\"'><b onmouseover='window.hacked = 1'>quotes</b>",
    "<!--<script>",
    "a line\u2028and another\u2029and \\u003c \\",
    "{{script}} {{images}} ${1} $& $1",
    "javascript:window.hacked=1 &lt;b&gt; &amp;",
    "\ud83d half of a pair, \x00 a nul, \x1b[31m red, \u202e backwards",
)


def picture(number: int, **changes: Any) -> Picture:
    """One picture of a fox."""
    values: dict[str, Any] = {
        "id": f"i{number:05d}",
        "prompt": f"a fox {number}",
        "revised": None,
        "model": ("nano", "large")[number % 2],
        "provider": "apiyi",
        "job": None,
        "tags": [],
        "draft": False,
        "parents": [],
        "store": "main",
        "key": f"images/i{number:05d}.png",
        "extension": "png",
        "size": 1000 + number,
        "width": 16,
        "height": 16,
        "cost": 0.04,
        "made": "2026-11-20T09:00:00.000Z",
        "archived": "2026-11-20T09:01:00.000Z",
        "full": None,
        "dies": None,
        "thumb": f"thumbs/{number % 20}.png",
    }
    return Picture(**(values | changes))


def hang(folder: Path, pictures: Sequence[Picture], **changes: Any) -> str:
    """Write a gallery of these pictures; the address of its page."""
    (folder / "thumbs").mkdir(parents=True, exist_ok=True)
    for number in range(20):
        (folder / "thumbs" / f"{number}.png").write_bytes(png(f"thumb {number}", 64, 48))
    values: dict[str, Any] = {"title": "Foxes", "made": NOW, "hosts": ()}
    write_page(folder, pictures, **(values | changes))
    return (folder / "index.html").as_uri()
