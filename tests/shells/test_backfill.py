"""The manual backfill, from outside: CSV and JSONL of any make, broken lines, the same line twice, URLs signed anew."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.oss import OssDouble
from tests.doubles.pngs import png
from tests.doubles.source import ImageSource
from tests.world import ROOT, World, file_section, oss_section

LOOPBACK = '[fetch]\nallow_cidrs = ["127.0.0.1/32"]\n'


@pytest.fixture
def source() -> Iterator[ImageSource]:
    with ImageSource() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A user with one store, `main`, and no provider at all."""
    made = World(tmp_path / "user")
    made.configure(LOOPBACK + file_section("main", tmp_path / "archive"))
    return made


def stories(world: World) -> dict[str, dict[str, Any]]:
    """Every image's whole story, by prompt."""
    return {row["prompt"]: world.rows("show", row["image_id"])[0] for row in world.rows("images")}


def text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_csv_of_a_spreadsheet_is_taken_in_with_its_broken_lines_named(
    world: World, source: ImageSource, tmp_path: Path
) -> None:
    """BOM, CRLF, quoted newlines, extra columns; every broken line is named with its place and the rest is archived."""
    urls = [source.add(f"/{n}.png", png(f"csv {n}")) for n in range(4)]
    (world.folder / "old.csv").write_bytes(
        (
            "\ufeffURL,Prompt,model,created_at,expires_at,campaign,note\r\n"
            f'{urls[0]},"a ""quoted"" cat,\r\non two lines",'
            "nano-banana,2026-11-01 09:00,2026-12-24T00:00:00+08:00,双十一,\r\n"
            f"{urls[1]},too few fields,m,,\r\n"
            ",no url at all,,,,,\r\n"
            "ftp://example.com/x.png,not http,,,,,\r\n"
            "\r\n"
            f"{urls[1]},bad date,,yesterday,,,\r\n"
            f"{urls[1]},bad expiry,,,1e400,,\r\n"
            f"{urls[2]},一只猫在月球上,,1793494800,1793494800000,,\r\n"
            f"{urls[3]},too,many,,,,,,fields\r\n"
            f'{urls[3]},"a quote that is never closed,,,,,\r\n'
            f'{urls[3]},"a quote" inside,,,,,\r\n'
            f"{urls[3]},before our time,,0001-01-01T00:00:00+08:00,,,\r\n"
            f"{urls[3]},after it,,,9999-12-31,,\r\n"
            f"{urls[3]},the last,,,,,x"
        ).encode()
    )
    done = world.run("backfill", "old.csv")
    assert done.returncode == 1
    assert "3 images archived, 0 lost" in done.stderr and done.stdout == ""
    said = [line for line in done.stderr.splitlines() if line.startswith("old.csv:")]
    expected = [
        ("old.csv:4: ", "5 fields instead of 7"),
        ("old.csv:5: ", "no url in this line"),
        ("old.csv:6: ", "not an absolute http or https URL"),
        ("old.csv:8: ", "created_at 'yesterday' is no time"),
        ("old.csv:9: ", "expires_at '1e400' is no time"),
        ("old.csv:11: ", "9 fields instead of 7"),
        ("old.csv:12: ", "no CSV: "),
        ("old.csv:13: ", "no CSV: "),
        ("old.csv:14: ", "created_at '0001-01-01T00:00:00+08:00' is no time"),
        ("old.csv:15: ", "expires_at '9999-12-31' is in the year 9999"),
        ("old.csv: ", "3 new, 10 broken"),
    ]
    assert len(said) == len(expected)
    for line, (place, words) in zip(said, expected, strict=True):
        assert line.startswith(place) and words in line
    rows = stories(world)
    assert set(rows) == {'a "quoted" cat,\r\non two lines', "一只猫在月球上", "the last"}
    quoted = rows['a "quoted" cat,\r\non two lines']
    assert quoted["model"] == "nano-banana"
    assert quoted["generation"]["metadata"] == {"campaign": "双十一", "backfilled_from": "old.csv:2"}
    assert quoted["generation"]["created_at"] == "2026-11-01T01:00:00.000Z", "a time without a zone is Shanghai's"
    assert [fact["at"] for fact in quoted["evidence"]] == ["2026-12-23T16:00:00.000Z"]
    assert rows["the last"]["generation"]["metadata"] == {"note": "x", "backfilled_from": "old.csv:16"}
    epoch = rows["一只猫在月球上"]
    assert epoch["generation"]["created_at"] == "2026-11-01T01:00:00.000Z" == epoch["evidence"][0]["at"]
    for row in world.sql("select key, sha256 from lineage"):
        assert hashlib.sha256((tmp_path / "archive" / row["key"]).read_bytes()).hexdigest() == row["sha256"]
    assert {row["sha256"] for row in rows.values()} == {hashlib.sha256(png(f"csv {n}")).hexdigest() for n in (0, 2, 3)}


def test_jsonl_comes_by_standard_input_too(world: World, source: ImageSource) -> None:
    """The kind of `-` is seen in its first line; broken lines are named `-:number`; values keep their types."""
    urls = [source.add(f"/{n}.png", png(f"jsonl {n}")) for n in range(4)]
    lines = [
        "\ufeff" + json.dumps({"url": urls[0], "prompt": 'two\nlines 🐈 "x"', "seed": 42, "more": {"a": [1, None]}}),
        "{not json",
        "",
        '["a list"]',
        '{"prompt": "no url"}',
        json.dumps({"url": 17, "prompt": "a number"}),
        "[" * 100_000,
        json.dumps({"url": urls[1], "created_at": [], "prompt": "odd time"}),
        json.dumps(
            {"url": urls[1], "prompt": "half \ud83d here", "created_at": "2026-11-01", "expires_at": "2027-01-01"}
        ),
        json.dumps({"url": urls[2], "prompt": "no number", "score": float("nan")}),
        json.dumps({"url": urls[2]}),
        json.dumps({"url": urls[3], "prompt": "nul \0 inside", "note": "\0"}),
    ]
    done = world.run("backfill", "-", text="\n".join(lines))
    assert done.returncode == 1, done.stderr
    said = {line.split(" ")[0]: line for line in done.stderr.splitlines()}
    broken = {
        2: "no JSON",
        4: "not a JSON object",
        5: "no url",
        6: "no url",
        7: "no JSON: nested too deeply",
        8: "no time",
    }
    for number, words in {**broken, 10: "no JSON: a number without an end, or NaN"}.items():
        assert words in said[f"-:{number}:"]
    assert "4 new, 7 broken" in said["-:"]
    assert "4 images archived, 0 lost" in done.stderr
    rows = stories(world)
    assert set(rows) == {'two\nlines 🐈 "x"', "half ? here", "", "nul \0 inside"}
    metadata = rows['two\nlines 🐈 "x"']["generation"]["metadata"]
    assert metadata == {"seed": 42, "more": {"a": [1, None]}, "backfilled_from": "stdin:1"}
    evidence = rows["half ? here"]["evidence"]
    assert [fact["at"] for fact in evidence] == ["2026-12-31T16:00:00.000Z"], "a day begins in Shanghai"
    within = datetime.fromisoformat(rows[""]["deadline"]) - datetime.fromisoformat(rows[""]["created_at"])
    assert timedelta(minutes=50) < within <= timedelta(hours=1), "without evidence it is due within the hour"


def test_the_same_lines_again_and_urls_signed_anew(world: World, source: ImageSource) -> None:
    """A file taken in twice archives each image once; a dead URL stays pending until a line brings a fresh one."""
    soon, later = (int((datetime.now(UTC) + timedelta(days=days)).timestamp()) for days in (1, 3))
    old = source.add(f"/signed.png?Expires={soon}&OSSAccessKeyId=LTAIx&Signature=old", png("signed"), status=403)
    plain = source.add("/plain.png", png("plain"))
    (world.folder / "urls.csv").write_text(f"url,prompt\n{plain},plain\n{old},signed\n{plain},plain again\n", "utf-8")
    first = world.run("backfill", "urls.csv")
    assert first.returncode == 1
    assert "urls.csv: 2 new, 1 waiting, 0 broken" in first.stderr and "1 image archived, 0 lost" in first.stderr
    (pending,) = world.rows("images", "--state", "pending")
    assert pending["prompt"] == "signed" and "answered 403" in pending["error"]
    assert f"postponed {pending['image_id']}" in first.stderr
    assert "Signature=" not in first.stderr + json.dumps(pending)

    again = world.run("backfill", "urls.csv")
    assert "urls.csv: 2 known, 1 waiting, 0 broken" in again.stderr
    assert len(world.rows("images")) == 2

    fresh = source.add(f"/signed.png?Expires={later}&OSSAccessKeyId=LTAIx&Signature=new", png("signed"))
    done = world.run("backfill", "-", text=f"url\n{fresh}\n")
    assert done.returncode == 0, done.stderr
    assert "-: 1 refreshed, 0 broken" in done.stderr and "1 image archived, 0 lost" in done.stderr
    (story,) = world.rows("show", pending["image_id"])
    assert story["state"] == "stored" and "refreshed" in [event["kind"] for event in story["events"]]
    assert story["prompt"] == "signed", "the row is the same one"
    assert len(world.rows("images")) == 2
    assert [seen.status for seen in source.requests if seen.key == "/plain.png"] == [200]


def test_odd_bytes_odd_files_and_several_at_once(world: World, source: ImageSource, tmp_path: Path) -> None:
    """Latin-1 and NUL in a file do not stop it; two files in one call; a file that is missing or a folder is exit 3."""
    urls = [source.add(f"/{n}.png", png(f"odd {n}")) for n in range(4)]
    (world.folder / "latin.csv").write_bytes(
        b"url,prompt\n" + f"{urls[0]},caf\u00e9\n".encode("latin-1") + f"{urls[1]},nul\0 inside\n".encode()
    )
    (world.folder / "more.ndjson").write_text(json.dumps({"url": urls[2], "prompt": "and more"}) + "\n", "utf-8")
    (world.folder / "no-header.csv").write_text(f"{urls[0]},a cat\n", "utf-8")
    (world.folder / "empty.csv").touch()
    (world.folder / "bom.csv").write_text(f'\ufeff"url","prompt"\n"{urls[3]}","all quoted"\n', "utf-8")
    done = world.run("backfill", "latin.csv", "more.ndjson", "no-header.csv", "empty.csv", "bom.csv")
    assert done.returncode == 1
    assert "no-header.csv: 1 waiting, 0 broken" in done.stderr, "a first line with a URL is no header"
    assert "empty.csv:1: the first line of a CSV file must name the columns" in done.stderr
    assert "4 images archived, 0 lost" in done.stderr
    assert "latin.csv:2: not UTF-8 text" in done.stderr
    prompts = {row["prompt"] for row in world.rows("images")}
    assert prompts == {"caf\ufffd", "nul\ufffd inside", "and more", "all quoted"}
    escaped = source.add("/escaped.png?a=1&b=2", png("escaped"))
    line = json.dumps({"url": escaped.replace("&", "&amp;"), "prompt": "out of a web page"})
    (world.folder / "more.ndjson").write_text(line + "\n", "utf-8")
    gone = world.run("backfill", "more.ndjson", "gone.csv")
    assert len(world.rows("images")) == 4, "a name that was mistyped stops the command before anything is taken in"
    assert gone.returncode == 2 and "cannot read gone.csv: No such file or directory" in gone.stderr
    folder = world.run("backfill", str(tmp_path))
    assert folder.returncode == 2 and "Is a directory" in folder.stderr
    assert world.run("backfill").returncode == 2
    assert "1 image archived, 0 lost" in world.run("backfill", "more.ndjson").stderr


def test_dry_run_reads_every_line_and_writes_nothing(world: World, source: ImageSource) -> None:
    """No folder is made where there is none, the catalogue stays as it is byte for byte, and no URL is touched."""
    url = source.add("/a.png", png("a"))
    lines = f"url,prompt\n{url},a cat\n,broken\n"
    bare = world.run("backfill", "--dry-run", "-", text=lines)
    assert bare.returncode == 1
    assert "-:3: no url in this line" in bare.stderr and "(dry-run) -: 1 readable, 1 broken" in bare.stderr
    assert not (world.folder / "data").exists()
    assert world.run("backfill", "--dry-run", "-", text=lines[: lines.index(",broken")]).returncode == 0
    other = source.add("/b.png", png("b"))
    world.ok("backfill", "-", text=f"url\n{other}\n")
    before = {path: path.read_bytes() for path in (world.folder / "data").rglob("*") if path.is_file()}
    world.run("backfill", "--dry-run", "-", text=lines)
    assert {path: path.read_bytes() for path in (world.folder / "data").rglob("*") if path.is_file()} == before
    assert [seen.key for seen in source.requests] == ["/b.png"]


def test_with_two_stores_one_must_be_named(tmp_path: Path, source: ImageSource) -> None:
    """Exit 2 and nothing written without `--store`; with it given twice, both get the image."""
    with OssDouble() as double:
        world = World(tmp_path / "user")
        world.keys_of(double)
        world.configure(LOOPBACK + file_section("near", tmp_path / "near") + oss_section("far", double))
        body = png("a cat")
        line = f"url,prompt\n{source.add('/a.png', body)},a cat\n"
        for arguments, words in (((), "say which store is meant"), (("--store", "nera"), "no store 'nera'")):
            refused = world.run("backfill", "-", *arguments, text=line)
            assert refused.returncode == 2 and words in refused.stderr and "near, far" in refused.stderr
        world.ok("backfill", "-", "--store", "near", "--store", "far", text=line)
        rows = {row["store"]: row for row in world.rows("lineage", "cat")}
        assert set(rows) == {"near", "far"}
        assert double.objects[rows["far"]["key"]].body == body == (tmp_path / "near" / rows["near"]["key"]).read_bytes()


def checkout(folder: Path) -> Path:
    """A copy of what scripts/ needs, with a whole `.venv` that stands for the one of these tests, so that nothing is
    installed. Returns the path of the script."""
    for part in ("scripts", "config/locks"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "pyproject.toml", folder)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    question = "import installer; print(installer._interpreter(), installer._wanted('run'), sep='|')"
    asked = subprocess.run(
        [sys.executable, "-c", question],
        env={**os.environ, "PYTHONPATH": str(folder / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    interpreter, wanted = asked.stdout.strip().split("|")
    (folder / ".venv" / "archiver-stamp.json").write_text(json.dumps({"python": interpreter, "run": wanted}))
    return folder / "scripts" / "backfill.py"


def test_the_manual_script_is_the_same_command(world: World, source: ImageSource, tmp_path: Path) -> None:
    """`python3 scripts/backfill.py` takes in what `archiver backfill` takes in, with its words and its exit codes."""
    path = checkout(tmp_path / "checkout")

    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(path), *arguments]
        return subprocess.run(
            command, cwd=world.folder, env=world.environ, capture_output=True, text=True, timeout=100, check=False
        )

    url = source.add("/a.png", png("a"))
    (world.folder / "urls.csv").write_text(f"url,prompt\n{url},a cat\n,broken\n", "utf-8")
    done = script("urls.csv")
    assert done.returncode == 1, done.stderr
    assert "urls.csv:3: no url in this line" in done.stderr and "1 image archived, 0 lost" in done.stderr
    assert [row["prompt"] for row in world.rows("lineage", "cat")] == ["a cat"]
    again, theirs = script("urls.csv", "gone.csv"), world.run("backfill", "urls.csv", "gone.csv")
    assert (again.returncode, again.stderr) == (theirs.returncode, theirs.stderr) and again.returncode == 2
    assert script("--nope").returncode == 2
