"""What a person sees on a terminal: a line that moves while the work goes on, and tables that fit."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from archiver.cli.printing import LONGEST_CELL, short
from tests.doubles.provider import ImagesProvider
from tests.world import ARCHIVER, World, file_section


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


def on_a_terminal(world: World, *arguments: str) -> str:
    """Run one command with a terminal of its own; all that it showed there."""
    mine, theirs = pty.openpty()
    environ = world.environ | {"TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        [*ARCHIVER, *arguments], cwd=world.folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(mine, 4096)
            except OSError:  # the other end is closed: how Linux says that all was read
                break
            if not piece:
                break
            shown += piece
        assert process.wait(100) == 0, shown.decode()
    os.close(mine)
    return shown.decode()


def test_a_line_moves_while_images_are_made_and_leaves_no_trace_in_a_file(world: World, tmp_path: Path) -> None:
    """On a terminal, the line tells what is being asked and archived; in a pipe, only the closing line is there."""
    with ImagesProvider(latency=1.2) as provider:
        world.configure(file_section("main", tmp_path / "archive"), provider=provider)
        shown = on_a_terminal(world, "generate", "a fox", "a hare")
        piped = world.run("generate", "an owl")
    assert "being asked, 0 answered, 0 archived (0.0 MB)" in shown
    assert "2 images archived, 0 lost" in shown
    assert "being asked" not in piped.stderr and "\x1b" not in piped.stderr + piped.stdout


def test_a_long_prompt_is_cut_in_tables_and_whole_in_json(world: World, tmp_path: Path) -> None:
    prompt = "一只猫坐在月球上，" * 40
    with ImagesProvider() as provider:
        world.configure(file_section("main", tmp_path / "archive"), provider=provider)
        table = world.ok("generate", prompt)
        (row,) = world.rows("lineage", "月球")
    assert row["prompt"] == prompt
    assert prompt not in table and f"{prompt[: LONGEST_CELL - 1]}…" in table
    assert len(short(prompt)) == LONGEST_CELL and short("a fox") == "a fox"
