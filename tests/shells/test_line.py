"""The whole line, from outside: jobs are run once, and the images are in the user's own store with their lineage."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.servers import rclone_s3
from tests.world import World, file_section, oss_section, s3_section

PROMPTS = [
    *(f"a cat on the moon, number {number}" for number in range(17)),
    "一只猫坐在月球上，喝着茶",
    'a "quoted" prompt\nwith a new line and 🐈',
    "x'; drop table images; --",
]

Read = Callable[[str], bytes]
Home = tuple[str, Read, Callable[[World], None]]


def _jobs(stores: str = '["main"]') -> str:
    prompts = json.dumps(PROMPTS, ensure_ascii=False)
    head = '\n[[jobs]]\nname = "cats"\nschedule = "every 1h"\nprovider = "double"\n'
    return f"{head}stores = {stores}\nprompts = {prompts}\n"


@pytest.fixture(params=["file", "s3", "oss"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """A store section, how to read an object behind archiver's back, and how to hand its keys to a user."""
    with ExitStack() as stack:
        if request.param == "file":
            root = tmp_path / "archive"
            yield file_section("main", root), lambda key: (root / key).read_bytes(), lambda _: None
        elif request.param == "s3":
            server = stack.enter_context(rclone_s3(tmp_path / "rclone"))
            root = tmp_path / "rclone" / server.bucket
            yield s3_section("main", server), lambda key: (root / key).read_bytes(), lambda w: w.keys_of(server)
        else:
            double = stack.enter_context(OssDouble())
            yield oss_section("main", double), lambda key: double.objects[key].body, lambda w: w.keys_of(double)


def test_twenty_generations_are_archived_and_can_be_asked_for(store: Home, tmp_path: Path) -> None:
    """`run --once` brings 20 images home; lineage goes from words to key and back; bytes and records agree."""
    section, read, give_keys = store
    with ImagesProvider() as provider:
        world = World(tmp_path / "user")
        give_keys(world)
        world.configure(section + _jobs(), provider=provider)
        done = world.run("run", "--once")
        assert done.returncode == 0, done.stderr
        assert "20 images archived, 0 lost" in done.stderr
        assert sorted(charge.prompt for charge in provider.charges) == sorted(PROMPTS)
        served = {hashlib.sha256(body).hexdigest(): body for body in provider.served.values()}

        rows = world.rows("lineage", "月球")
        assert [row["prompt"] for row in rows] == ["一只猫坐在月球上，喝着茶"]
        back = world.rows("lineage", rows[0]["key"])
        assert back == rows
        assert world.rows("lineage", rows[0]["image_id"]) == rows
        assert {row["prompt"] for row in world.rows("lineage", "moon", "number")} == set(PROMPTS[:17])

        lineage = world.sql("select * from lineage order by image_id")
        assert sorted(row["prompt"] for row in lineage) == sorted(PROMPTS)
        for row in lineage:
            body = read(row["key"])
            assert hashlib.sha256(body).hexdigest() == row["sha256"]
            assert body == served[row["sha256"]] == provider.image(row["prompt"], 0)
        _assert_records_agree(world, read, lineage)

        again = world.run("run", "--once")
        assert again.returncode == 0
        assert "0 images archived" in again.stderr
        assert len(provider.charges) == 20


def _assert_records_agree(world: World, read: Read, lineage: list[dict[str, Any]]) -> None:
    keys = {row["lineage_key"] for row in world.sql("select lineage_key from copies")}
    records = [json.loads(line) for key in keys for line in read(key).decode().splitlines()]
    by_image = {record["image_id"]: record for record in records}
    assert len(records) == len(by_image) == len(lineage)
    for row in lineage:
        said = by_image[row["image_id"]]
        documents = {name: json.loads(row[name]) for name in ("tags", "parameters", "inputs")}
        assert {name: said[name] for name in row} == row | documents


def test_two_stores_get_every_image(tmp_path: Path) -> None:
    """A job with two stores leaves equal bytes in both, each with its own row and record."""
    with ImagesProvider() as provider, OssDouble() as double:
        world = World(tmp_path / "user")
        world.keys_of(double)
        sections = file_section("near", tmp_path / "near") + oss_section("far", double)
        world.configure(sections + _jobs('["near", "far"]'), provider=provider)
        world.ok("run", "--once")
        rows = world.sql("select image_id, store, key, sha256 from lineage")
        assert len(rows) == 2 * len(PROMPTS)
        for row in rows:
            body = (
                (tmp_path / "near" / row["key"]).read_bytes()
                if row["store"] == "near"
                else double.objects[row["key"]].body
            )
            assert hashlib.sha256(body).hexdigest() == row["sha256"]


def test_base64_answers_are_archived_too(tmp_path: Path) -> None:
    """Inline bytes enter through the spool, three to a prompt, and leave no file behind."""
    with ImagesProvider() as provider:
        world = World(tmp_path / "user")
        world.configure(file_section("main", tmp_path / "archive"), provider=provider, response_format="b64_json")
        rows = world.rows("generate", "three cats", "-n", "3")
        assert len(rows) == 3
        for index, row in enumerate(sorted(rows, key=lambda row: str(row["image_id"]))):
            assert (tmp_path / "archive" / row["key"]).read_bytes() == provider.image("three cats", index)
        assert not list((tmp_path / "user/data/spool").iterdir())
        assert not list((tmp_path / "user/data/inbox").iterdir())


def test_no_trace_of_a_signature_remains(tmp_path: Path) -> None:
    """After the images are stored, no file of ours and no output holds a signed query or the provider's key."""
    with ImagesProvider() as provider:
        world = World(tmp_path / "user")
        world.configure(file_section("main", tmp_path / "archive") + _jobs(), provider=provider)
        done = world.run("--verbose", "run", "--once")
        assert done.returncode == 0
        text = (done.stdout + done.stderr).encode()
        for path in (tmp_path / "user" / "data").rglob("*"):
            if path.is_file():
                text += path.read_bytes()
        for path in (tmp_path / "archive").rglob("*.jsonl"):
            text += path.read_bytes()
        assert len(text) > 10_000
        for secret in (b"Signature=", b"OSSAccessKeyId=", provider.api_key.encode()):
            assert secret not in text
