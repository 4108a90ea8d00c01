"""What nobody needs any more goes, a second time nothing does, and never what a row names."""

import hashlib
import itertools
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Owner, anyone_lives, as_text
from archiver.core.keeping import surplus
from archiver.pipeline.pruning import Prune, Pruned
from archiver.transport import Body
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.pipeline.test_forgetting import snapshot_key
from tests.pipeline.test_rebuild import dump, make, plan, rows
from tests.pipeline.workshop import START, Workshop, open_workshop

BOTH = ("near", "far")
DAY = timedelta(days=1)


@pytest.fixture
def far() -> Iterator[OssDouble]:
    with OssDouble() as far:
        yield far


@pytest.fixture
def shop(tmp_path: Path, far: OssDouble) -> Iterator[Workshop]:
    """Two images archived in two stores, one on its way; the clock of the house says what the machine's does."""
    with ImagesProvider() as double, open_workshop(tmp_path / "data", far=far, double=double) as shop:
        shop.clock.moment = shop.catalogue.born + DAY
        make(shop, "g0", "a fox", stores=BOTH)
        make(shop, "g1", "a wren", stores=BOTH)
        plan(shop, "open", "a heron", stores=BOTH)
        shop.ask("double")
        yield shop


def prune_of(shop: Workshop, **changes: Any) -> Prune:
    values: dict[str, Any] = {
        "catalogue": shop.catalogue,
        "stores": shop.pipeline.carrier.stores,
        "inbox": shop.data_dir / "inbox",
        "spool": shop.pipeline.spool,
        "parts": shop.data_dir / "parts",
        "now": shop.clock,
        "is_alone": shop.pipeline.owner.is_alone,
        "events": 180 * DAY,
        "backups": 30 * DAY,
    }
    return Prune(**(values | changes))


def told(pruned: Pruned) -> dict[tuple[str, str], int]:
    assert pruned.troubles == {}
    return {(heap.what, heap.where): heap.count for heap in pruned.heaps}


def put(shop: Workshop, name: str, body: bytes = b"left", *, age: timedelta = timedelta(hours=1)) -> Path:
    """A file below the data, last written so long ago."""
    path = shop.data_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    stamp = (shop.clock() - age).timestamp()
    os.utime(path, (stamp, stamp))
    return path


def everything(shop: Workshop, far: OssDouble) -> tuple[Any, ...]:
    """All rows, objects and files."""
    files = {
        str(path): path.read_bytes()
        for path in shop.data_dir.rglob("*")
        if path.is_file() and not path.name.startswith("catalogue.db")
    }
    return dump(shop), dict(far.objects), files


def image_of(shop: Workshop, generation_id: str) -> str:
    return str(rows(shop, f"select id from images where generation_id = '{generation_id}'")[0]["id"])


def fill(shop: Workshop) -> dict[tuple[str, str], int]:
    """One of everything that may go, and beside it one that may not. What is to go."""
    digest = hashlib.sha256(b"left").hexdigest()
    put(shop, f"spool/{image_of(shop, 'g0')}.{digest}", age=40 * DAY)
    put(shop, f"spool/unheard-of.{digest}")
    put(shop, f"spool/{image_of(shop, 'open')}.{digest}.part")
    put(shop, f"spool/{image_of(shop, 'open')}.{digest}")  # the recovery looks at it
    put(shop, f"spool/older-than-all.{digest}", age=40 * DAY)
    put(shop, "inbox/g1.answer")
    put(shop, "inbox/g1.part")
    put(shop, "inbox/open.part")
    put(shop, "parts/half")
    near = shop.data_dir / "near" / "generate" / "2026"
    near.mkdir(parents=True, exist_ok=True)
    put(shop, "near/generate/2026/.part-old", age=2 * DAY)
    put(shop, "near/generate/2026/.part-new")
    put(shop, "near/generate/2026/mine.txt", age=400 * DAY)
    for hours in (0, 1, 2, 24 * 400, 24 * 500):
        shop.pipeline.carrier.stores["near"].put_new(snapshot_key(shop, hours), Body.of(b"s"), "x", {})
    old = as_text(shop.clock() - 200 * DAY)
    with shop.catalogue._database.write() as db:
        for kind, image, generation in (
            ("postponed", "g0", None),
            ("lost", "g0", None),
            ("postponed", "open", None),
            ("resolved", None, "g1"),
            ("key-works", None, None),
        ):
            db.execute(
                "insert into events (at, kind, image_id, generation_id) values (?, ?, ?, ?)",
                (old, kind, image_of(shop, image) if image else None, generation),
            )
    return {
        ("spool file", "spool"): 3,
        ("answer", "inbox"): 2,
        ("unfinished file", "parts"): 1,
        ("old event", "catalogue"): 3,
        ("unfinished file", "near"): 1,
        ("old snapshot", "near"): 2,
    }


def test_the_plan_changes_nothing_and_says_what_then_goes_and_nothing_goes_twice(
    shop: Workshop, far: OssDouble
) -> None:
    wanted = fill(shop)
    before = everything(shop, far)
    assert told(prune_of(shop).plan()) == wanted
    assert everything(shop, far) == before
    assert told(prune_of(shop).run()) == wanted
    after = everything(shop, far)
    assert told(prune_of(shop).run()) == {} and everything(shop, far) == after
    # What is left: everything that a row names, and what nobody may say is useless.
    names = {f"{shop.data_dir}/near/{row['key']}" for row in rows(shop, "select key from copies where store = 'near'")}
    assert names - {f"{shop.data_dir}/near/None"} <= set(after[2]) and after[1] == before[1]
    assert [
        len(before[0][table]) - len(after[0][table]) for table in ("images", "copies", "generations", "events")
    ] == [
        0,
        0,
        0,
        3,
    ]
    assert {"postponed", "lost"} <= {row["kind"] for row in after[0]["events"]}
    assert sorted(path.name for path in (shop.data_dir / "near" / "generate" / "2026").iterdir() if path.is_file()) == [
        ".part-new",
        "mine.txt",
    ]


def test_while_somebody_else_lives_only_what_is_a_day_old_is_nobodys(shop: Workshop) -> None:
    for name in ("spool/old.x", "parts/old", "inbox/g0.part"):
        put(shop, name)
    shop.clock.advance(days=2)
    for name in ("spool/young.x", "parts/young", "inbox/g1.part"):
        put(shop, name)
    other = Owner(shop.data_dir / "owners", "another")
    assert not prune_of(shop).is_alone() and anyone_lives(shop.data_dir)
    assert sum(told(prune_of(shop).run()).values()) == 3
    other.close()
    assert sum(told(prune_of(shop).run()).values()) == 3


def test_an_answer_that_nobody_could_read_stays_unless_its_images_are_stored_all_the_same(shop: Workshop) -> None:
    shop.clock.advance(days=60)
    for name in ("g0", "g1", "open", "failed"):
        put(shop, f"inbox/{name}.odd", age=40 * DAY)
    put(shop, "inbox/g1.2.odd", age=20 * DAY)
    with (
        shop.catalogue._database.write() as db
    ):  # this one was asked for twice: the first answer may hold another image
        db.execute("insert into earlier_requests (generation_id, state, submitted_at) values ('g1', 'unknown', 'then')")
    assert told(prune_of(shop).run()) == {("answer", "inbox"): 1}
    assert shop.files("inbox") == ["failed.odd", "g1.2.odd", "g1.odd", "open.answer", "open.odd"]


def test_a_store_that_cannot_be_reached_stops_no_other(shop: Workshop, far: OssDouble) -> None:
    wanted = fill(shop)
    far.down()
    pruned = prune_of(shop).run()
    assert pruned.unreachable == set(pruned.troubles) == {"far"}
    far.up()
    assert {(heap.what, heap.where): heap.count for heap in pruned.heaps} == wanted


def test_one_that_is_killed_in_the_middle_is_ended_by_the_next(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events go some hundreds at a time, and the door is shut whenever somebody dies."""
    with shop.catalogue._database.write() as db:
        old = as_text(START - 900 * DAY)
        db.executemany("insert into events (at, kind) values (?, 'reused')", [(old,) for _ in range(2500)])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        die_at_the_second(patch, prune_of(shop))
        prune_of(shop).run()
    assert rows(shop, "select * from event_removals") == []
    assert told(prune_of(shop).run()) == {("old event", "catalogue"): 1500}
    assert told(prune_of(shop).plan()) == {}


def die_at_the_second(patch: pytest.MonkeyPatch, prune: Prune) -> None:
    """The process dies before it removes more events."""
    real = type(prune.catalogue.pruning).remove_events
    calls = itertools.count()

    def dying(self: Any, before: datetime, after: int = 0) -> tuple[int, int | None]:
        if next(calls):
            raise KeyboardInterrupt
        return real(self, before, after)

    patch.setattr(type(prune.catalogue.pruning), "remove_events", dying)


@pytest.mark.parametrize("seed", range(30))
def test_of_snapshots_the_newest_three_stay_and_one_of_each_month_of_a_year(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    found = [(f"k{number}", START - chance.random() * 800 * DAY) for number in range(chance.randrange(200))]
    gone = surplus(found, START, 30 * DAY)
    kept = [(key, at) for key, at in found if key not in gone]
    newest = sorted(found, key=lambda item: item[1])[-3:]
    assert set(newest) <= set(kept)
    assert all(at < START - 30 * DAY for key, at in found if key in gone)
    of_year = {f"{at:%Y-%m}" for _, at in found if at > START - 330 * DAY}
    assert of_year <= {f"{at:%Y-%m}" for _, at in kept}
    months = [f"{at:%Y-%m}" for key, at in kept if at < START - 30 * DAY and (key, at) not in newest]
    assert len(months) == len(set(months)) and len(months) <= 13
    assert surplus(kept, START, 30 * DAY) == set()


def test_only_unfinished_files_are_swept_out_of_a_folder(shop: Workshop) -> None:
    near: Any = shop.pipeline.carrier.stores["near"]
    key = rows(shop, "select key from copies where store = 'near' and key is not null")[0]["key"]
    for name in (key, "../outside/.part-x", ".part-x/../" + key):
        with pytest.raises(ValueError, match="no unfinished file"):
            near.sweep(name)
    assert near.head(key) is not None
