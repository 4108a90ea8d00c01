"""Who may open the file, and how its schema and its views are made and brought up to date."""

from importlib import resources
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue, schema
from archiver.catalogue.database import Database
from archiver.catalogue.migrations import first
from archiver.core.errors import Unusable
from tests.catalogue import racing
from tests.catalogue.filling import FILE, NOW, ask, draft, opened, raw, sqlite, whole


def fill(path: Path, *statements: str) -> None:
    """A database that somebody else made."""
    connection = sqlite.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="there is no catalogue"):
        Catalogue.open(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot make the catalogue"):
        opened(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "statements",
    [
        ("create table theirs (x)",),
        ("pragma application_id=1196444487",),
        ("pragma application_id=1196444487", "create table theirs (x)"),
    ],
)
def test_foreign_database_is_refused_and_left_as_it_is(tmp_path: Path, statements: tuple[str, ...]) -> None:
    """Not a byte changes: not even the journal mode."""
    fill(tmp_path / FILE, *statements)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(Unusable, match="no catalogue of archiver's"):
        opened(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_garbage_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    garbage = b"this is no database, only text that is long enough to have been one" * 100
    (tmp_path / FILE).write_bytes(garbage)
    with pytest.raises(Unusable, match="not a database"):
        opened(tmp_path)
    assert (tmp_path / FILE).read_bytes() == garbage


@pytest.mark.parametrize("table", ["sqlite_schema", "generations"])
def test_damaged_pages_are_unusable_and_no_traceback(tmp_path: Path, table: str) -> None:
    """Noise in the schema or in a table: opening, reading or writing say so in our own words."""
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft(number) for number in range(50)], NOW)
    roots = dict(ask(catalogue, "select name, rootpage from sqlite_schema"))
    catalogue.close()
    content = bytearray((tmp_path / FILE).read_bytes())
    page = roots.get(table, 2)
    content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(Unusable, match=r"cannot be (used|read): database disk image is malformed"):
        Catalogue.open(tmp_path, create=False).generations.standing("g0")
    with pytest.raises(Unusable, match=r"cannot be (used|read|written): database disk image is malformed"):
        Catalogue.open(tmp_path, create=False).generations.add([draft("late")], NOW)


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """A migration that this code does not know."""
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft()], NOW)
    raw(catalogue).execute(
        "insert into _sqlite_migrations (migration_set, name, applied_at) values ('archiver', 'm999_later', 'x')"
    )
    catalogue.close()
    with pytest.raises(Unusable, match=r"newer archiver \(m999_later\)"):
        opened(tmp_path)


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    opened(tmp_path).close()
    before = (tmp_path / FILE).read_bytes()
    opened(tmp_path).close()
    assert (tmp_path / FILE).read_bytes() == before


def test_failed_migration_leaves_an_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema, mark and views come in one transaction: the next start begins anew."""
    monkeypatch.setattr(first, "_FIRST", (*first._FIRST, "create table jobs (again)"))
    with pytest.raises(Unusable, match="already exists"):
        opened(tmp_path)
    connection = sqlite.connect(tmp_path / FILE)
    assert connection.execute("select * from sqlite_master").fetchall() == []
    assert connection.execute("pragma application_id").fetchone() == (0,)
    connection.close()
    monkeypatch.undo()
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft()], NOW)
    catalogue.close()


def test_views_are_made_anew_when_their_text_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue with other views, as an older archiver left them, gets the present ones; rows and own views stay."""
    text = resources.files("archiver.catalogue").joinpath("views.sql").read_text("utf-8")
    older = tmp_path / "package"
    older.mkdir()
    (older / "views.sql").write_text(
        text.replace("images.width,", "") + "\ncreate view of_my_own as select 1 as one;\n", encoding="utf-8"
    )
    monkeypatch.setattr(resources, "files", lambda _: older)
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft()], NOW)
    assert "width" not in columns(catalogue, "lineage")
    catalogue.close()
    monkeypatch.undo()
    catalogue = opened(tmp_path)
    assert "width" in columns(catalogue, "lineage")
    assert ask(catalogue, "select one from of_my_own") == [(1,)]
    assert ask(catalogue, "select id from generations") == [("g0",)]
    catalogue.close()


def test_another_history_is_looked_at_though_the_views_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stamp that spares a second look is of both; and of what was applied."""
    opened(tmp_path).close()
    looks: list[Path] = []
    newest = schema.newest

    def look(database: Database) -> tuple[str, tuple[str, ...]]:
        looks.append(database.path)
        return newest(database)

    monkeypatch.setattr(schema, "newest", look)
    opened(tmp_path).close()
    assert looks == []
    monkeypatch.setattr(schema, "_history", lambda: "first.m001_first, later.m999_more")
    opened(tmp_path).close()
    assert len(looks) == 1
    opened(tmp_path).close()
    assert len(looks) == 1
    monkeypatch.setattr(schema, "_history", lambda: "")  # nobody can tell
    opened(tmp_path).close()
    assert len(looks) == 2


def columns(catalogue: Catalogue, view: str) -> set[str]:
    """The columns of a view."""
    return {name for (name,) in ask(catalogue, "select name from pragma_table_info(?)", view)}


def test_public_views_have_their_columns(catalogue: Catalogue) -> None:
    """People and scripts query these names: they only ever grow."""
    assert columns(catalogue, "lineage") >= set(
        "prompt job provider model generation_id image_id parent_image_id created_at archived_at store key sha256 size"
        " content_type width height cost_usd".split()
    )
    assert {"image_id", "deadline", "state"} <= columns(catalogue, "at_risk")
    assert {"day", "job", "provider", "cost_usd"} <= columns(catalogue, "spend")
    assert {"image_id", "generation_id", "prompt", "source"} <= columns(catalogue, "losses")


def test_eight_processes_make_and_migrate_at_once(race: racing.Race, tmp_path: Path) -> None:
    """Forty folders; nobody is refused, nobody sees a half-made schema."""
    assert race.run(racing.open_and_close, tmp_path) == [[]] * racing.PROCESSES
    catalogue = opened(tmp_path / "7")
    assert whole(catalogue)
    catalogue.close()
