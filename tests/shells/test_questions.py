"""Questions to the catalogue, from outside: lists in every format, words, families, figures, SQL, the bytes back."""

import csv
import hashlib
import io
import json
import re
import subprocess
from pathlib import Path

import pytest

from archiver.cli import COMMANDS
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.servers import rclone_s3
from tests.world import ARCHIVER, World, file_section, s3_section

PROMPTS = ("=a lighthouse in the fog", "一只猫坐在月球上", "a tab\tand a\nline")
NEW = ("search", "at-risk", "losses", "tree", "get", "url", "query", "stats", "images")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three images of two calls a piece, and one request in vain. Every test only asks."""
    folder = tmp_path_factory.mktemp("asked")
    made = World(folder / "user")
    with ImagesProvider([None, None, None, Mishap(body=b'{"data": null}', charged=True)]) as provider:
        made.configure(file_section("main", folder / "store"), provider=provider, price_usd=0.04)
        for prompt in PROMPTS:
            made.ok("generate", prompt)
        made.run("generate", "in vain")
    return made


def test_every_listing_speaks_every_format(world: World) -> None:
    """The same rows as JSON, JSON lines, CSV and TSV; a formula stays a text, and lines stay lines."""
    for command in (("images",), ("search", "a"), ("lineage", "a"), ("generations",), ("losses",), ("at-risk",)):
        rows = world.rows(*command)
        lines = [json.loads(line) for line in world.ok(*command, "--nl").splitlines()]
        assert lines == rows, command
        for option, mark in (("--csv", ","), ("--tsv", "\t")):
            text = world.ok(*command, option)
            told = list(csv.DictReader(io.StringIO(text), delimiter=mark))
            assert len(text.splitlines()) == len(rows) + 1, command
            assert len(told) == len(rows), command
            for one, row in zip(told, rows, strict=True):
                assert set(row) <= set(one), command
                assert one["prompt"].removeprefix("'").startswith(row["prompt"][:5])
                assert not one["prompt"].startswith("="), command
    for command in (("jobs",), ("batches",), ("costs",), ("refunds",), ("stats",)):
        for option in ("--json", "--nl", "--csv", "--tsv"):
            world.ok(*command, option)
    done = world.run("images", "--nl", "--tsv")
    assert (done.returncode, done.stderr) == (2, "Error: say either --nl or --tsv\n")


def test_images_are_filtered_and_sorted(world: World) -> None:
    newest = [row["prompt"] for row in world.rows("images")]
    assert newest == list(PROMPTS[::-1])
    assert [row["prompt"] for row in world.rows("images", "--reverse", "--limit", "1")] == [PROMPTS[0]]
    sizes = [row["size"] for row in world.rows("images", "--sort", "size")]
    assert sizes == sorted(sizes, reverse=True)
    assert world.rows("images", "--sort", "cost")[0]["cost_usd"] == 0.04
    for given, number in (
        (("--provider", "double", "--store", "main", "--since", "1h", "--min-size", "10"), 3),
        (("--cost-over", "0.03"), 3),
        (("--cost-over", "0.04"), 0),
        (("--max-size", "9"), 0),
        (("--until", "2026-01-01"), 0),
        (("--since", "2026-01-01T09:15", "--until", "2999-01-01"), 3),
        (("--tag", "shop"), 0),
        (("--due-within", "365d"), 0),
        (("--sort", "deadline"), 0),
    ):
        assert len(world.rows("images", *given)) == number, given
    for given, words in (
        (("--since", "soon"), "is no time; write for example 7d"),
        (("--min-size", "6 apples"), "is no size"),
        (("--cost-over", "much"), "is no amount"),
        (("--sort", "deadline", "--state", "stored"), "means nothing any more"),
    ):
        done = world.run("images", *given)
        assert done.returncode == 2, given
        assert words in done.stderr, given


def test_search_takes_any_words(world: World) -> None:
    assert [row["prompt"] for row in world.rows("search", "月球")] == [PROMPTS[1]]
    assert [row["prompt"] for row in world.rows("search", "fog", "light")] == [PROMPTS[0]]
    for odd in ('"', "AND OR NOT", "NEAR(a b)", "fog*", "prompt:fog", "^fog", "(", "%", "fog -a"):
        done = world.run("search", "--", odd)
        assert done.returncode == 0, odd


def test_stats_tell_rates_times_and_errors(world: World) -> None:
    (story,) = world.rows("stats")
    (row,) = story["requests"]
    assert (row["provider"], row["total"], row["successful"], row["failed"]) == ("double", 4, 3, 1)
    assert (story["total"]["success_rate"], story["grade"], story["advice"]) == (0.75, None, [])
    assert story["attempts"] == {"1": 4}
    assert [(error["kind"], error["n"]) for error in story["errors"]] == [("no image", 1)]
    assert story["asked_to_answered_s"]["n"] == story["answered_to_archived_s"]["n"] == 3
    assert 0 <= story["asked_to_answered_s"]["p50"] <= story["asked_to_answered_s"]["p95"]
    text = world.ok("stats", "--since", "7d")
    assert "4, 3 successful, 1 failed, 0 unknown, 0 open; success 75.0%" in text
    assert "grade: none" in text
    assert world.rows("stats", "--provider", "nobody")[0]["requests"] == []


def test_a_query_reads_and_nothing_else(world: World) -> None:
    """Rows under their names, bounded; what writes, attaches, sets or shows a password changes nothing."""
    assert world.rows("query", "select count(*) as n, 1 as n from lineage") == [{"n": 3, "n_2": 1}]
    assert world.rows("query", "with a as (select 1 as one) select one, x'00ff' as b, null as c from a") == [
        {"one": 1, "b": "00ff", "c": None}
    ]
    assert world.rows("query", "select prompt from prompts where prompts match 'lighthouse'") == [
        {"prompt": PROMPTS[0]}
    ]
    many = "with recursive n (x) as (select 1 union all select x + 1 from n where x < 20000) select x from n"
    assert len(world.rows("query", many)) == 10_000
    done = world.run("query", many, "--limit", "2", "--csv")
    assert (done.stdout, "there are more" in done.stderr) == ("x\n1\n2\n", True)
    before = (world.folder / "data" / "catalogue.db").read_bytes()
    aside = world.folder / "aside.db"
    for bad in (
        "delete from events",
        "insert into generation_tags values ('x', 1)",
        "update images set state = 'lost'",
        "drop table copies",
        "create temp table x (y)",
        f"attach '{aside}' as other",
        f"vacuum into '{aside}'",
        "pragma query_only=off",
        "pragma journal_mode=delete",
        "select * from pragma_table_info('images')",
        "begin immediate",
        "insert into prompts (prompts) values ('rebuild')",
        "select load_extension('x')",
        "select url from urls",
        "with a as (select 1) delete from events",
        "select 1; delete from events",
        "selec 1",
        "",
        "-- nothing",
    ):
        done = world.run("query", bad)
        assert (done.returncode, done.stdout) == (2, ""), bad
        assert "Traceback" not in done.stderr, bad
    assert not aside.exists()
    assert (world.folder / "data" / "catalogue.db").read_bytes() == before


def test_get_brings_the_bytes_back_and_overwrites_nothing(world: World, tmp_path: Path) -> None:
    (row,) = world.rows("search", "月球")
    target = tmp_path / "moon.png"
    world.ok("get", row["image_id"], "-o", str(target))
    assert hashlib.sha256(target.read_bytes()).hexdigest() == row["sha256"]
    target.write_bytes(b"mine")
    done = world.run("get", row["image_id"], "-o", str(target))
    assert (done.returncode, target.read_bytes()) == (2, b"mine")
    assert "--force replaces it" in done.stderr
    world.ok("get", row["image_id"].upper(), "-o", str(target), "--force")
    assert len(target.read_bytes()) == row["size"]
    piped = subprocess.run(
        [*ARCHIVER, "get", row["image_id"], "-o", "-"],
        cwd=world.folder,
        env=world.environ,
        capture_output=True,
        check=True,
    )
    assert piped.stdout == target.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["moon.png"]
    for given in (
        ("nobody", "-o", "x"),
        (row["image_id"], "-o", "no/folder.png"),
        (row["image_id"], "-o", "x", "--store", "nowhere"),
    ):
        assert world.run("get", *given).returncode == 2


def test_get_refuses_other_bytes_and_asks_the_next_store(tmp_path: Path) -> None:
    """One copy is altered: the other one serves; with both altered nothing is written, not even to a pipe."""
    world = World(tmp_path / "user")
    sections = file_section("one", tmp_path / "one") + file_section("two", tmp_path / "two")
    with ImagesProvider() as provider:
        world.configure(sections, provider=provider)
        world.ok("generate", "a fox", "--store", "one", "--store", "two")
    (row,) = world.rows("images")
    (tmp_path / "one" / row["key"]).write_bytes(b"altered")
    done = world.run("get", row["image_id"], "-o", str(tmp_path / "fox.png"))
    assert done.returncode == 0
    assert "one: " in done.stderr
    assert "holds other bytes" in done.stderr
    assert hashlib.sha256((tmp_path / "fox.png").read_bytes()).hexdigest() == row["sha256"]
    (tmp_path / "two" / row["key"]).unlink()
    for target in (str(tmp_path / "none.png"), "-"):
        done = world.run("get", row["image_id"], "-o", target)
        assert (done.returncode, done.stdout) == (1, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fox.png", "one", "two", "user"]


def test_url_is_public_or_signed_and_never_kept(tmp_path: Path) -> None:
    with rclone_s3(tmp_path / "rclone") as server, ImagesProvider() as provider:
        world = World(tmp_path / "user")
        world.keys_of(server)
        section = s3_section("main", server)
        world.configure(section, provider=provider)
        world.ok("generate", "a fox")
        (row,) = world.rows("images")
        signed = world.ok("url", row["image_id"], "--expires", "10m").strip()
        assert "X-Amz-Expires=600" in signed
        assert row["key"] in signed
        for path in (world.folder / "data").rglob("*"):
            assert not path.is_file() or b"X-Amz-Signature" not in path.read_bytes(), path
        assert world.run("url", row["image_id"], "--expires", "8d").returncode == 2
        assert world.run("url", "nobody").returncode == 2
        world.configure(section + 'public_base_url = "https://images.example.com/"\n', provider=provider)
        assert world.ok("url", row["image_id"]) == f"https://images.example.com/{row['key']}\n"


def test_tree_shows_edits_of_edits_in_both_directions(tmp_path: Path) -> None:
    """Grandmother, mother, two children: from the middle, up and down."""
    world = World(tmp_path / "user")
    with ImagesProvider() as provider:
        world.configure(file_section("main", tmp_path / "store"), provider=provider)
        world.ok("generate", "grandmother")
        world.ok("generate", "mother", "--input", f"image:{_id(world, 'grandmother')}")
        for child in ("first child", "second child"):
            world.ok("generate", child, "--input", f"image:{_id(world, 'mother')}")
    rows = world.rows("tree", _id(world, "mother"))
    assert [(row["direction"], row["depth"], row["prompt"]) for row in rows] == [
        ("self", 0, "mother"),
        ("up", 1, "grandmother"),
        ("down", 1, "first child"),
        ("down", 1, "second child"),
    ]
    text = world.ok("tree", _id(world, "grandmother"))
    assert re.sub(r"[0-9a-z]{26}", "ID", re.sub(r"  archive\S+|  \S+/\S+", "", text)).splitlines()[1] == "made of it:"
    assert [line.index(line.strip()) for line in text.splitlines()] == [0, 0, 2, 4, 4]
    assert world.run("tree", "nobody").returncode == 2


def _id(world: World, prompt: str) -> str:
    (row,) = [row for row in world.rows("images") if row["prompt"] == prompt]
    return str(row["image_id"])


@pytest.mark.parametrize("name", NEW)
def test_help_has_an_example_and_tells_exit_codes(world: World, name: str) -> None:
    assert name in COMMANDS
    text = world.ok(name, "--help")
    assert re.search(r"Examples?: archiver", text)
    assert re.search(r"Exits\s+with\s+[012]", text)
