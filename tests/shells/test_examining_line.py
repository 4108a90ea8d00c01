"""`archiver check`, `repair` and `requeue` from outside: what they print, what they change, and how they end."""

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.whole_s3 import WholeS3
from tests.world import World, file_section, oss_section, s3_section

SANDBOX = """
[providers.sandbox]
kind = "sandbox"
"""
VIEW = "select * from lineage order by image_id, store"


def two_folders(tmp_path: Path, images: int = 6) -> World:
    """An archive in the folders `near` and `other`."""
    world = World(tmp_path / "user")
    world.configure(SANDBOX + file_section("near", tmp_path / "near") + file_section("other", tmp_path / "other"))
    both = ("--provider", "sandbox", "--store", "near", "--store", "other", "--yes")
    world.ok("generate", *both, *(f"a fox {number}" for number in range(images)))
    assert len(world.sql(VIEW)) == 2 * images
    return world


def copy_of(tmp_path: Path, world: World, number: int, store: str) -> Path:
    """The file of a copy."""
    prompt = f"a fox {number}"
    (row,) = world.sql("select key from lineage where prompt = ? and store = ?", prompt, store)
    return tmp_path / store / str(row["key"])


def spoil(path: Path) -> None:
    """Change one byte."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def words(printed: str) -> list[str]:
    return [row["word"] for row in json.loads(printed)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def dump(world: World) -> dict[str, list[dict[str, Any]]]:
    names = [row["name"] for row in world.sql("select name from sqlite_master where type = 'table'")]
    return {name: world.sql(f"select * from {name}") for name in names}


def test_a_check_tells_and_a_repair_mends(tmp_path: Path) -> None:
    world = two_folders(tmp_path)
    well = world.run("check", "--read-data")
    assert well.returncode == 0 and well.stdout == "" and "as the catalogue says" in well.stderr
    copy_of(tmp_path, world, 0, "near").unlink()
    spoil(copy_of(tmp_path, world, 1, "other"))
    before, kept = dump(world), files(tmp_path / "near") | files(tmp_path / "other")
    found = world.run("check", "--json")
    assert found.returncode == 1 and words(found.stdout) == ["missing"]
    found = world.run("check", "--read-data", "--json")
    assert found.returncode == 1 and words(found.stdout) == ["missing", "altered"]
    row = json.loads(found.stdout)[0]
    assert list(row) == ["word", "count", "store", "image_id", "key", "detail", "fate"]
    assert row["count"] == 1 and row["store"] == "near" and row["fate"] is None
    planned = world.run("repair", "--read-data", "--dry-run")
    assert planned.returncode == 1 and "would be brought back from other" in planned.stdout
    assert dump(world) == before and files(tmp_path / "near") | files(tmp_path / "other") == kept
    mended = world.run("repair", "--read-data", "--nl")
    assert mended.returncode == 0, mended.stderr
    assert [json.loads(line)["fate"] for line in mended.stdout.splitlines()] == ["repaired"] * 2
    after = dump(world)
    again = world.run("repair", "--read-data")
    assert again.returncode == 0 and words(world.run("check", "--json").stdout) == ["foreign"]
    assert dump(world) == after
    # What was mended is what a rebuild finds.
    view = world.sql(VIEW)
    for path in (world.folder / "data").glob("catalogue.db*"):
        path.unlink()
    world.ok("rebuild", "--from", "near", "--from", "other")
    assert world.sql(VIEW) == view


def test_exit_codes(tmp_path: Path) -> None:
    world = two_folders(tmp_path, 2)
    assert world.run("check", "--subset", "1/2").returncode == 2
    assert world.run("check", "--read-data", "--subset", "3/2").returncode == 2
    assert world.run("check", "--store", "nowhere").returncode == 2
    for store in ("near", "other"):
        copy_of(tmp_path, world, 0, store).unlink()
    found = world.run("check", "--csv", "--limit", "1")
    assert found.returncode == 4 and "requeue" in found.stderr
    (row,) = csv.DictReader(io.StringIO(found.stdout))
    assert row["word"] == "missing" and row["count"] == "2"
    assert world.run("repair").returncode == 4
    assert world.run("check", "--store", "near").returncode == 4
    (tmp_path / "near").rename(tmp_path / "unplugged")
    away = world.run("check", "--store", "near")
    assert away.returncode == 3 and "mounted" in away.stdout and "missing" not in away.stdout
    assert world.run("repair", "--store", "near").returncode == 3
    assert {row["state"] for row in world.sql("select state from images")} == {"missing", "stored"}


def test_without_a_catalogue_nothing_is_made(tmp_path: Path) -> None:
    world = World(tmp_path / "user")
    world.configure(SANDBOX + file_section("near", tmp_path / "near"))
    for command in (("check",), ("repair",), ("repair", "--dry-run"), ("requeue", "x", "--url", "https://h.example/a")):
        done = world.run(*command)
        assert done.returncode == 3 and "Traceback" not in done.stderr, command
    assert not (world.folder / "data" / "catalogue.db").exists()


@contextmanager
def two_buckets(tmp_path: Path) -> Iterator[tuple[World, WholeS3, OssDouble]]:
    """An archive of four images in an S3 bucket and an OSS bucket."""
    with WholeS3() as near, OssDouble() as far:
        near.access_key, near.secret_key = far.access_key, far.secret_key
        world = World(tmp_path / "user")
        world.keys_of(far)
        world.configure(SANDBOX + s3_section("near", near) + oss_section("far", far))
        both = ("--provider", "sandbox", "--store", "near", "--store", "far", "--yes")
        world.ok("generate", *both, *(f"a fox {number}" for number in range(4)))
        yield world, near, far


def test_with_an_s3_bucket_and_an_oss_bucket(tmp_path: Path) -> None:
    """What was written over shows by its ETag in a listing alone; the keys of the stores are never printed."""
    with two_buckets(tmp_path) as (world, near, far):
        assert world.run("check").returncode == 0
        keys = {(row["prompt"][-1], row["store"]): row["key"] for row in world.sql(VIEW)}
        del near.objects[keys["0", "near"]]
        del far.objects[keys["1", "far"]]
        held = far.objects[keys["2", "far"]]
        far.objects[keys["2", "far"]] = type(held)(held.body[:-1] + b"?", held.headers, {}, held.modified)
        bare = near.objects[keys["3", "near"]]
        near.objects[keys["3", "near"]] = type(bare)(bare.body[:-1] + b"?", bare.content_type, bare.modified)
        near.objects["archive/theirs"] = bare
        found = world.run("check", "--json")
        assert found.returncode == 1
        assert words(found.stdout) == ["missing", "missing", "altered", "altered", "foreign"]
        assert near.secret_key not in found.stdout + found.stderr
        mended = world.run("repair", "--json")
        assert mended.returncode == 0, mended.stderr
        assert [row["fate"] for row in json.loads(mended.stdout)] == ["repaired"] * 4 + [None]
        now = {(row["prompt"][-1], row["store"]): row["key"] for row in world.sql(VIEW)}
        assert {place for place in keys if now[place] != keys[place]} == {("2", "far"), ("3", "near")}
        assert words(world.run("check", "--read-data", "--json").stdout) == ["foreign"] * 3


def test_rules_of_a_bucket_that_would_delete_the_archive(tmp_path: Path) -> None:
    with two_buckets(tmp_path) as (world, near, _):
        near.lifecycle = (
            b"<LifecycleConfiguration><Rule><ID>tidy up</ID><Filter><Prefix>arch</Prefix></Filter>"
            b"<Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>"
        )
        found = world.run("check", "--store", "near", "--json")
        assert found.returncode == 1 and words(found.stdout) == ["doomed"]
        assert "30 days" in json.loads(found.stdout)[0]["detail"]


def test_a_lost_image_comes_back_with_a_url_from_standard_input(tmp_path: Path) -> None:
    """The URL is a secret: nothing prints it."""
    with ImagesProvider() as double:
        world = World(tmp_path / "user")
        world.configure(file_section("near", tmp_path / "near"), provider=double)
        world.ok("generate", "--yes", "a fox")
        (image,) = world.sql("select id from images")
        url = double.source.add("/again.png?token=never-to-be-shown", double.image("a fox", 0))
        refused = world.run("requeue", image["id"], "--url", url)
        assert refused.returncode == 2 and "needs no URL" in refused.stderr
        assert world.run("requeue", "nobody", "--url", url).returncode == 2
        assert world.run("requeue", image["id"], "--url", "no url").returncode == 2
        for path in [path for path in (tmp_path / "near" / "generate").rglob("*") if path.is_file()]:
            path.unlink()
        assert world.run("repair").returncode == 4
        done = world.run("requeue", image["id"].upper(), "--url", "-", text=url + "\n")
        assert done.returncode == 0 and "1 image archived" in done.stderr, done.stderr
        assert all("never-to-be-shown" not in told for told in (done.stdout, done.stderr, refused.stderr))
        assert world.run("check", "--read-data").returncode == 0


def test_a_daemon_at_work_is_not_disturbed(tmp_path: Path) -> None:
    """Checks and a repair beside it find what is damaged, and nothing of what it writes meanwhile."""
    world = two_folders(tmp_path, 3)
    job = """
[[jobs]]
name = "often"
schedule = "every 1s"
provider = "sandbox"
stores = ["near", "other"]
prompts = ["one", "two", "three"]
"""
    text = (world.folder / "archiver.toml").read_text("utf-8")
    (world.folder / "archiver.toml").write_text(text + job, "utf-8")
    daemon = world.start("run")
    try:
        deadline = time.monotonic() + 60
        while len(world.sql("select 1 from images where state = 'stored'")) < 6 and time.monotonic() < deadline:
            pass
        copy_of(tmp_path, world, 0, "near").unlink()
        for _ in range(3):
            assert words(world.run("check", "--read-data", "--json").stdout) == ["missing"]
        assert world.run("repair", "--read-data").returncode == 0
        assert world.run("check", "--read-data").returncode == 0
        assert daemon.poll() is None
    finally:
        assert world.stop(daemon) == 0
    assert {row["state"] for row in world.sql("select distinct state from images")} == {"stored"}
    assert world.run("check", "--read-data").returncode == 0
    assert "error" not in (world.folder / "stderr.txt").read_text("utf-8").lower()
