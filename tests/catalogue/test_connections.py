"""Connections: the journal, the threads, the forks, and what happens when the disk or a process fails."""

import os
import resource
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Catalogue, as_text, as_time
from archiver.catalogue.database import has_wal_fix
from archiver.core.errors import Unusable
from tests.catalogue.filling import FILE, NOW, ask, draft, opened, raw, sqlite, whole


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_trusted_only_where_its_race_is_fixed(version: tuple[int, ...], fixed: bool) -> None:
    assert has_wal_fix(version) is fixed


@pytest.mark.parametrize(("version", "mode"), [((3, 53, 4), "wal"), ((3, 40, 1), "truncate")])
def test_journal_follows_the_version_and_every_commit_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], mode: str
) -> None:
    """FULL is 2; foreign keys and erasing are on in both modes."""
    monkeypatch.setattr(sqlite, "sqlite_version_info", version)
    catalogue = opened(tmp_path)
    assert ask(catalogue, "pragma journal_mode") == [(mode,)]
    assert ask(catalogue, "pragma synchronous") == [(2,)]
    assert ask(catalogue, "pragma foreign_keys") == [(1,)]
    assert ask(catalogue, "pragma secure_delete") == [(1,)]
    catalogue.generations.add([draft()], NOW)
    catalogue.scrub()
    catalogue.close()


def test_journal_that_cannot_be_had_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite falls back to another journal without an error; a reader in the way of a WAL file shows it."""
    opened(tmp_path).close()
    reader = sqlite.connect(tmp_path / FILE, isolation_level=None, timeout=0)
    reader.execute("begin")
    reader.execute("select * from jobs").fetchall()
    monkeypatch.setattr(sqlite, "sqlite_version_info", (3, 40, 1))
    connect = sqlite.connect
    monkeypatch.setattr(sqlite, "connect", lambda *args, **more: connect(*args, **(more | {"timeout": 0})))
    with pytest.raises(Unusable, match=r"locked|cannot keep a truncate journal"):
        opened(tmp_path)
    reader.close()


def test_file_and_journals_are_the_owners_alone(tmp_path: Path) -> None:
    """0600, also with a permissive umask."""
    before = os.umask(0)
    try:
        catalogue = opened(tmp_path)
        catalogue.generations.add([draft()], NOW)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}
    catalogue.close()


def test_full_disk_is_unusable_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The batch that did not fit is gone as a whole; after there is room again, work goes on."""
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft("first")], NOW)
    pages = ask(catalogue, "pragma page_count")[0][0]
    raw(catalogue).execute(f"pragma max_page_count={pages + 3}")
    with pytest.raises(Unusable, match="full"):
        catalogue.generations.add([draft(number, prompt="x" * 1000) for number in range(100)], NOW)
    assert not raw(catalogue).in_transaction
    assert ask(catalogue, "select id from generations") == [("gfirst",)]
    raw(catalogue).execute(f"pragma max_page_count={pages + 1000}")
    catalogue.generations.add([draft(number, prompt="x" * 1000) for number in range(100)], NOW)
    assert ask(catalogue, "select count(*) from generations") == [(101,)]
    assert whole(catalogue)
    catalogue.close()


def test_a_failing_block_is_rolled_back(catalogue: Catalogue) -> None:
    """Whatever the exception, the transaction ends."""
    with pytest.raises(KeyboardInterrupt), catalogue._database.write() as db:
        db.execute("insert into jobs (name, schedule, first_seen_at) values ('a', 'b', 'c')")
        raise KeyboardInterrupt
    assert not raw(catalogue).in_transaction
    assert ask(catalogue, "select * from jobs") == []


def test_every_thread_has_its_own_connection(catalogue: Catalogue) -> None:
    """A second thread writes while the first one reads."""
    found: list[Any] = []

    def work() -> None:
        catalogue.generations.add([draft()], NOW)
        found.append(raw(catalogue))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] is not raw(catalogue)
    assert raw(catalogue) is raw(catalogue)
    assert ask(catalogue, "select id from generations") == [("g0",)]


def test_threads_that_are_not_at_work_hold_no_connection(catalogue: Catalogue) -> None:
    """Hundreds wait for providers; a connection is half a megabyte, and what it compiled serves the next thread."""
    everybody, database = threading.Barrier(21, timeout=30), catalogue._database
    turn = threading.Lock()

    def work(number: int) -> None:
        with turn:
            catalogue.generations.add([draft(number)], NOW)
            assert catalogue.generations.standing(f"g{number}") is not None
        everybody.wait()

    before = len(database._all)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    everybody.wait()
    for thread in threads:
        thread.join()
    assert len(database._all) <= max(before, 1)


def test_no_two_threads_are_in_one_connection(catalogue: Catalogue) -> None:
    """Whoever works while another does has a connection of his own, and sees only what was committed."""
    database = catalogue._database
    found: list[Any] = []

    def look() -> None:
        with database.reading() as theirs:
            found.extend([theirs, catalogue.generations.standing("g0")])

    with database.write() as mine:
        mine.execute("insert into events (at, kind) values (?, 'mine')", (as_text(NOW),))
        assert database.rows("select count(*) as n from events where kind = 'mine'")[0]["n"] == 1
        assert database.connection is mine
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found[0] is not mine
    assert found[1] is None


def test_temporary_tables_stay_with_the_thread_that_made_them(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others take and give connections in between: whoever made no keep of his own would get another one."""
    database = catalogue._database
    with database.reading():
        thread = threading.Thread(target=lambda: database.rows("select 1"))
        thread.start()
        thread.join()
    rows = database.rows

    def meanwhile(*asked: Any) -> list[Any]:
        found = rows(*asked)
        database._free.reverse()
        return found

    monkeypatch.setattr(database, "rows", meanwhile)
    catalogue.audit.begin()
    assert catalogue.audit.counts() == {}


def test_a_thread_that_finds_another_writing_has_its_turn(catalogue: Catalogue) -> None:
    """Threads wait for each other before they ask SQLite, which would refuse at once here."""
    database = catalogue._database
    begun, done = threading.Event(), []

    def write() -> None:
        database.connection.execute("pragma busy_timeout=0")
        begun.set()
        catalogue.generations.add([draft()], NOW)
        done.append(True)

    with database.write():
        thread = threading.Thread(target=write)
        thread.start()
        assert begun.wait(30)
    thread.join()
    assert done


def test_who_cannot_open_a_connection_waits_for_one_that_is_given_back(catalogue: Catalogue) -> None:
    """No descriptor is left while another thread reads: what is asked meanwhile is answered with its connection."""
    database: Any = vars(catalogue)["_database"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    answers: list[Any] = []
    asker = threading.Thread(target=lambda: answers.append(database.rows("select 1 as one")[0]["one"]))
    with database.reading() as connection:
        connection.execute("select 1").fetchall()
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        asker.start()
        asker.join(0.2)
        many, found = len(vars(database)["_all"]), list(answers)
    try:
        asker.join(30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found, answers) == ([], [1])
    assert len(vars(database)["_all"]) == many


def test_a_forked_child_opens_its_own_connection(catalogue: Catalogue) -> None:
    """SQLite's connections must not be inherited: the child writes by one of its own and closes only that."""
    inherited = raw(catalogue)
    child = os.fork()
    if child == 0:
        own = raw(catalogue)
        catalogue.generations.add([draft("child")], NOW)
        catalogue.close()
        try:
            inherited.execute("select 1")
        except sqlite.Error:
            os._exit(1)
        os._exit(0 if own is not inherited else 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    catalogue.generations.add([draft("parent")], NOW)
    assert ask(catalogue, "select id from generations order by seq") == [("gchild",), ("gparent",)]
    assert whole(catalogue)


def test_copy_of_the_files_of_a_killed_process_opens(tmp_path: Path) -> None:
    """What a process leaves that never closed its catalogue: the log is read, and nothing acknowledged is gone."""
    left = tmp_path / "left"
    left.mkdir()
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft(number) for number in range(20)], NOW)
    for name in (FILE, f"{FILE}-wal"):
        shutil.copy(tmp_path / name, left)
    catalogue.close()
    again = Catalogue.open(left, create=False)
    assert ask(again, "select count(*) from generations") == [(20,)]
    assert whole(again)
    again.close()


def test_times_keep_milliseconds_order_and_width() -> None:
    """Text sorts as time does, whatever the year, and comes back in UTC."""
    assert as_text(NOW.replace(microsecond=987654)) == "2026-11-20T09:00:00.987Z"
    assert as_time("2026-11-20T09:00:00.987Z") == NOW.replace(microsecond=987000)
    assert as_text(NOW.replace(year=1)) == "0001-11-20T09:00:00.000Z"
    assert as_time(as_text(NOW.replace(year=9999))).year == 9999
