"""`archiver backup`, `restore` and `db` from outside: disks that die in the middle of a life, and deaths in between."""

import gzip
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from archiver.catalogue.migrations import migrations
from tests.doubles.bare_s3 import BareS3
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.servers import rclone_s3
from tests.doubles.whole_s3 import WholeS3
from tests.world import World, file_section, oss_section, s3_section

VIEW = "select * from lineage order by image_id, store"
SANDBOX = '\n[providers.sandbox]\nkind = "sandbox"\n'


def job(name: str, schedule: str, prompts: list[str], n: int) -> str:
    return (
        f'\n[[jobs]]\nname = "{name}"\nschedule = "{schedule}"\nprovider = "double"\nn = {n}\nstores = ["near"]\n'
        f"prompts = {json.dumps(prompts, ensure_ascii=False)}\n"
    )


def files(world: World) -> list[str]:
    """Everything in the data folder that is a file of the catalogue's, or a temporary one."""
    data = world.folder / "data"
    found = [*data.glob("catalogue*"), *(data / "parts").rglob("*"), *data.rglob("*.db")]
    names = {str(path.relative_to(data)) for path in found}
    return sorted(name for name in names if not name.endswith(("-wal", "-shm")))  # a question may leave those


def lose(world: World) -> None:
    """The disk dies, the catalogue with it."""
    for path in (world.folder / "data").glob("catalogue*"):
        path.unlink()


def test_a_lost_catalogue_of_500_images_comes_back_from_backup_and_records_and_nothing_is_paid_twice(
    tmp_path: Path,
) -> None:
    """The backup is from the middle: one job's tick is in it, the other job came after it and is over."""
    with ImagesProvider() as provider:
        world = World(tmp_path / "user")
        first = file_section("near", tmp_path / "near") + job("old", "every 1h", [f"狐狸 {n}" for n in range(50)], 5)
        world.configure(first, provider=provider)
        world.ok("run", "--once")
        (done,) = world.rows("backup")
        assert done["images"] == 250 and done["error"] is None
        second = job("new", "at 2026-01-01T00:00", [f"wren {n}" for n in range(50)], 5)
        world.configure(first + second, provider=provider)
        world.ok("run", "--once")
        before, paid = world.sql(VIEW), len(provider.requests)
        assert len(before) == 500 and paid == 100

        lose(world)
        told = json.loads(world.ok("restore", "--json"))
        assert told["key"] == done["key"] and told["snapshot"]["images"] == {"stored": 250} and told["jobs"] == 2
        assert len(world.sql(VIEW)) == 250
        world.ok("rebuild", "--from", "near", "--yes")
        assert world.sql(VIEW) == before
        done_again = world.run("run", "--once")
        assert done_again.returncode == 0 and "nothing is due" in done_again.stderr
        assert len(provider.requests) == paid and world.sql(VIEW) == before
        assert files(world) == ["catalogue.db"]


@contextmanager
def a_life(folder: Path) -> Iterator[World]:
    """One image in the newest snapshot, two in the catalogue."""
    world = World(folder / "user")
    world.configure(SANDBOX + file_section("near", folder / "near"))
    world.ok("generate", "--provider", "sandbox", "a fox")
    world.ok("backup")
    world.ok("generate", "--provider", "sandbox", "a wren")
    yield world


_PUT = "in archiver.pipeline.restore:put_in_place"
PLACES = (
    "after archiver.pipeline.restore:fetch #1",
    "after archiver.catalogue.restoring:Restoring.make_safe #1",
    f"before os:link #1 {_PUT}",
    f"after os:link #1 {_PUT}",
    f"before pathlib:Path.rename #1 {_PUT}",
    f"after pathlib:Path.rename #1 {_PUT}",
)


def test_a_death_in_the_middle_leaves_the_old_catalogue_or_the_whole_new_one(tmp_path: Path) -> None:
    """SIGKILL at every step; the next restore cleans up after it."""
    seen = set()
    with a_life(tmp_path) as world:
        shutil.copytree(world.folder / "data", tmp_path / "then")
        for place in PLACES:
            shutil.rmtree(world.folder / "data")
            shutil.copytree(tmp_path / "then", world.folder / "data")
            command = [sys.executable, "-m", "tests.crash.dying", place, "restore", "--yes"]
            died = subprocess.run(command, cwd=world.folder, env=world.environ, capture_output=True, check=False)
            assert died.returncode == -signal.SIGKILL, (place, died.stderr)
            images = len(world.sql("select id from images"))
            restored = len(world.sql("select at from events where kind = 'restored' and generation_id is null"))
            assert (images, restored) == ((1, 1) if place.startswith("after pathlib") else (2, 0)), place
            assert world.sql("pragma integrity_check") == [{"integrity_check": "ok"}]
            seen.add(restored)
            if place == PLACES[3] or restored:
                world.ok("restore", "--yes")
                left = files(world)
                assert left[0] == "catalogue.db" and len(left) == 2 + restored, left
                assert len(world.sql("select id from images")) == 1
    assert seen == {0, 1}


def test_a_backup_that_dies_leaves_nothing_for_long(tmp_path: Path) -> None:
    with a_life(tmp_path) as world:
        place = "after archiver.catalogue.snapshots:Snapshots.take #1"
        command = [sys.executable, "-m", "tests.crash.dying", place, "backup"]
        died = subprocess.run(command, cwd=world.folder, env=world.environ, capture_output=True, check=False)
        assert died.returncode == -signal.SIGKILL
        left = [path for path in (world.folder / "data" / "parts").rglob("*") if path.is_file()]
        assert left and {path.stat().st_mode & 0o777 for path in left} == {0o600}
        assert not [path for path in left if path.suffix == ".db"]
        world.ok("backup")
        assert files(world) == ["catalogue.db"]


def test_while_a_daemon_works_it_can_be_backed_up_and_not_replaced(tmp_path: Path) -> None:
    with a_life(tmp_path) as world:
        daemon = world.start("run")
        try:
            owners = world.folder / "data" / "owners"
            while not list(owners.iterdir()):
                assert daemon.poll() is None
            assert world.rows("backup")[0]["images"] == 2
            for command in (("restore", "--yes"), ("db", "vacuum")):
                refused = world.run(*command)
                assert refused.returncode == 3 and "another archiver process works" in refused.stderr
            world.ok("restore", "--drill")
        finally:
            assert world.stop(daemon) in (0, 143)
        world.ok("db", "vacuum")
        assert len(world.sql(VIEW)) == 2 and files(world) == ["catalogue.db"]


@pytest.mark.parametrize("kind", ["strict", "bare", "rclone", "oss"])
def test_buckets_take_snapshots_and_give_them_back(tmp_path: Path, kind: str) -> None:
    """A strict S3, one that can neither list nor keep metadata, an S3 of others, and OSS."""
    servers: dict[str, Any] = {
        "strict": WholeS3,
        "bare": BareS3,
        "rclone": lambda: rclone_s3(tmp_path / "rclone"),
        "oss": OssDouble,
    }
    with ExitStack() as stack:
        server: Any = stack.enter_context(servers[kind]())
        world = World(tmp_path / "user")
        world.keys_of(server)
        section = (oss_section if kind == "oss" else s3_section)("far", server)
        world.configure(SANDBOX + section)
        world.ok("generate", "--provider", "sandbox", "a fox")
        (done,) = world.rows("backup", "--to", "far")
        assert done["key"].startswith("archive/_catalogue/")
        if kind == "strict":
            data = server.objects[done["key"]].body
            assert gzip.decompress(data).startswith(b"SQLite format 3\0") and data[4:8] == bytes(4)
            kept = {name.removeprefix("x-amz-meta-"): value for name, value in server.meta[done["key"]].items()}
            assert kept.pop("schema").startswith("m0")
            assert kept == {
                "archiver-kind": "catalogue",
                "sha256": hashlib.sha256(data).hexdigest(),
                "images": "1",
                "generations": "1",
                "copies": "1",
            }
        before = world.sql(VIEW)
        lose(world)
        chosen = ("--key", done["key"]) if kind == "bare" else ()
        told = json.loads(world.ok("restore", "--from", "far", "--json", *chosen))
        assert told["digest_verified"] == (kind != "bare") and world.sql(VIEW) == before
        if kind == "bare":
            refused = world.run("restore", "--list")
            assert refused.returncode == 3 and "cannot be listed" in refused.stderr


def test_snapshots_are_listed_and_one_is_chosen_by_key_or_time(tmp_path: Path) -> None:
    with a_life(tmp_path) as world:
        world.ok("backup")
        newest, oldest = world.rows("restore", "--list")
        assert newest["taken_at"] > oldest["taken_at"] and newest["size"] > 0
        assert len(world.ok("restore", "--list", "--nl").splitlines()) == 2
        assert world.ok("restore", "--list", "--csv").splitlines()[0] == "taken_at,size,store,key"
        assert oldest["key"] in world.ok("restore", "--list", "--tsv")
        assert world.ok("restore", "--list").splitlines()[0].split() == ["taken", "at", "size", "store", "key"]
        for choice in (("--key", oldest["key"]), ("--at", oldest["taken_at"])):
            told = json.loads(world.ok("restore", "--drill", "--json", *choice))
            assert (told["key"], told["drill"], told["set_aside"]) == (oldest["key"], True, None)
            assert (told["snapshot"]["images"], told["live"]["images"]) == ({"stored": 1}, {"stored": 2})
        assert world.rows("restore", "--list", "--at", "2020-01-01") == []
        refused = world.run("restore")
        assert refused.returncode == 2 and "--yes" in refused.stderr
        for odd in (("--key", "x", "--at", "1d"), ("--csv",), ("--key", "x"), ("--at", "2020-01-01"), ("--from", "x")):
            assert world.run("restore", "--drill", *odd).returncode == 2, odd
        world.ok("restore", "--key", oldest["key"], "--yes")
        assert len(world.sql("select id from images")) == 1


def test_a_failed_drill_is_1_and_a_failed_restore_3(tmp_path: Path) -> None:
    with a_life(tmp_path) as world:
        (entry,) = world.rows("restore", "--list")
        path = tmp_path / "near" / entry["key"]
        path.chmod(0o600)
        data = path.read_bytes()
        path.write_bytes(data[:2000] + bytes(255 - byte for byte in data[2000:2004]) + data[2004:])
        before = (world.folder / "data" / "catalogue.db").read_bytes()
        drill, restore = world.run("restore", "--drill"), world.run("restore", "--yes")
        assert (drill.returncode, restore.returncode) == (1, 3)
        assert "the drill failed" in drill.stderr and "damaged" in restore.stderr
        assert (world.folder / "data" / "catalogue.db").read_bytes() == before and files(world) == ["catalogue.db"]


def test_without_urls_there_is_no_trace_of_one(tmp_path: Path) -> None:
    """Byte for byte, in the file that leaves this machine; and nobody is told one."""
    world = World(tmp_path / "user")
    world.configure(SANDBOX + file_section("near", tmp_path / "near"))
    lines = [f"https://127.0.0.1:1/{n}.png?Expires=1999999999&Signature=secret{n:06}" for n in range(200)]
    (world.folder / "lines.csv").write_text("\n".join(["url", *lines]))
    assert world.run("backfill", "lines.csv").returncode == 1
    assert len(world.sql("select * from urls")) == 200
    (bare,), (whole,) = world.rows("backup", "--without-urls"), world.rows("backup")
    assert (bare["urls"], whole["urls"]) == (0, 200)
    for row, count in ((bare, 0), (whole, 200)):
        data = gzip.decompress((tmp_path / "near" / row["key"]).read_bytes())
        assert len(set(re.findall(rb"Signature=secret(\d{6})", data))) == count
    done = world.run("backup")
    assert "must not be public" in done.stderr and "secret" not in done.stdout + done.stderr


def test_a_schema_of_yesterday_is_brought_up_to_date_and_told_of(tmp_path: Path) -> None:
    world = World(tmp_path / "user")
    world.configure(SANDBOX + file_section("near", tmp_path / "near"))
    assert world.ok("db", "path").strip() == str(world.folder / "data" / "catalogue.db")
    assert world.run("db", "migrate").returncode == 3
    data = world.folder / "data"
    data.mkdir()
    old = Database(data / "catalogue.db")
    migrations.apply(old, stop_before="m007_listings")
    old.execute("pragma application_id=1095910216")
    old.close()
    before = (data / "catalogue.db").read_bytes()
    told = json.loads(world.ok("db", "migrate", "--dry-run", "--json"))
    assert told["from"] == "m006_requests" and told["steps"][0] == "m007_listings" and told["dry_run"]
    assert (data / "catalogue.db").read_bytes()[100:] == before[100:]
    assert "would go from m006_requests" in world.ok("db", "migrate", "--dry-run")
    assert f"went from m006_requests to {told['to']}" in world.ok("db", "migrate")
    assert world.ok("db", "migrate").strip() == f"the schema is up to date: {told['to']}"
    sizes = json.loads(world.ok("db", "vacuum", "--json"))
    assert sizes["before"] >= sizes["after"] > 0
