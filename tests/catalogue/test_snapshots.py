"""Snapshots: one moment of a catalogue that others go on writing, in a file that holds nothing else."""

import threading
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue
from archiver.catalogue.snapshots import close_down, counts_in, has_rows, judge
from archiver.core.errors import Unusable
from tests.catalogue.filling import FILE, HOUR, NOW, ask, claim_one, completed, draft, kinds, opened, raw, safe, sqlite
from tests.catalogue.filling import arrival as arrived


def room(folder: Path, name: str = "room") -> Path:
    made = folder / "elsewhere" / name
    made.mkdir(parents=True)
    return made


def test_a_snapshot_is_one_moment_while_others_write(tmp_path: Path) -> None:
    """Pairs that are always written together are there together, or not; and the writer is never refused."""
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft(number, prompt="x" * 500) for number in range(2000)], NOW)
    stop, written = threading.Event(), threading.Event()
    troubles: list[Unusable] = []

    def write() -> None:
        number = 10_000
        try:
            while not stop.is_set():
                catalogue.generations.add([draft(number), draft(number + 1)], NOW)
                number += 2
                written.set()
        except Unusable as error:
            troubles.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    written.wait()
    try:
        taken = [catalogue.snapshots.take(room(tmp_path, str(number)), NOW) for number in range(5)]
    finally:
        stop.set()
        writer.join()
    assert troubles == []
    numbers = []
    for path in taken:
        held = counts_in(path)
        assert held.generations["planned"] % 2 == 0 and path.stat().st_mode & 0o777 == 0o600
        numbers.append(held.generations["planned"])
    assert numbers == sorted(numbers) and numbers[0] > 2000
    catalogue.close()


def test_a_snapshot_is_whole_alone_and_says_when_it_was_taken(tmp_path: Path) -> None:
    catalogue = opened(tmp_path)
    completed(catalogue, arrived())
    catalogue.images.settle([safe(claim_one(catalogue))], NOW)
    completed(catalogue, arrived(1), number=1)
    folder = room(tmp_path)
    path = catalogue.snapshots.take(folder, NOW + HOUR)
    assert [one.name for one in folder.iterdir()] == [path.name] and path.suffix != ".db"
    assert path.read_bytes()[18:20] == b"\1\1"  # no log belongs to it
    held = counts_in(path)
    assert (held.images, held.copies, held.urls) == ({"pending": 1, "stored": 1}, 2, 1)
    assert held.last_event == "2026-11-20T10:00:00.000Z" and kinds(catalogue) == []
    copy = Catalogue.open_file(path)
    assert copy.snapshots.taken_at() == NOW + HOUR and catalogue.snapshots.taken_at() is None
    assert ask(copy, "select id from generations order by id") == ask(
        catalogue, "select id from generations order by id"
    )
    assert ask(copy, "select count(*) from prompts where prompts match 'fox'") == [(2,)]
    copy.close()
    catalogue.close()


def test_erased_rows_are_not_in_its_pages(tmp_path: Path) -> None:
    """SQLite leaves what was deleted where `secure_delete` does not reach; a packed file has no such place."""
    catalogue = opened(tmp_path)
    raw(catalogue).execute("pragma secure_delete=off")
    raw(catalogue).execute("create table notes (x)")
    raw(catalogue).executemany("insert into notes values (?)", [("unforgettable" * 20,)] * 50)
    raw(catalogue).execute("delete from notes")
    catalogue._database.truncate_wal()
    assert b"unforgettable" in (tmp_path / FILE).read_bytes()
    assert b"unforgettable" not in catalogue.snapshots.take(room(tmp_path), NOW).read_bytes()
    catalogue.close()


def test_a_damaged_catalogue_makes_no_snapshot(tmp_path: Path) -> None:
    """It would push the good ones out, one day."""
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft(number) for number in range(200)], NOW)
    (root,) = ask(catalogue, "select rootpage from sqlite_schema where name = 'generations'")
    catalogue.close()
    content = bytearray((tmp_path / FILE).read_bytes())
    content[(root[0] - 1) * 4096 : root[0] * 4096] = b"\xa5" * 4096
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(Unusable, match=r"malformed|damaged"):
        Catalogue.open(tmp_path, create=False).snapshots.take(room(tmp_path), NOW)


def test_what_is_no_catalogue_is_judged_so(tmp_path: Path) -> None:
    path = tmp_path / "other"
    connection = sqlite.connect(path)
    connection.execute("create table theirs (x)")
    connection.close()
    with pytest.raises(Unusable, match="no catalogue of archiver's"):
        judge(path)
    assert has_rows(path) is None
    path.write_bytes(b"x" * 9000)
    with pytest.raises(Unusable, match="not a database"):
        judge(path)
    assert has_rows(path) is None and not close_down(path)


def test_closing_down_brings_everything_into_one_file(tmp_path: Path) -> None:
    catalogue = opened(tmp_path)
    assert has_rows(tmp_path / FILE) is False
    catalogue.generations.add([draft()], NOW)
    with pytest.raises(Unusable, match=r"reads|open"):
        close_down(tmp_path / FILE)
    catalogue.close()
    assert close_down(tmp_path / FILE) and has_rows(tmp_path / FILE)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    again = Catalogue.open(tmp_path, create=False)
    assert ask(again, "pragma journal_mode") == [("wal",)] and ask(again, "select id from generations") == [("g0",)]
    again.close()
