"""`archiver prune` and `archiver forget` from outside: the plan first, then the act, and what each exit code says."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.whole_s3 import WholeS3
from tests.world import World, file_section, s3_section

SANDBOX = '\n[providers.sandbox]\nkind = "sandbox"\n'
SECRET = "a very secret fox"


@pytest.fixture
def bucket() -> Iterator[WholeS3]:
    with WholeS3() as bucket:
        yield bucket


@pytest.fixture
def world(tmp_path: Path, bucket: WholeS3) -> World:
    """Two images of one prompt, in a folder and a bucket."""
    world = World(tmp_path / "user")
    world.keys_of(bucket)
    world.configure(SANDBOX + file_section("near", tmp_path / "near") + s3_section("bucket", bucket))
    world.ok("generate", "--provider", "sandbox", "--store", "near", "--store", "bucket", "-n", "2", "--yes", SECRET)
    return world


def ids(world: World) -> list[str]:
    return [row["id"] for row in world.sql("select id from images order by idx")]


def traces(world: World, bucket: WholeS3, text: str) -> list[str]:
    """Files and objects that still hold it."""
    files = {str(path): path.read_bytes() for path in world.folder.parent.rglob("*") if path.is_file()}
    objects = {key: bytes(one.body) for key, one in bucket.objects.items()}
    return [name for name, body in (files | objects).items() if text.encode() in body]


def test_forget_shows_its_plan_and_does_nothing_until_it_is_told_to(world: World, bucket: WholeS3) -> None:
    first, second = ids(world)
    objects, before = dict(bucket.objects), world.sql("select * from images order by id")
    done = world.run("forget", first)
    assert done.returncode == 0 and "--yes" in done.stderr and "1 other image" in done.stdout
    assert (dict(bucket.objects), world.sql("select * from images order by id")) == (objects, before)
    told = json.loads(world.ok("forget", first, "--yes", "--json"))
    assert [row["note"] for row in told if row["what"] == "prompt"] == ["stays, with 1 other image of its generation"]
    assert SECRET in world.ok("show", second)
    assert "kind=forgotten" in world.ok("show", first)
    told = json.loads(world.ok("forget", second, "--yes", "--json"))
    assert [row["count"] for row in told if row["what"] == "prompt"] == [1]
    assert traces(world, bucket, SECRET) == [] and list(bucket.objects) == ["archive/_canary/probe"]
    assert world.rows("lineage", SECRET) == world.rows("search", SECRET) == []
    assert world.run("get", second, "-o", "x.png").returncode == 2
    assert "forgotten at" in world.ok("forget", second, "--yes")


def test_forget_takes_a_whole_generation(world: World, bucket: WholeS3) -> None:
    generation = world.sql("select id from generations")[0]["id"]
    assert world.run("forget", generation, "--yes").returncode == 2
    world.ok("forget", generation, "--whole", "--yes")
    assert traces(world, bucket, SECRET) == []
    assert {row["state"] for row in world.sql("select state from images")} == {"forgotten"}


def test_forget_says_when_a_store_is_away_and_ends_it_later(world: World, bucket: WholeS3) -> None:
    first, _ = ids(world)
    bucket.down()
    done = world.run("forget", first, "--whole", "--yes")
    assert done.returncode == 3 and "run the same command again" in done.stderr
    bucket.up()
    assert traces(world, bucket, SECRET)
    world.ok("forget", first, "--whole", "--yes")
    assert traces(world, bucket, SECRET) == []
    assert world.run("forget", "01kag2m5x8f3w9y7b1q0z4c6de", "--yes").returncode == 2


def test_prune_shows_its_plan_and_then_does_what_it_said(world: World, bucket: WholeS3) -> None:
    data = world.folder / "data"
    (data / "spool" / f"unheard-of.{'0' * 64}").write_bytes(b"left")
    near = world.folder.parent / "near" / ".part-left"
    near.write_bytes(b"half")
    old = time.time() - 3 * 86400
    os.utime(near, (old, old))
    objects = dict(bucket.objects)
    planned = world.rows("prune")
    assert [(row["what"], row["where"], row["count"], row["bytes"]) for row in planned] == [
        ("spool file", "spool", 1, 4),
        ("unfinished file", "near", 1, 4),
    ]
    assert near.exists() and "nothing was removed" in world.run("prune").stderr
    assert json.loads(world.ok("prune", "--yes", "--json")) == planned
    assert not near.exists() and world.rows("prune") == [] and dict(bucket.objects) == objects
    bucket.down()
    assert world.run("prune").returncode == 3
    assert world.run("prune", "--store", "near").returncode == 0
    bucket.up()
    assert world.run("prune", "--events", "0s").returncode == 2
    assert world.run("prune", "--store", "nowhere").returncode == 2


def test_without_a_catalogue_nothing_may_go(tmp_path: Path) -> None:
    world = World(tmp_path / "user")
    world.configure(SANDBOX + file_section("near", tmp_path / "near"))
    assert world.run("prune", "--yes").returncode == 3
    assert world.run("forget", "anything", "--yes").returncode == 3
    assert not (world.folder / "data" / "catalogue.db").exists()
