"""A repair brings back what another copy still has, names what nobody has, and may die at any moment."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from archiver.core.auditing import Share
from archiver.core.errors import Transient, UsageError
from archiver.core.tempurl import TemporaryURL
from archiver.pipeline.rebuild import Rebuild
from archiver.pipeline.repairing import MENDED, NOWHERE, ON_ITS_WAY, plan
from archiver.pipeline.requeueing import requeue
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.pipeline.auditing import (
    archive,
    check,
    damage,
    damage_many,
    examination,
    file_of,
    mending,
    named,
    repair,
    two_folders,
)
from tests.pipeline.test_rebuild import dump, lineage, rows
from tests.pipeline.workshop import Workshop, open_workshop

EVERYTHING = Share()


def is_true(folder: Path, shop: Workshop) -> bool:
    """Whether every copy that the catalogue calls confirmed has its bytes, by another hand than the check's."""
    import hashlib

    return all(
        hashlib.sha256((folder / row["store"] / row["key"]).read_bytes()).hexdigest() == row["sha256"]
        and row["image_id"] in row["key"]
        for row in rows(shop, "select * from copies where state = 'confirmed'")
    )


def rebuilt_view(folder: Path) -> list[dict[str, Any]]:
    """The view of a catalogue that is made of the two stores alone."""
    with two_folders(folder, "rebuilt") as (shop, _):
        stores = shop.pipeline.carrier.stores
        made = Rebuild(
            catalogue=shop.catalogue,
            stores=stores,
            known=frozenset(stores),
            spool=shop.pipeline.spool,
            now=shop.clock,
            new_id=shop.new_id,
        ).run(is_alone=shop.pipeline.owner.is_alone)
        assert made.is_whole
        return lineage(shop)


@pytest.mark.parametrize("seed", [20261121])
def test_f084_what_a_second_copy_has_is_repaired_and_a_rebuild_believes_it(seed: int, tmp_path: Path) -> None:
    """24 of 120 in every way, and a lineage record; a dry run before and a second repair after change nothing."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    with two_folders(tmp_path) as (shop, double):
        ids = archive(shop, 30, n=4)
        asked = len(double.requests)
        expected = damage_many(tmp_path, shop, sorted(chance.sample(ids, 24)), chance)
        next((tmp_path / "other" / "_lineage").rglob("*.jsonl")).unlink()
        keys = {(row["image_id"], row["store"]): row["key"] for row in lineage(shop)}
        before = dump(shop)
        examination(shop, share=EVERYTHING).run()
        plan(shop.catalogue, tuple(shop.pipeline.carrier.stores), shop.pipeline.spool)
        told = shop.catalogue.audit.first(10**6)
        assert all("would be" in row["fate"] for row in told) and dump(shop) == before
        fates, code = repair(shop, share=EVERYTHING)
        assert fates == {("altered", MENDED): 18, ("missing", MENDED): 6, ("unrecorded", MENDED): 120}
        assert code == 0 and is_true(tmp_path, shop) and set(shop.states()) == {"stored"}
        moved = {(row["image_id"], row["store"]) for row in lineage(shop)} - {
            (row["image_id"], row["store"])
            for row in lineage(shop)
            if keys[row["image_id"], row["store"]] == row["key"]
        }
        assert moved == {(image_id, store) for word, store, image_id in expected if word == "altered"}
        assert {row["claim"] for row in rows(shop, "select claim from images")} == {1, 2}, "later than the old records"
        assert check(shop, share=EVERYTHING)[0] == {"foreign": 18}, "nothing was deleted"
        assert shop.files("spool") == []
        after = dump(shop)
        fates, code = repair(shop, share=EVERYTHING)
        assert fates == {("foreign", ""): 18} and code == 0 and dump(shop) == after
        assert len(double.requests) == asked, "nobody was asked for an image"
        view = lineage(shop)
    assert rebuilt_view(tmp_path) == view


def test_what_nobody_has_any_more_is_missing_and_stays_named(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        lost, saved = archive(shop, 2)
        for store in ("near", "other"):
            damage(file_of(tmp_path, shop, lost, store), "flipped")
        damage(file_of(tmp_path, shop, saved, "near"), "deleted")
        for _ in range(2):
            fates, code = repair(shop, share=EVERYTHING)
            assert code == 4 and fates.pop(("missing", MENDED), 1) == 1
            assert list(fates.values()) == [2] and all(fate == NOWHERE for _, fate in fates)
            assert sorted(shop.states()) == ["missing", "stored"]
        assert check(shop)[1] == 1, "its bytes may be well: they were not read"
        assert check(shop, share=EVERYTHING) == ({"missing": 2}, 4)
        told = rows(shop, f"select kind, store from events where image_id = '{lost}' order by id")
        assert [row["kind"] for row in told] == ["missing", "missing"]
        # Somebody brings the object back by hand.
        path = file_of(tmp_path, shop, lost, "near")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        fates, code = repair(shop, share=EVERYTHING)
        assert fates == {("missing", MENDED): 2} and code == 0
        assert shop.states() == ["stored", "stored"] and is_true(tmp_path, shop)


def test_bytes_in_the_spool_are_enough(tmp_path: Path) -> None:
    """A process died between settling and discarding. And nobody who starts meanwhile takes them away."""
    with two_folders(tmp_path) as (shop, _):
        (image_id,) = archive(shop, 1)
        path = file_of(tmp_path, shop, image_id, "near")
        (name,) = (f"{image_id}.{row['sha256']}" for row in rows(shop, "select sha256 from images"))
        content = path.read_bytes()
        for store in ("near", "other"):
            file_of(tmp_path, shop, image_id, store).unlink()
        assert repair(shop)[1] == 4 and shop.states() == ["missing"]
        (shop.data_dir / "spool" / name).write_bytes(content)
        shop.pipeline.recover(at_start=True)
        shop.clock.advance(days=900)
        shop.pipeline.recover()
        assert shop.files("spool") == [name]
        assert repair(shop) == ({("missing", MENDED): 2}, 0)
        assert shop.states() == ["stored"] and shop.files("spool") == [] and is_true(tmp_path, shop)


def test_an_image_that_still_waits_for_one_store_loses_its_copy_in_the_other(tmp_path: Path) -> None:
    with (
        OssDouble() as far,
        ImagesProvider() as double,
        open_workshop(tmp_path, far=far, double=double) as shop,
    ):
        shop.plan("double", "a fox", stores=("near", "far"))
        shop.ask("double")
        far.down()
        shop.copy()
        assert shop.states() == ["spooled"]
        next((tmp_path / "near").rglob("*.png")).unlink()
        fates, code = repair(shop, "near")
        assert fates == {("missing", ON_ITS_WAY): 1} and code == 1
        far.up()
        shop.clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["stored"] and check(shop, share=EVERYTHING)[1] == 0


def test_a_spool_file_that_rotted_comes_back_from_a_copy(tmp_path: Path) -> None:
    with (
        OssDouble() as far,
        ImagesProvider() as double,
        open_workshop(tmp_path, far=far, double=double) as shop,
    ):
        shop.plan("double", "a fox", "a wren", stores=("near", "far"))
        shop.ask("double")
        far.down()
        shop.copy()
        gone, rotten = (tmp_path / "spool" / name for name in shop.files("spool"))
        gone.unlink()
        damage(rotten, "flipped")
        fates, _ = repair(shop, "near", share=EVERYTHING)
        assert fates == {("spool-missing", MENDED): 1, ("spool-rotten", MENDED): 1}
        assert check(shop, "near", share=EVERYTHING) == ({}, 0)


class Killed(BaseException):
    """A process that ends there and then."""


def die(*_: object, **__: object) -> Any:
    raise Killed


def die_reading(spool: Any, image_id: str, sha256: str, pieces: Iterable[bytes]) -> Any:
    assert list(pieces)
    raise Killed


def afterwards(method: Callable[..., Any]) -> Callable[..., Any]:
    def act(*arguments: Any, **more: Any) -> Any:
        method(*arguments, **more)
        raise Killed

    return act


POINTS = ("miss", "refill", "recover", "transfer", "put", "lineage", "settle", "record")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("way", ["repair", "drain"])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_repair_that_is_killed_leaves_what_the_next_one_completes(
    point: str, way: str, is_after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two_folders(tmp_path) as (shop, _):
        ids = archive(shop, 4)
        damage(file_of(tmp_path, shop, ids[0], "near"), "deleted")
        damage(file_of(tmp_path, shop, ids[1], "other"), "flipped")
        for path in (tmp_path / "near" / "_lineage").rglob("*.jsonl"):
            path.unlink()
        shop.clock.advance(minutes=5)
        marks = type(shop.catalogue.audit_marks)
        near = type(shop.pipeline.carrier.stores["near"])
        from archiver.pipeline import lineage as records
        from archiver.pipeline.spool import Spool
        from archiver.pipeline.transfer import Carrier

        owner, name = {
            "miss": (marks, "miss"),
            "refill": (Spool, "refill"),
            "recover": (marks, "recover"),
            "transfer": (Carrier, "transfer"),
            "put": (near, "put_new"),
            "lineage": (records, "write"),
            "settle": (type(shop.catalogue.images), "settle"),
            "record": (marks, "record"),
        }[point]
        examination(shop, share=EVERYTHING).run()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            before = die_reading if name == "refill" else die
            patch.setattr(owner, name, afterwards(getattr(owner, name)) if is_after else before)
            mending(shop).run()
        assert (point, is_after) == ("miss", False) or is_true(tmp_path, shop), (
            "nothing that is gone is called confirmed"
        )
    with two_folders(tmp_path) as (shop, _):
        shop.clock.advance(minutes=20)
        shop.pipeline.recover(at_start=True)
        if way == "drain":
            shop.copy()
        repair(shop, share=EVERYTHING)
        assert set(shop.states()) == {"stored"} and is_true(tmp_path, shop)
        assert check(shop, share=EVERYTHING)[0].keys() <= {"foreign"}
        assert shop.files("spool") == []


def test_what_was_recovered_and_no_further_is_ended_by_the_next_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a check finds nothing any more, because the image is on its way."""
    with two_folders(tmp_path) as (shop, _):
        (image_id,) = archive(shop, 1)
        damage(file_of(tmp_path, shop, image_id, "near"), "deleted")
        shop.clock.advance(minutes=5)
        examination(shop).run()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr("archiver.pipeline.transfer.Carrier.transfer", die)
            mending(shop).run()
        assert shop.states() == ["spooled"]
    with two_folders(tmp_path) as (shop, _):
        assert check(shop) == ({}, 0)
        shop.clock.advance(minutes=20)
        assert repair(shop) == ({}, 0) and shop.states() == ["stored"] and is_true(tmp_path, shop)


def test_another_process_at_work_is_not_disturbed(tmp_path: Path) -> None:
    """It copies what is asked for while a repair runs; no image is claimed by both."""
    with two_folders(tmp_path) as (shop, _), two_folders(tmp_path) as (daemon, _):
        ids = archive(shop, 4)
        damage(file_of(tmp_path, shop, ids[0], "near"), "deleted")
        daemon.plan("double", "one", "two", stores=("near", "other"))
        daemon.ask("double")
        claimed = daemon.pipeline.next_to_copy()
        assert claimed is not None
        assert repair(shop, share=EVERYTHING) == ({("missing", MENDED): 1}, 0)
        daemon.pipeline.settler.settle([daemon.pipeline.copy(claimed)])
        daemon.copy()
        assert set(shop.states()) == {"stored"} and is_true(tmp_path, shop)
        assert rows(shop, "select count(*) as n from events where kind <> 'missing' and kind <> 'recovered'") == [
            {"n": 0}
        ]
        assert check(shop, share=EVERYTHING) == ({}, 0)


def test_a_source_that_cannot_be_read_now_is_not_called_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> Any:
        raise Transient("a pause")

    with two_folders(tmp_path) as (shop, _):
        (image_id,) = archive(shop, 1)
        damage(file_of(tmp_path, shop, image_id, "near"), "deleted")
        with monkeypatch.context() as patch:
            patch.setattr(type(shop.pipeline.carrier.stores["near"]), "open", down)
            fates, code = repair(shop)
        ((_, fate),) = fates
        assert "not brought back yet" in fate and code == 1 and shop.states() == ["missing"]
        assert repair(shop) == ({("missing", MENDED): 1}, 0)


def test_with_an_object_store_too(tmp_path: Path) -> None:
    """Another copy in OSS: what was written over gets another key, what is gone the same one."""
    with OssDouble() as far, ImagesProvider() as double, open_workshop(tmp_path, far=far, double=double) as shop:
        ids = archive(shop, 6, stores=("near", "far"))
        keys = {row["image_id"]: row["key"] for row in lineage(shop) if row["store"] == "far"}
        held = far.objects[keys[ids[0]]]
        far.objects[keys[ids[0]]] = type(held)(b"theirs", held.headers, {}, held.modified)
        del far.objects[keys[ids[1]]]
        near = {row["image_id"]: row["key"] for row in lineage(shop) if row["store"] == "near"}
        damage(tmp_path / "near" / near[ids[2]], "flipped")
        fates, code = repair(shop, share=EVERYTHING)
        assert fates == {("altered", MENDED): 2, ("missing", MENDED): 1} and code == 0
        now = {row["image_id"]: row["key"] for row in lineage(shop) if row["store"] == "far"}
        assert {image_id for image_id in ids if now[image_id] != keys[image_id]} == {ids[0]}
        assert far.objects[keys[ids[0]]].body == b"theirs" and ids[0] in now[ids[0]]
        assert check(shop, share=EVERYTHING)[0] == {"foreign": 2}


# --- a fresh URL -----------------------------------------------------------------------------------------------------


def fresh(double: ImagesProvider, shop: Workshop, prompt: str) -> TemporaryURL:
    """A URL of the provider's for an image of this prompt."""
    shop.plan("double", prompt)
    shop.ask("double")
    url = rows(shop, "select url from urls order by seq desc limit 1")[0]["url"]
    shop.copy()
    return TemporaryURL(url)


def test_a_lost_image_is_archived_with_a_fresh_url(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, double):
        url = fresh(double, shop, "a fox")
        shop.plan("double", "a wren")
        shop.ask("double")
        lost = shop.images()[-1]["image_id"]
        with pytest.raises(UsageError, match="on its way"):
            requeue(shop.catalogue, lost, url, shop.clock())
        assert shop.catalogue.images.lose(lost, shop.clock())
        shop.copy()
        requeue(shop.catalogue, lost, url, shop.clock())
        (row,) = rows(shop, f"select deadline_from, state, evidence from images where id = '{lost}'")
        assert row["state"] == "pending" and row["evidence"] != "[]"
        shop.copy()
        assert set(shop.states()) == {"stored"}
        for name, said in ((lost, "needs no URL"), ("nobody", "there is no image")):
            with pytest.raises(UsageError, match=said):
                requeue(shop.catalogue, name, url, shop.clock())
        kinds = [row["kind"] for row in rows(shop, f"select kind from events where image_id = '{lost}' order by id")]
        assert kinds == ["lost", "requeued"]


@pytest.mark.parametrize("is_same", [True, False])
def test_a_missing_image_that_comes_with_other_bytes_says_so(is_same: bool, tmp_path: Path) -> None:
    """It is archived all the same, under a key of its own; and a rebuild knows which bytes were the last."""
    with two_folders(tmp_path) as (shop, double):
        image_id = archive(shop, 1)[0]
        before = {row["store"]: row["key"] for row in lineage(shop)}
        url = fresh(double, shop, "prompt 0" if is_same else "something else")
        damage(file_of(tmp_path, shop, image_id, "near"), "deleted")
        with pytest.raises(UsageError, match="needs no URL"):
            requeue(shop.catalogue, image_id, url, shop.clock())
        damage(file_of(tmp_path, shop, image_id, "other"), "flipped")
        assert repair(shop, share=EVERYTHING)[1] == 4
        shop.clock.advance(seconds=9)
        requeue(shop.catalogue, image_id, url, shop.clock())
        shop.copy()
        assert set(shop.states()) == {"stored"} and is_true(tmp_path, shop)
        after = {row["store"]: row["key"] for row in lineage(shop) if row["image_id"] == image_id}
        changed = rows(shop, f"select detail from events where image_id = '{image_id}' and kind = 'changed'")
        assert len(changed) == (not is_same) and (after["near"] == before["near"]) == is_same
        assert after["other"] != before["other"]
        view = lineage(shop)
    assert rebuilt_view(tmp_path) == view


def test_an_image_with_a_good_copy_is_refused_a_url(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, double):
        image_id = archive(shop, 1)[0]
        url = fresh(double, shop, "another")
        damage(file_of(tmp_path, shop, image_id, "near"), "deleted")
        examination(shop).run()
        shop.catalogue.audit_marks.miss([image_id], shop.clock())
        assert ("missing", "near", image_id) in named(shop)
        with pytest.raises(UsageError, match="archiver repair"):
            requeue(shop.catalogue, image_id, url, shop.clock())
        assert "missing" in shop.states()
