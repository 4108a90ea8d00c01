"""`archiver browse`, started for real and asked by HTTP: pages, pictures, and no way to write or to temporary URLs."""

import http.client
import json
import re
import signal
import sqlite3
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from archiver.catalogue.viewing import guard, readers_need_a_snapshot, snapshot
from tests.catalogue.filling import arrival, completed, opened, sqlite
from tests.doubles.provider import ImagesProvider
from tests.world import ROOT, World, file_section

pytest.importorskip(
    "datasette", reason="NO DATASETTE: browse was not tried. Install it: pip install 'archiver[browse]'"
)
PROMPT = "<script>alert(1)</script> 一只猫"
METADATA = tomllib.loads((ROOT / "archiver" / "browse" / "metadata.toml").read_text("utf-8"))
SECRET = "Signature=first"


@dataclass
class Browsed:
    """A running `archiver browse`."""

    port: int
    world: World

    def get(self, path: str, **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
        """Status, body and headers of a page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode("utf-8", "replace"), reply.headers
        finally:
            connection.close()

    def sql(self, statement: str) -> tuple[int, str]:
        """What a person's own SQL is answered."""
        status, body, _ = self.get(f"/catalogue.json?sql={quote(statement)}&_shape=array")
        return status, body


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsed]:
    """Two archived images, and one that waits: its temporary URL is in the catalogue. Ctrl-C ends it, with 0."""
    folder = tmp_path_factory.mktemp("browsed")
    world = World(folder / "user")
    with ImagesProvider([None, None]) as provider:
        public = 'public_base_url = "https://img.example.com"\n'
        world.configure(file_section("main", folder / "store") + public, provider=provider, price_usd=0.04)
        for prompt in (PROMPT, "a fox"):
            world.ok("generate", prompt)
    catalogue = opened(world.folder / "data")
    completed(catalogue, arrival("waiting"), number="waiting", stores=("main",))
    catalogue.close()
    process = world.start("browse", "--no-open")
    try:
        told = world.folder / "stdout.txt"
        while not (line := told.read_text("utf-8")).endswith("\n"):
            assert process.poll() is None, (world.folder / "stderr.txt").read_text("utf-8")
        address = urlsplit(line.strip())
        assert address.hostname == "127.0.0.1"
        assert address.port
        yield Browsed(address.port, world)
    finally:
        code = world.stop(process, signal.SIGINT)
        errors = (world.folder / "stderr.txt").read_text("utf-8")
        assert (code, "Traceback" in errors) == (0, False), errors


def test_every_page_answers(browsed: Browsed) -> None:
    """Home, every table and view, every ready question."""
    for name in (
        "/",
        "/catalogue",
        *(f"/catalogue/{one}" for one in ("lineage", "images", "generations", "spend", "losses")),
    ):
        status, body, _ = browsed.get(name)
        assert status == 200, name
        assert SECRET not in body
    queries = METADATA["databases"]["catalogue"]["queries"]
    assert len(queries) >= 10
    for name in queries:
        status, body, _ = browsed.get(f"/catalogue/{name}?text={quote('猫')}")
        assert (status, "Invalid SQL" in body) == (200, False), name
    rows = json.loads(browsed.get(f"/catalogue/search_prompts.json?_shape=array&text={quote('猫')}")[1])
    assert [row["prompt"] for row in rows] == [PROMPT]


def test_prompts_are_text_and_images_are_seen(browsed: Browsed) -> None:
    status, body, _ = browsed.get("/catalogue/lineage")
    assert "<script>alert" not in body
    assert 'href="https://img.example.com/' in body
    found = re.findall(r'src="(/-/archiver/thumb/[^"]+)"', body)
    assert len(found) == 2
    for address in (*found, *(one.replace("thumb", "image") for one in found)):
        status, _, headers = browsed.get(address)
        assert status == 200
        assert headers["content-type"] in ("image/webp", "image/png")
        assert headers["x-content-type-options"] == "nosniff"
    assert browsed.get("/-/archiver/image/iwaiting")[0] == 404
    assert browsed.get("/-/archiver/thumb/nobody")[0] == 404


def test_temporary_urls_are_out_of_reach(browsed: Browsed) -> None:
    """They are in the file, and no question brings them out, whatever it is called or how it is hidden."""
    with sqlite3.connect(browsed.world.folder / "data" / "catalogue.db") as connection:
        assert SECRET in connection.execute("select url from urls").fetchone()[0]
    connection.close()
    for statement in (
        "select * from urls",
        "select url from URLS",
        'select u.url from main."urls" as u',
        "select count(*) from urls",
        "select 1 from images where exists (select 1 from urls where url like '%a%')",
        "with a as (select url from urls) select * from a",
        "select i.id from images as i join urls using (seq)",
        "select data from sqlite_dbpage",
        "select load_extension('x')",
        "explain select url from urls",
    ):
        status, body = browsed.sql(statement)
        assert status >= 400, statement
        assert SECRET not in body
    for path in ("/catalogue/urls", "/catalogue/urls.json", "/catalogue/urls/1", "/catalogue.db", "/-/databases.json"):
        status, body, _ = browsed.get(path)
        assert SECRET not in body, path
        assert status in (403, 404) or "databases" in path, path
    assert browsed.sql("select count(*) as n from images") == (200, '[{"n": 3}]')


def test_nothing_can_be_written(browsed: Browsed) -> None:
    before = browsed.sql("select count(*) as n from events")
    for statement in (
        "delete from images",
        "pragma user_version = 7",
        "attach 'x.db' as x",
        "vacuum",
        "create table a (b)",
    ):
        status, _ = browsed.sql(statement)
        assert status >= 400, statement
    assert browsed.sql("select count(*) as n from events") == before


def test_only_this_machine_is_answered(browsed: Browsed) -> None:
    """A web page elsewhere that lets its own name point to 127.0.0.1 gets nothing."""
    for host, status in (
        ("evil.example", 403),
        (f"evil.example:{browsed.port}", 403),
        (f"localhost:{browsed.port}", 200),
    ):
        assert browsed.get("/catalogue", Host=host)[0] == status, host


def test_a_port_that_is_taken_is_told(browsed: Browsed) -> None:
    done = browsed.world.run("browse", "--no-open", "--port", str(browsed.port))
    assert done.returncode == 3
    assert f"127.0.0.1:{browsed.port}" in done.stderr


def test_sigterm_is_an_orderly_end(browsed: Browsed, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.configure("")
    opened_file = tmp_path / "data"
    opened_file.mkdir()
    opened(opened_file).close()
    process = world.start("browse", "--no-open")
    while not (tmp_path / "stdout.txt").read_text("utf-8").endswith("\n"):
        assert process.poll() is None, (tmp_path / "stderr.txt").read_text("utf-8")
    assert world.stop(process) == 0


def test_a_snapshot_holds_no_temporary_url(tmp_path: Path) -> None:
    """For an older SQLite: all rows but those, no stale page of them either, and readable by its owner alone."""
    catalogue = opened(tmp_path)
    for number in range(40):
        completed(catalogue, arrival(number), number=number)
    target = tmp_path / "copy.db"
    snapshot(catalogue.path, target)
    catalogue.close()
    assert target.stat().st_mode & 0o077 == 0
    assert b"Signature=" not in target.read_bytes()
    connection = sqlite.connect(target)
    assert connection.execute("select count(*) from images").fetchone() == (40,)
    assert connection.execute("select count(*) from urls").fetchone() == (0,)
    guard(connection)
    with pytest.raises(sqlite.DatabaseError):
        connection.execute("select url from urls")
    with pytest.raises(sqlite.DatabaseError):
        connection.execute("pragma user_version = 3")
    connection.close()
    assert isinstance(readers_need_a_snapshot(), bool)
