"""A backfill that is killed again and again: what can be rescued is archived once, whatever was under way."""

import csv
import random
import signal
import time
from collections import Counter
from pathlib import Path

from tests.doubles.pngs import png
from tests.doubles.source import ImageSource
from tests.world import World, file_section

LOOPBACK = '[fetch]\nallow_cidrs = ["127.0.0.1/32"]\n'


def stored(world: World) -> int:
    """How many images the catalogue holds as archived."""
    if not (world.folder / "data" / "catalogue.db").exists():
        return 0
    tables = world.sql("select name from sqlite_master where name = 'images'")
    return int(world.sql("select count(*) as n from images where state = 'stored'")[0]["n"]) if tables else 0


def killed_at(world: World, least: int, *arguments: str) -> None:
    """Start a backfill, and kill it as soon as so many images are archived."""
    process = world.start("backfill", *arguments)
    end = time.monotonic() + 100
    while stored(world) < least and process.poll() is None:
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it was killed"
    assert world.stop(process, signal.SIGKILL) == -signal.SIGKILL


def test_killed_three_times_and_every_image_is_archived_once(tmp_path: Path) -> None:
    """kill -9 while it copies, then once to the end: one image and one object per URL, with the bytes that were served;
    what is dead stays dead; the report tells of each; once more changes nothing."""
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    world = World(tmp_path / "user")
    world.configure(LOOPBACK + file_section("main", tmp_path / "archive"))
    with ImageSource() as source:
        count = 240
        urls = [source.add(f"/{n}.png?x={n}&y=1", png(f"killed {n}")) for n in range(count)]
        dead = [source.add(f"/dead-{n}.png", png("dead"), status=403) for n in range(3)]
        lines = [f'{url},"no. {n}"' for n, url in enumerate(urls + dead)]
        rng.shuffle(lines)
        (world.folder / "all.csv").write_text("url,prompt\n" + "\n".join(lines + lines[:20]) + "\n", "utf-8")
        for least in sorted(rng.sample(range(1, count * 3 // 4), 3)):
            killed_at(world, least, "all.csv", "--report", "report.csv")
        done = world.run("backfill", "all.csv", "--report", "report.csv")
        assert done.returncode == 1 and ", 0 lost" in done.stderr
        rows = world.sql("select prompt, key, sha256 from lineage")
        assert Counter(row["prompt"] for row in rows) == Counter(f"no. {n}" for n in range(count))
        objects = [path for path in (tmp_path / "archive").rglob("*.png") if path.is_file()]
        assert len(objects) == len({row["key"] for row in rows}) == count
        assert {path.read_bytes() for path in objects} == {png(f"killed {n}") for n in range(count)}
        with (world.folder / "report.csv").open(newline="") as text:
            report = list(csv.DictReader(text))
        assert Counter(row["state"] for row in report) == {"stored": count, "pending": len(dead)}
        assert all(row["source"] == "all.csv" and int(row["line"]) > 1 for row in report)
        assert all(("y=1" not in row["url"]) and (row["key"] or row["error"]) for row in report)
        assert not [path for path in world.folder.iterdir() if path.name.endswith((".part", ".new"))]
        asked = len(source.requests)
        again = world.run("backfill", "all.csv")
        assert f"{count} archived already" in again.stderr and len(source.requests) <= asked + len(dead)
