"""A catalogue that is gone comes back from the buckets alone: the view `lineage`, row for row."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Draft
from archiver.core.errors import Transient
from archiver.pipeline.planning import inputs_of
from archiver.pipeline.rebuild import Rebuild, Rebuilt
from archiver.transport import Body
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.pipeline.workshop import Workshop, open_workshop

BOTH = ("near", "far")
PROMPTS = ("雪中的红狐狸", "a fox, 'quoted' \"twice\" \\ and\nbroken", "🦊 𠮷野家 e\u0301", "")


def rows(shop: Workshop, statement: str) -> list[dict[str, Any]]:
    """Straight from the file."""
    return [dict(row) for row in shop.catalogue._database.rows(statement)]


def lineage(shop: Workshop) -> list[dict[str, Any]]:
    """The whole view."""
    return rows(shop, "select * from lineage order by image_id, store")


def rebuild_of(shop: Workshop, *names: str) -> Rebuild:
    stores = shop.pipeline.carrier.stores
    return Rebuild(
        catalogue=shop.catalogue,
        stores={name: stores[name] for name in names or stores},
        known=frozenset(stores),
        spool=shop.pipeline.spool,
        now=shop.clock,
        new_id=shop.new_id,
    )


def rebuilt(shop: Workshop, *names: str) -> Rebuilt:
    return rebuild_of(shop, *names).run(is_alone=shop.pipeline.owner.is_alone)


def plan(shop: Workshop, name: str, prompt: str, stores: tuple[str, ...] = BOTH, **more: Any) -> str:
    draft = Draft(id=name, origin="generate", prompt=prompt, provider="double", model="m", stores=stores, **more)
    shop.catalogue.generations.add([draft], shop.clock())
    return name


def make(shop: Workshop, name: str, prompt: str, said: dict[str, Any] | None = None, **more: Any) -> list[str]:
    """Plan, ask and archive one generation; `said` is what the provider had said of it. The ids of its images."""
    plan(shop, name, prompt, **more)
    assert shop.ask("double") == 1
    with shop.catalogue._database.write() as db:
        for column, value in (said or {}).items():
            db.execute(f"update generations set {column} = ? where id = ?", (value, name))
    shop.clock.advance(seconds=7)
    shop.copy()
    return [row["id"] for row in rows(shop, f"select id from images where generation_id = '{name}' order by idx")]


def fill(shop: Workshop, chance: random.Random) -> None:
    """Images of every kind: several per request, edits of edits, dialogues, one or two stores, a whole tick."""
    known: list[str] = []
    for number in range(24):
        said: dict[str, Any] = {"cost_micro": chance.randrange(10**6), "reply": chance.choice(PROMPTS)}
        more: dict[str, Any] = {"n": chance.choice((1, 1, 2, 3)), "tags": tuple(chance.sample(["a", "夏", "c"], 2))}
        if chance.random() < 0.5:
            parameters = {"画风": {"b": 1.5, "a": [None, True, 1e300]}, "quality": "high"}
            said["parameters"] = json.dumps(parameters, ensure_ascii=False, sort_keys=True)
        if known and chance.random() < 0.4:
            named = [f"image:{image}" for image in chance.sample(known, min(len(known), chance.choice((1, 2))))]
            more["inputs"] = inputs_of(shop.catalogue, named)
        elif number and chance.random() < 0.4:
            more["continues"] = f"g{chance.randrange(number)}"
        more["stores"] = chance.choice((("near",), ("far",), BOTH))
        known += make(shop, f"g{number}", chance.choice(PROMPTS) or f"p{number}", said, **more)
    drafts = [
        Draft(id=f"t{at}", origin="job", job="cats", prompt="p", provider="double", model="m", stores=BOTH, position=at)
        for at in range(3)
    ]
    assert shop.catalogue.ticks.plan("cats", shop.clock(), drafts, shop.clock())
    shop.ask("double")
    shop.copy()


@contextmanager
def two_stores(folder: Path) -> Iterator[tuple[Any, ImagesProvider]]:
    """What makes a process: `near` and the double's bucket outlive every catalogue."""
    with OssDouble() as far, ImagesProvider() as double:
        yield lambda name: open_workshop(folder / name, near=folder / "near", far=far, double=double), double


@pytest.mark.parametrize("seed", [20261120])
def test_the_view_is_equal_row_for_row_and_a_second_time_changes_nothing(seed: int, tmp_path: Path) -> None:
    print(f"seed {seed}")
    with two_stores(tmp_path) as (open_in, double):
        with open_in("old") as shop:
            fill(shop, random.Random(seed))
            before = lineage(shop)
            assert len(before) > 50 and {row["store"] for row in before} == set(BOTH)
            assert any(row["parent_image_id"] for row in before) and any(row["continues"] for row in before)
            ticks = rows(shop, "select job, scheduled_for from ticks")
        asked = len(double.requests)
        with open_in("new") as shop:
            came = rebuilt(shop)
            assert lineage(shop) == before
            assert came.is_whole and came.counts["added"] == len(before) and not came.named
            assert shop.catalogue.counters.differences() == []
            assert not any(came.counts[word] for word in ("waiting", "lost", "loose", "known"))
            assert set(shop.states()) == {"stored"}
            assert rows(shop, "select job, scheduled_for from ticks") == ticks
            whole = dump(shop)
            again = rebuilt(shop)
            assert again.counts["known"] == len(before) and not again.counts["added"]
            assert dump(shop) == whole
            # And it is one to go on with: an edit of what came back, a dialogue, the same tick again.
            assert shop.copy() == [] and shop.ask("double") == 0
            assert rows(shop, "select min(claim) as least from images")[0]["least"] >= 1
            parent = before[0]["image_id"]
            (child,) = make(shop, "later", "in spring", inputs=inputs_of(shop.catalogue, [f"image:{parent}"]))
            make(shop, "talk", "with a hat", continues="g0")
            assert {row["parent_image_id"] for row in lineage(shop) if row["image_id"] == child} == {parent}
            assert not shop.catalogue.ticks.plan("cats", before_tick(ticks), [], shop.clock())
            assert len(double.requests) == asked + 2 and rows(shop, "pragma foreign_key_check") == []
            assert rows(shop, "pragma integrity_check") == [{"integrity_check": "ok"}]


def dump(shop: Workshop) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    names = [row["name"] for row in rows(shop, "select name from sqlite_master where type = 'table'")]
    return {name: rows(shop, f"select * from {name}") for name in names}


def before_tick(ticks: list[dict[str, Any]]) -> Any:
    from archiver.catalogue import as_time

    return as_time(ticks[0]["scheduled_for"])


def test_one_that_died_in_the_middle_left_a_good_catalogue_and_another_one_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything was linked and stored. And in between a daemon worked on what was there."""
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            fill(shop, random.Random(4))
            before = lineage(shop)
        with open_in("new") as shop:
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(type(shop.catalogue.rebuilding), "stand_in", interrupt)
                rebuilt(shop, "near")
            assert set(shop.states()) == {"pending"}
            assert rows(shop, "pragma foreign_key_check") == []
        with open_in("new") as shop:
            shop.copy()
            make(shop, "new", "a wren")
            new = [row for row in lineage(shop) if row["generation_id"] == "new"]
            assert set(shop.states()) == {"stored"}
            assert rebuilt(shop).is_whole
            assert [row for row in lineage(shop) if row not in new] == before


def interrupt(*_: object) -> int:
    raise KeyboardInterrupt


def test_stores_may_be_read_one_after_the_other(tmp_path: Path) -> None:
    """The records of each tell of its own copies; what the other one knows is added later, to rows that are there."""
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            first = make(shop, "g0", "a fox", stores=("far",))
            make(shop, "g1", "in winter", inputs=inputs_of(shop.catalogue, [f"image:{first[0]}"]))
            before = lineage(shop)
        with open_in("new") as shop:
            half = rebuilt(shop, "near")
            # Its parent is in the other one: until that is read, it counts as nobody's.
            assert half.counts["added"] == 1 and half.counts["loose"] == 2
            assert lineage(shop) == [
                {**row, "parent_image_id": None, "inputs": nobody(row["inputs"])}
                for row in before
                if row["store"] == "near"
            ]
            assert rebuilt(shop, "near", "far").counts["added"] == 2
            assert lineage(shop) == before and set(shop.states()) == {"stored"}


def nobody(inputs: str) -> str:
    return json.dumps([{**item, "image_id": None} for item in json.loads(inputs)], separators=(",", ":"))


def test_what_records_refer_to_and_none_tells_of_has_a_row_that_stands_in(tmp_path: Path) -> None:
    """A lost parent, a lost sibling that shared the cost, and a turn of words alone."""
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            plan(shop, "g0", "three foxes", n=3, stores=("near",))
            shop.ask("double")
            lost = shop.images()[0]["image_id"]
            assert shop.catalogue.images.lose(lost, shop.clock())
            plan(shop, "words", "tell me of foxes")
            assert shop.catalogue.generations.begin_submit("double", "o", shop.clock())
            said = {"answered_at": shop.clock(), "now": shop.clock(), "reply": "狐狸 are red"}
            assert shop.catalogue.generations.complete("words", [], **said)
            plan(shop, "talk", "draw it", continues="words")
            shop.ask("double")
            with shop.catalogue._database.write() as db:
                db.execute("update images set parent_image_id = ? where generation_id = 'talk'", (lost,))
                db.execute("update generations set cost_micro = 100000 where id = 'g0'")
            shop.copy()
            before = lineage(shop)
            dialogue = shop.catalogue.materials.dialogue("talk")
            assert dialogue[0].reply == "狐狸 are red"
        with open_in("new") as shop:
            came = rebuilt(shop)
            assert lineage(shop) == before and before[0]["cost_usd"] == 0.1 / 3
            assert came.counts["lost"] == 1 and came.counts["loose"] == 0
            assert rows(shop, "select id from images where state = 'lost'") == [{"id": lost}]
            assert shop.catalogue.materials.dialogue("talk") == dialogue


def test_the_later_claim_tells_the_truth_of_a_copy_with_two_records(tmp_path: Path) -> None:
    """A worker died between its record and its transaction; or it slept, and its record came after the true one."""
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            plan(shop, "g0", "a fox", stores=("near",))
            shop.ask("double")
            for sleeper_is_late in (False, True):
                plan(shop, f"s{sleeper_is_late}", "a wren", stores=("near",))
                shop.ask("double")
            stale = []
            while (ticket := shop.pipeline.next_to_copy()) is not None:
                stale.append(shop.pipeline.copy(ticket))
            shop.pipeline.settler._record(stale[:2], shop.clock())
            shop.catalogue.images.free(shop.pipeline.owner.id)
            shop.clock.advance(hours=1)
            assert len(shop.copy()) == 3
            shop.clock.advance(hours=1)
            shop.pipeline.settler.settle(stale[2:])
            before = lineage(shop)
        with open_in("new") as shop:
            assert rebuilt(shop).counts["repeated"] == 3
            assert lineage(shop) == before


def test_a_copy_that_was_not_made_yet_is_made_from_the_one_that_was(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            plan(shop, "g0", "a fox", stores=BOTH)
            shop.ask("double")
            ticket = shop.pipeline.next_to_copy()
            assert ticket is not None
            outcome = shop.pipeline.copy(ticket)
            shop.pipeline.settler._record([only(outcome, "near")], shop.clock())
        with open_in("new") as shop:
            assert rebuilt(shop).counts["waiting"] == 1
            assert shop.states() == ["pending"]
            shop.copy()
            assert shop.states() == ["stored"] and [row["store"] for row in lineage(shop)] == ["far", "near"]


def only(outcome: Any, store: str) -> Any:
    from dataclasses import replace

    return replace(outcome, receipts=tuple(item for item in outcome.receipts if item.store == store))


def test_bytes_in_the_spool_that_no_row_names_are_taken_in(tmp_path: Path) -> None:
    """They may be all that is left of an image, and the next process would sweep them away."""
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            make(shop, "g0", "a fox")
            (key,) = [row["key"] for row in lineage(shop) if row["store"] == "near"]
            orphan = Body.of(b"".join(shop.pipeline.carrier.stores["near"].open(key)))
        with open_in("new") as shop:
            name = shop.pipeline.spool.keep("orphan", orphan)
            (shop.data_dir / "spool" / f"torn.{'0' * 64}").write_bytes(b"torn")
            assert rebuilt(shop).counts["rescued"] == 1
            shop.pipeline.recover(at_start=True)
            assert shop.files("spool") == [name]
            shop.copy()
            assert shop.files("spool") == []
            assert rows(shop, "select state from images where id = 'orphan'") == [{"state": "stored"}]


FOREIGN = {
    "_lineage/2026/11/20/note.txt": b"hello",
    "_lineage/readme.jsonl": b"{}",
    "_lineage/2026/11/20/torn.jsonl": b'{"v": 1, "prompt": "half',
    "_lineage/2026/11/20/newer.jsonl": b'{"v": 2}\n',
    "_lineage/2026/11/20/other.jsonl": b'[1]\n"x"\nnull\n\xff\xfe\n{"a": "\\ud800"}\n',
    "_lineage/2026/11/20/deep.jsonl": b"[" * 100_000,
}


def test_damaged_and_foreign_records_are_named_and_stop_nothing(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            make(shop, "g0", "a fox", stores=("near",))
            near = shop.pipeline.carrier.stores["near"]
            (key,) = [found.key for found in near.list("_lineage/")]
            good = json.loads(b"".join(near.open(key)))
            for number, change in enumerate(
                (
                    {"sha256": "x"},
                    {"size": -1},
                    {"size": 2**70},
                    {"archived_at": "yesterday"},
                    {"key": None},
                    {"key": "a\nb"},
                    {"tags": {"a": 1}},
                    {"kin": [1]},
                    {"inputs": ["x"]},
                    {"image": []},
                    {"image_id": "twin", "generation_id": "gtwin"},
                    {"generation": {"origin": "dream"}},
                )
            ):
                put(near, f"_lineage/2026/11/20/bad{number}.jsonl", json.dumps(good | change).encode())
            for name, content in FOREIGN.items():
                put(near, name, content)
            before = lineage(shop)
        with open_in("new") as shop:
            came = rebuilt(shop, "near")
            assert lineage(shop) == before
            assert (came.counts["foreign"], came.counts["damaged"]) == (2, 12 + 8)
            assert not came.is_whole and len(came.named) == 20
            # And one that would be well, but for what is known already.
            put(near, "_lineage/2026/11/20/zz.jsonl", json.dumps(good | {"sha256": "0" * 64, "kin": []}).encode())
            assert rebuilt(shop, "near").counts["contradicting"] == 1
            assert lineage(shop) == before


def put(store: Any, key: str, content: bytes) -> None:
    store.put_new(key, Body.of(content), "text/plain", {})


def test_records_that_cannot_be_read_now_are_told_of_and_nobody_is_called_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            make(shop, "g0", "a fox", stores=("near",))
        with open_in("new") as shop:
            near = shop.pipeline.carrier.stores["near"]
            with monkeypatch.context() as patch:
                patch.setattr(type(near), "open", refuse)
                came = rebuilt(shop, "near")
            assert came.counts["unreadable"] == 1 and not came.is_whole and came.named[0]["reason"] == "a pause"
            assert rebuilt(shop, "near").is_whole and shop.states() == ["stored"]


def refuse(*_: object) -> Any:
    raise Transient("a pause")


def test_a_record_of_an_earlier_version_says_less_and_is_enough(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _):
        with open_in("old") as shop:
            make(shop, "g0", "a fox", stores=("near",), n=2)
            with shop.catalogue._database.write() as db:
                db.execute("update generations set cost_micro = 240000")
            before = lineage(shop)
            near = shop.pipeline.carrier.stores["near"]
            (key,) = [found.key for found in near.list("_lineage/")]
            lines = [json.loads(line) for line in b"".join(near.open(key)).splitlines()]
            near.delete(key)
            for line in lines:
                for name in ("generation", "image", "kin"):
                    del line[name]
                line["cost_usd"] = 0.12
            put(near, key, "\n".join(map(json.dumps, lines)).encode())
        with open_in("new") as shop:
            assert rebuilt(shop, "near").is_whole
            assert lineage(shop) == before
