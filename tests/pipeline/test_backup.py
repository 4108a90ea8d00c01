"""A snapshot of the catalogue in a store, and the way back: nothing is lost on it, and nothing is paid for twice."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID

from archiver.pipeline.backup import Backup, snapshots_in
from archiver.pipeline.restore import Restore, Restored
from archiver.schedule import parse
from tests.doubles.provider import ImagesProvider
from tests.pipeline.test_rebuild import lineage, make, plan, rebuilt, rows, two_stores
from tests.pipeline.workshop import Workshop

PLENTY = 10**10


def backup_of(shop: Workshop, *stores: str, free: int = PLENTY) -> Backup:
    there = shop.pipeline.carrier.stores
    return Backup(
        catalogue=shop.catalogue,
        owner=shop.pipeline.owner,
        stores={name: there[name] for name in stores or there},
        parts=shop.data_dir / "parts",
        free=lambda: free,
        now=shop.clock,
        new_id=lambda: str(ULID.from_datetime(shop.clock())).lower(),
    )


def backed_up(shop: Workshop, *stores: str, **options: Any) -> str:
    """The key of a snapshot taken now."""
    done, _ = backup_of(shop, *stores).run(**options)
    assert [one.error for one in done] == [None] * len(done)
    return done[0].key


def restore_of(shop: Workshop, store: str = "near", *, free: int = PLENTY, jobs: tuple[str, ...] = ()) -> Restore:
    """`jobs` are names with a schedule: `cats: every 1h`."""
    texts = dict(job.split(": ") for job in jobs)
    return Restore(
        data_dir=shop.data_dir,
        owner=shop.pipeline.owner,
        store=shop.pipeline.carrier.stores[store],
        schedules={name: (parse(text, "UTC"), f"{text} (UTC)") for name, text in texts.items()},
        free=lambda: free,
        now=shop.clock,
    )


def restored(shop: Workshop, store: str = "near", **options: Any) -> Restored:
    """The newest snapshot in the catalogue's place; this process goes on with it."""
    shop.catalogue.close()
    restore = restore_of(shop, store, **options)
    return restore.run(restore.choose(), may_replace=True)


def parts(shop: Workshop) -> list[str]:
    return shop.files("parts")


def content(shop: Workshop, key: str, store: str = "near") -> bytes:
    return gzip.decompress(b"".join(shop.pipeline.carrier.stores[store].open(key)))


def test_a_snapshot_is_put_once_into_every_store_and_leaves_nothing_here(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        make(shop, "g0", "a fox")
        done, counts = backup_of(shop).run()
        assert [one.store for one in done] == ["near", "far"] and len({one.sha256 for one in done}) == 1
        assert (counts.images, counts.copies, counts.urls) == ({"stored": 1}, 2, 0)
        for one in done:
            store = shop.pipeline.carrier.stores[one.store]
            (found,) = snapshots_in(store)
            assert found.key == one.key and found.taken_at == shop.clock() and found.size == one.size
            assert one.key.removeprefix(store.prefix).startswith("_catalogue/2026/11/20/")
        assert parts(shop) == [] and [path.name for path in shop.data_dir.rglob("*.db")] == ["catalogue.db"]
        assert [row["detail"] for row in rows(shop, "select detail from events where kind = 'backed-up'")] == [
            one.key for one in done
        ]
        # The name is in no other one's way: a second one comes beside it.
        shop.clock.advance(seconds=1)
        assert backed_up(shop) != done[0].key and len(snapshots_in(shop.pipeline.carrier.stores["near"])) == 2


def test_a_store_that_takes_no_snapshot_stops_no_other(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        (tmp_path / "near").mkdir(exist_ok=True)
        (tmp_path / "near" / "_catalogue").write_text("in the way")
        done, _ = backup_of(shop).run()
        assert [(one.store, one.error is None) for one in done] == [("near", False), ("far", True)]
        assert [row["store"] for row in rows(shop, "select store from events where kind = 'backed-up'")] == ["far"]


def test_what_is_on_its_way_can_still_be_saved_after_the_disk_died_unless_it_was_left_out(tmp_path: Path) -> None:
    """Its link is in the snapshot, and only there: so the bucket must not show it to anybody."""
    with two_stores(tmp_path) as (open_in, double):
        with open_in("old") as shop:
            plan(shop, "g0", "a fox", stores=("near",))
            shop.ask("double")
            (url,) = [row["url"] for row in rows(shop, "select url from urls")]
            signature = url.partition("?")[2].encode()
            whole = backed_up(shop, "near")
            assert signature and signature in content(shop, whole)
            shop.clock.advance(minutes=1)
            bare = backed_up(shop, "near", with_urls=False)
            assert signature not in content(shop, bare) and url.encode() not in content(shop, bare)
        with open_in("new") as shop:
            shop.catalogue.close()
            restore_of(shop).run(whole, may_replace=True)
            asked = len(double.requests)
            assert len(shop.copy()) == 1 and shop.states() == ["stored"] and len(double.requests) == asked
        with open_in("bare") as shop:
            shop.catalogue.close()
            restore_of(shop).run(bare, may_replace=True)
            shop.copy()
            assert shop.states() == ["pending"] and "requeue" in str(shop.images()[0]["error"])


def test_erased_links_are_in_no_snapshot(tmp_path: Path) -> None:
    """Whatever pages of the live file they lay in: it is packed anew."""
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        plan(shop, "g0", "foxes", n=3, stores=("near",))
        shop.ask("double")
        signatures = [row["url"].partition("?")[2].encode() for row in rows(shop, "select url from urls")]
        shop.copy()
        snapshot = content(shop, backed_up(shop, "near"))
        assert len(signatures) == 3 and not any(signature in snapshot for signature in signatures)


@contextmanager
def half_way(folder: Path, images: int) -> Iterator[tuple[Any, ImagesProvider, list[dict[str, Any]]]]:
    """A catalogue with many archived images, a snapshot from the middle of its life, and then no catalogue."""
    with two_stores(folder) as (open_in, double):
        with open_in("data") as shop:
            for half in range(2):
                names = [plan(shop, f"g{half}-{number}", f"狐狸 {number}") for number in range(images // 2 - 3)]
                if half == 0:  # three more, in every state that something can be left in
                    early = [plan(shop, f"e{number}", "early") for number in range(3)]
                assert shop.ask("double") == len(names) + 3 * (half == 0) + 2 * (half == 1)
                if half == 0:
                    shop.clock.advance(seconds=3)
                    while len(shop.states()) - shop.states().count("stored") > 1:
                        ticket = shop.pipeline.next_to_copy()
                        assert ticket is not None
                        shop.pipeline.settler.settle([shop.pipeline.copy(ticket)])
                    for number in range(2):  # planned, and asked for after the snapshot
                        plan(shop, f"late{number}", "late")
                    backed_up(shop)
                shop.clock.advance(hours=1)
                shop.copy()
            assert early and set(shop.states()) == {"stored"}
            before = lineage(shop)
        for path in (folder / "data").glob("catalogue.db*"):
            path.unlink()
        yield open_in, double, before


def test_an_older_snapshot_and_the_records_since_make_the_view_equal_row_for_row(tmp_path: Path) -> None:
    with half_way(tmp_path, 40) as (open_in, double, before):
        asked = len(double.requests)
        with open_in("data") as shop:
            told = restored(shop)
            assert told.aside is not None and told.safe.in_doubt == 2 and told.holds.urls == 1
            assert len(lineage(shop)) < len(before)
            came = rebuilt(shop)
            assert came.is_whole and came.counts["waiting"] == 0
            assert lineage(shop) == before
            assert set(shop.states()) == {"stored"} and rows(shop, "select * from urls") == []
            states = rows(shop, "select distinct state from generations")
            assert [row["state"] for row in states] == ["completed"]  # what was in doubt is known now
            assert shop.ask("double") == 0 and shop.copy() == [] and len(double.requests) == asked
            assert rows(shop, "pragma foreign_key_check") == []
            assert rebuilt(shop).counts["added"] == 0 and lineage(shop) == before


def test_of_an_image_that_was_pending_then_its_record_is_believed_and_not_its_dead_link(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        plan(shop, "g0", "a fox")
        shop.ask("double")
        backed_up(shop)
        shop.copy()
        before = lineage(shop)
        restored(shop)
        assert shop.states() == ["pending"]
        dry = rebuild_count(shop)
        assert dry["missing"] == 2
        assert rebuilt(shop).counts["added"] == 2
        assert lineage(shop) == before and shop.states() == ["stored"]
        (row,) = rows(shop, "select error, not_before, spool, claimed_by, archived_at from images")
        assert (row["error"], row["not_before"], row["spool"], row["claimed_by"]) == (None, None, None, None)
        assert row["archived_at"] is not None


def rebuild_count(shop: Workshop) -> Any:
    from tests.pipeline.test_rebuild import rebuild_of

    return rebuild_of(shop).count().counts


@pytest.mark.parametrize("forgets", ["update images set archived_at = null", "update copies set confirmed_at = null"])
def test_a_copy_that_went_missing_is_not_believed_back_by_its_old_record(tmp_path: Path, forgets: str) -> None:
    """A record proves that a copy was there, once. What was stored and is wanted again is another matter."""
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        make(shop, "g0", "a fox", stores=("near",))
        with shop.catalogue._database.write() as db:
            db.execute("update images set state = 'missing'")
            db.execute("update copies set state = 'missing'")
            db.execute("update copies set state = 'wanted'")
            db.execute("update images set state = 'spooled', spool = 'x'")
            db.execute(forgets)  # either of the two is enough
        assert rebuilt(shop).counts["known"] == 1
        assert rows(shop, "select state from copies") == [{"state": "wanted"}]


def test_nothing_is_asked_for_again_by_itself_after_a_restore(tmp_path: Path) -> None:
    """Planned, asked without an answer, and accepted: in doubt, in doubt, and polled on, for that is free."""
    with two_stores(tmp_path) as (open_in, double), open_in("data") as shop:
        for name in ("planned", "asked", "accepted"):
            plan(shop, name, name)
        begin = shop.catalogue.generations.begin_submit
        begin("double", "gone", shop.clock(), ids=["asked"])
        begin("double", "gone", shop.clock(), ids=["accepted"])
        shop.catalogue.generations.accept("accepted", "gone", "task-1", shop.clock(), shop.clock())
        shop.clock.advance(milliseconds=5)
        moment = shop.clock()
        backed_up(shop)
        shop.clock.advance(hours=1)
        told = restored(shop)
        assert told.safe.in_doubt == 2 and told.taken_at == moment
        known = {row["id"]: row for row in rows(shop, "select * from generations")}
        assert {name: row["state"] for name, row in known.items()} == {
            "planned": "unknown",
            "asked": "unknown",
            "accepted": "accepted",
        }
        assert "restored from a snapshot of 2026-11-20T09:00:00.005Z" in known["planned"]["error"]
        asked = len(double.requests)
        shop.pipeline.recover(at_start=True)
        assert shop.ask("double") == 0 and len(double.requests) == asked
        # Also where the settings say that unknown outcomes are asked for again: the outcome is not unknown, but lost.
        assert not shop.catalogue.outcomes.retry_once("planned", shop.clock())
        assert shop.catalogue.outcomes.retry("planned", "by a person", shop.clock()) and shop.ask("double") == 1


def test_a_batch_that_was_gathered_then_is_looked_for_by_its_name(tmp_path: Path) -> None:
    """It may have been ordered since: what nobody ordered is given back by recovery, and asked for anew."""
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        plan(shop, "g0", "a fox")
        arguments = {"quiet_for": timedelta(0), "most": lambda _: 9, "until": shop.clock() + timedelta(minutes=1)}
        assert shop.catalogue.batches.gather("b0", "double", "gone", shop.clock(), **arguments)
        backed_up(shop)
        told = restored(shop)
        assert (told.safe.batches, told.safe.in_doubt) == (1, 0)
        shop.pipeline.recover(at_start=True)
        assert [row["state"] for row in rows(shop, "select state from batches")] == ["ordered"]
        assert [row["state"] for row in rows(shop, "select state from generations")] == ["submitted"]
        assert not shop.catalogue.outcomes.retry_once("g0", shop.clock())


@pytest.mark.parametrize(
    ("schedule", "again"),
    [("every 1h", timedelta(hours=1)), ("30 * * * *", timedelta(hours=1)), ("at 2026-11-20T11:00", None)],
)
@pytest.mark.parametrize("catch_up", ["once", "all", "skip"])
def test_a_tick_that_came_due_since_is_not_paid_for_again(
    tmp_path: Path, schedule: str, again: timedelta | None, catch_up: str
) -> None:
    """Also of a job that the snapshot has never heard of; and the next tick comes when it would have come."""
    from archiver.schedule import due, next_due

    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        job = parse(schedule, "UTC")
        first = shop.catalogue.ticks.see_job("old", f"{schedule} (UTC)", shop.clock())
        if schedule == "every 1h":
            assert shop.catalogue.ticks.plan("old", first, [], shop.clock())
        backed_up(shop)
        shop.clock.advance(hours=5, minutes=20)
        late = shop.clock()
        lost = next_due(job, first_seen=first, last=shop.catalogue.ticks.last("old"), now=late)
        restored(shop, jobs=(f"old: {schedule}", f"new: {schedule}"))
        for name in ("old", "new"):
            seen = shop.catalogue.ticks.see_job(name, f"{schedule} (UTC)", late)
            last = shop.catalogue.ticks.last(name)
            facts: dict[str, Any] = {"first_seen": seen, "last": last}
            assert due(job, now=late, catch_up=catch_up, **facts) == ()
            coming = next_due(job, now=late, **facts)
            assert (coming is None) == (again is None)
            if name == "old":
                assert coming == lost
        # One that is not configured now is not planned either, should it come back.
        assert shop.catalogue.ticks.count("old") == 1 + (schedule == "every 1h")


def test_a_job_that_is_in_no_configuration_keeps_its_past_too(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        shop.catalogue.ticks.plan("gone", shop.clock(), [], shop.clock())
        backed_up(shop)
        shop.clock.advance(days=2)
        restored(shop)
        assert shop.catalogue.ticks.last("gone") == shop.clock()
