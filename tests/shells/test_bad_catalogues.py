"""A file in the catalogue's place that is none, or no longer one: every command says so, and leaves it as it is."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.nursery import Nursery
from tests.world import World, file_section

SANDBOX = """
[providers.sandbox]
kind = "sandbox"

[[jobs]]
name = "cats"
schedule = "every 1h"
provider = "sandbox"
prompts = ["a cat"]
"""


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // 4096 * 4096])


def cut(path: Path) -> None:
    """In the middle of its first page."""
    path.write_bytes(path.read_bytes()[:1000])


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 400)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "insert into _sqlite_migrations (migration_set, name, applied_at) values ('archiver', 'm999_x', 'x')"
        )


def foreign(path: Path) -> None:
    """Somebody else's database."""
    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("create table photos (name text)")
        db.execute("insert into photos values ('moon')")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("something")


BAD: dict[Callable[[Path], None], str] = {
    truncated: "malformed",
    cut: "malformed",
    garbage: "not a database",
    empty: "is empty",
    newer: "newer archiver (m999_x)",
    foreign: "no catalogue of archiver's",
    folder: "is a folder",
}
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("images",),
    ("search", "cat"),
    ("losses",),
    ("stats",),
    ("query", "select count(*) from lineage"),
    ("jobs",),
    ("show", "x"),
    ("run", "--once"),
    ("run", "--once", "--dry-run"),
    ("generate", "a cat on a red chair in the snow", "--yes"),
    ("drain",),
    ("check",),
    ("backup",),
    ("rebuild", "--from", "main"),
    ("rebuild", "--from", "main", "--yes"),
    ("db", "migrate"),
    ("db", "migrate", "--dry-run"),
    ("db", "vacuum"),
)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(1) as running:
        yield running


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> World:
    """A world with one archived image and one snapshot."""
    world = World(tmp_path_factory.mktemp("world") / "user")
    world.configure(SANDBOX + file_section("main", world.folder.parent / "main"))
    assert nursery.run(world, ("run", "--once")) == 0 and nursery.run(world, ("backup",)) == 0
    shutil.copytree(world.folder / "data", world.folder / "whole")
    return world


def content(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of all that is in a folder."""
    found = [path, *path.rglob("*")]
    return {str(one.relative_to(path)): one.read_bytes() for one in found if one.is_file()}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_no_command_takes_it_for_a_catalogue_or_touches_it(
    once: World, nursery: Nursery, spoil: Callable[[Path], None]
) -> None:
    """Exit code 3 and a sentence, never a traceback; a restore that was asked for sets it aside, as it is."""
    data = once.folder / "data"
    shutil.rmtree(data)
    shutil.copytree(once.folder / "whole", data)
    path = data / "catalogue.db"
    spoil(path)
    before, wrong = content(path), []
    for command in COMMANDS:
        for name in ("stdout.txt", "stderr.txt"):
            (once.folder / name).unlink(missing_ok=True)
        code = nursery.run(once, command)
        said = (once.folder / "stderr.txt").read_text("utf-8")
        if code != 3 or BAD[spoil] not in said or "Traceback" in said or len(said.splitlines()) != 1:
            wrong.append((command, code, said))
        if content(path) != before:
            wrong.append((command, code, "the file has changed"))
    assert wrong == []
    restore = nursery.run(once, ("restore", "--yes"))
    if spoil is folder:
        assert restore == 3 and content(path) == before
        return
    (aside,) = [one for one in data.glob("catalogue.replaced-*") if not one.name.endswith(("-wal", "-shm"))]
    assert restore == 0 and (aside.read_bytes() == before["."] or spoil is newer)
    assert nursery.run(once, ("query", "select count(*) from lineage")) == 0


def test_there_is_none_yet(once: World, nursery: Nursery) -> None:
    """No command makes one that has no work to do with it."""
    data = once.folder / "data"
    shutil.rmtree(data)
    for command in (("status",), ("query", "select 1"), ("backup",), ("db", "migrate"), ("db", "vacuum"), ("check",)):
        assert nursery.run(once, command) == 3, command
        assert not (data / "catalogue.db").exists()
    assert nursery.run(once, ("restore",)) == 0
    assert nursery.run(once, ("status",)) == 0
