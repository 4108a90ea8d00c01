"""Questions that make no sense, mean harm, or never end: a clear word, exit 2 or an empty list, and nothing changed."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue
from archiver.catalogue.queries import ask
from archiver.core.errors import UsageError
from tests.shells.small_world import FIRST, image_of, small_world
from tests.world import World

#: What means something to FTS5, LIKE, a shell or a terminal, and what no text can hold.
ODD = (
    '"',
    '""',
    "'",
    'fog"',
    '"fog',
    '"a lighthouse" OR',
    "AND OR NOT",
    "NEAR",
    "NEAR(a fog, 2)",
    "fog*",
    "*",
    "^a",
    "prompt:fog",
    "prompts:",
    "{a b}:fog",
    "-fog",
    "+fog",
    "((((((((",
    ")",
    "fog) --",
    "'; drop table images; --",
    "%",
    "_",
    "\\",
    "f_g",
    "l%e",
    "🐈‍⬛",
    "e\u0301",
    "\u202egof",
    "\x1b[31m",
    "caf\udce9",
    "x" * 100_000,
    "ab " * 30_000,
    "猫" * 30_000,
)
FOREVER = (
    "with recursive n (x) as (select 1 union all select x + 1 from n) select count(*) from n",
    "with recursive n (x) as (select 1 union all select x + 1 from n) select x from n where x < 0",
    "with recursive n (x) as (select 1 union all select 1 from n) select max(x) from n",
    f"with ten as (select value from json_each('[1,2,3,4,5,6,7,8,9]')) select count(*) from {', '.join(['ten'] * 12)}",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with small_world(tmp_path_factory.mktemp("asked")) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_has_changed(world: World) -> Iterator[None]:
    """Not one byte of the data, whatever is asked."""
    before = _files(world.folder / "data")
    yield
    assert _files(world.folder / "data") == before


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_every_odd_word_is_looked_for_as_it_is(world: World) -> None:
    """All of them in one process, as the commands ask: each finds what holds it, and nothing else."""
    with closing(Catalogue.open(world.folder / "data", create=False)) as catalogue:
        for word in (*ODD, "\0", "fog\0lighthouse", "fo\0g"):
            rows, _ = catalogue.listings.search(word, limit=10)
            wanted = word.encode("utf-8", "replace").decode().replace("\0", " ").split()
            assert all(part.lower() in row["prompt"].lower() for row in rows for part in wanted), word[:40]
            assert catalogue.reports.lineage(word) is not None, word[:40]
        assert [row["prompt"] for row in catalogue.listings.search("fog\0lighthouse", limit=10)[0]] == [FIRST]


@pytest.mark.parametrize("word", [ODD[4], ODD[5], ODD[14], "caf\udce9", "x" * 100_000, "猫" * 30_000, "🐈‍⬛"])
def test_the_command_line_takes_odd_words(world: World, word: str) -> None:
    for command in ("search", "lineage"):
        done = world.run(command, "--json", "--", word)
        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr[:300]
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name", ["", "nobody", "'; drop table images; --", "caf\udce9", "%", "\x1b[31m", "x" * 100_000]
)
def test_an_id_that_is_none_is_refused(world: World, name: str) -> None:
    for command in (("show",), ("tree",), ("get", "-o", "x"), ("url",), ("resolve", "--cancel")):
        done = world.run(*command, "--", name)
        assert (done.returncode, done.stdout) == (2, ""), command
        assert done.stderr.startswith("Error: ") and "\x1b" not in done.stderr, done.stderr[:300]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (("images", "--colour", "red"), "No such option '--colour'"),
        (("images", "--state", "gone"), "'gone' is not one of"),
        (("images", "--sort", "beauty"), "'beauty' is not one of"),
        (("images", "--limit", "0"), "0 is not in the range"),
        (("images", "--limit", "many"), "'many' is not a valid integer"),
        (("images", "--since", "99999999d"), "is no time"),
        (("images", "--due-within", "soon"), 'for example "10m"'),
        (("images", "--min-size", "-1"), "is no size"),
        (("images", "--cost-over", "nan"), "is no amount"),
        (("images", "--cost-over", "1e400"), "is no amount"),
        (("images", "--job", "caf\udce9"), "is not UTF-8 text"),
        (("search",), "Missing argument 'WORDS...'"),
        (("losses", "--since", "2026-13-01"), "is no time"),
        (("stats", "--since", "yesterday"), "is no time"),
        (("costs", "--by", "moon"), "'moon' is not one of"),
        (("costs", "--since", "0d"), "30d"),
        (("generations", "--state", "lost"), "'lost' is not one of"),
        (("query",), "Missing argument 'SQL'"),
        (("query", "select 1", "--limit", "0"), "0 is not in the range"),
        (("query", "select 'caf\udce9'"), ""),
    ],
)
def test_a_filter_that_is_none_is_refused(world: World, question: tuple[str, ...], words: str) -> None:
    done = world.run(*question)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("statement", FOREVER)
def test_a_question_without_end_is_ended(world: World, statement: str) -> None:
    """By a clock that goes on by one second whenever it is looked at."""
    seconds = itertools.count()
    with pytest.raises(UsageError, match="takes longer than 10 s; ask for less"):
        ask(
            world.folder / "data" / "catalogue.db",
            statement,
            limit=10,
            seconds=10,
            elapsed=lambda: float(next(seconds)),
        )
    assert next(seconds) > 10


def test_a_clock_that_stands_still_ends_nothing(world: World) -> None:
    long = "with recursive n (x) as (select 1 union all select x + 1 from n where x < 200000) select max(x) from n"
    path = world.folder / "data" / "catalogue.db"
    assert ask(path, long, limit=10, seconds=10, elapsed=lambda: 0.0)[1] == [(200_000,)]


#: One call of a function, which looks at no clock: ten million letters in twenty million, one place after the other.
_ONE_CALL = "with n (a) as (select replace(hex(zeroblob(5000000)), '0', 'a')) select instr(a || a, a || 'b') from n"


@pytest.mark.parametrize("statement", [FOREVER[0], _ONE_CALL])
def test_the_command_ends_what_has_no_end(world: World, statement: str) -> None:
    """With a patience of half a second: exit 2, and a word."""
    program = (
        "import sys; sys.argv[0] = 'archiver'; from archiver.cli import main, querying;"
        " querying.SECONDS = querying.GRACE_S = 0.5; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "query", statement],
        cwd=world.folder,
        env=world.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: the question takes longer than 0.5 s; ask for less\n"


def test_more_sql_that_is_no_question(world: World) -> None:
    """What attaches, sets, locks or reaches outside by a side door; beside those of tests/shells/test_questions.py."""
    image = image_of(world, FIRST)
    for bad in (
        "replace into copies values (1)",
        "insert into lineage select * from lineage",
        f"update copies set key = 'x' where image_id = '{image}' returning key",
        "alter table images rename to pictures",
        "create view mine as select 1",
        "create trigger t after insert on events begin select 1; end",
        "detach main",
        "reindex",
        "analyze",
        "savepoint a",
        "commit",
        "explain delete from events; delete from events",
        "pragma writable_schema=on",
        "select * from pragma_database_list",
        "select writefile('x', 'y')",
        "select url from urls union select 1",
        "select (select url from urls limit 1)",
        "with a as (select url from urls) select * from a",
        "insert into prompts (prompts, rank) values ('secure-delete', 0)",
        "select 1; attach 'x' as y",
        "select ?",
        "select * from nowhere",
        "(" * 2000,
        "select " + "1+" * 3000 + "1",
        "x" * 100_000,
    ):
        done = world.run("query", "--", bad)
        assert (done.returncode, done.stdout) == (2, ""), bad[:60]
        assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr, bad[:60]
    assert not (world.folder / "x").exists()
