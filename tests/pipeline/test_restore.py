"""Putting a snapshot in the catalogue's place: what is refused, what a death leaves, and what stays on the disk."""

import gzip
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Catalogue, Owner
from archiver.catalogue.snapshots import close_down
from archiver.core.errors import Unusable, UsageError
from archiver.pipeline.backup import snapshots_in
from archiver.pipeline.restore import Restore, put_in_place, shrink
from archiver.transport import Body
from tests.doubles.provider import ImagesProvider
from tests.pipeline.test_backup import PLENTY, backed_up, backup_of, content, parts, restore_of, restored
from tests.pipeline.test_rebuild import lineage, make, plan, rebuilt, rows, two_stores
from tests.pipeline.workshop import Workshop, open_workshop


def files(shop: Workshop) -> list[str]:
    """What lies in the data folder itself, without the folders."""
    return sorted(path.name for path in shop.data_dir.iterdir() if path.is_file())


def put(shop: Workshop, data: bytes, name: str = "01kag2m5x8f3w9y7b1q0z4c6de") -> str:
    """Somebody's file in a snapshot's place. Its name is one of a moment of that day."""
    key = f"_catalogue/2025/11/20/{name}.db.gz"
    shop.pipeline.carrier.stores["near"].put_new(key, Body.of(data), "application/gzip", {})
    return key


def refused(shop: Workshop, key: str, words: str, error: type[Exception] = Unusable, **options: Any) -> None:
    """Nothing has changed, and nothing is left."""
    shop.catalogue.close()
    path = shop.data_dir / "catalogue.db"
    before, there = path.read_bytes(), files(shop)
    for act in (restore_of(shop, **options).run, restore_of(shop, **options).drill):
        with pytest.raises(error, match=words):
            act(key, **({"may_replace": True} if act.__name__ == "run" else {}))
        assert path.read_bytes() == before and files(shop) == there and parts(shop) == []


def damaged(snapshot: bytes, how: str) -> bytes:
    """A snapshot, packed again, with something wrong."""
    noise = bytearray(snapshot)
    if how == "page":
        noise[4096 * 3 : 4096 * 4] = b"\xa5" * 4096
    elif how == "foreign":
        noise[68:72] = b"\0\0\0\1"
    elif how == "truncated":
        noise = noise[: len(noise) // 2]
    elif how == "garbage":
        noise = bytearray(os.urandom(20_000))
    elif how == "empty":
        noise = bytearray()
    return gzip.compress(bytes(noise))


@pytest.mark.parametrize("how", ["page", "foreign", "truncated", "garbage", "empty"])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, how: str) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        make(shop, "g0", "a fox")
        whole = content(shop, backed_up(shop, "near"))
        refused(shop, put(shop, damaged(whole, how)), "cannot be used: ")


@pytest.mark.parametrize("how", ["cut", "noise", "bomb"])
def test_what_is_no_whole_gzip_or_has_no_room_is_refused(tmp_path: Path, how: str) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        data = b"".join(shop.pipeline.carrier.stores["near"].open(backed_up(shop, "near")))
        bomb = gzip.compress(bytes(30_000_000))
        what = {"cut": data[:-30], "noise": b"no gzip", "bomb": bomb}[how]
        words = "has no room on this disk" if how == "bomb" else "is damaged"
        refused(shop, put(shop, what), words, free=5_000_000)


def test_a_row_without_the_one_it_refers_to_is_damage(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        make(shop, "g0", "a fox", stores=("near",))
        raw = shop.catalogue._database.connection
        raw.execute("pragma foreign_keys=off")
        raw.execute("update inputs set generation_id = 'nobody'")
        raw.execute("insert into inputs values ('nobody', 0, ?, 'image/png', null, null)", ("0" * 64,))
        with pytest.raises(Unusable, match="a row of inputs refers to one of generations that is not there"):
            backup_of(shop).run()
        assert parts(shop) == []


def test_a_snapshot_of_a_newer_archiver_is_refused(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _):
        with open_in("newer") as shop:
            with shop.catalogue._database.write() as db:
                db.execute("insert into _sqlite_migrations (migration_set, name, applied_at) values (?, ?, ?)", NEWER)
            key = backed_up(shop, "near")
        with open_in("data") as shop:
            refused(shop, key, r"newer archiver \(m999_later\)")


NEWER = ("archiver", "m999_later", "2027-01-01 00:00:00+00:00")


def test_a_snapshot_that_the_store_calls_another_one_is_refused(tmp_path: Path) -> None:
    """Whole, and ours, and not what was put there."""
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        key = backed_up(shop, "far")
        data = b"".join(shop.pipeline.carrier.stores["far"].open(key))
        false = key.replace("_catalogue/2026", "_catalogue/2025")
        shop.pipeline.carrier.stores["far"].put_new(false, Body.of(data), "x/y", {"sha256": "0" * 64})
        refused(shop, false, "its SHA-256 is another one", store="far")
        assert restore_of(shop, "far").drill(key).is_digest_told
        assert not restore_of(shop, "near").drill(backed_up(shop, "near")).is_digest_told  # a folder keeps none


def test_there_is_nothing_to_restore(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        restore = restore_of(shop)
        with pytest.raises(UsageError, match="there is no snapshot in near"):
            restore.choose()
        refused(shop, "_catalogue/2026/11/20/x.db.gz", "there is no _catalogue", UsageError)
        first = backed_up(shop, "near")
        shop.clock.advance(days=1)
        second = backed_up(shop, "near")
        assert restore.choose() == second and restore.choose(shop.clock() - timedelta(hours=1)) == first
        with pytest.raises(UsageError, match="that old"):
            restore.choose(shop.clock() - timedelta(days=9))
        put(shop, b"x", "not-a-name")  # whatever else lies there
        assert [item.key for item in snapshots_in(restore.store)] == [second, first]


def test_a_catalogue_with_rows_is_replaced_only_on_request_and_kept(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        key = backed_up(shop, "near")
        plan(shop, "g0", "a fox")
        shop.catalogue.close()
        with pytest.raises(UsageError, match="--yes sets it aside"):
            restore_of(shop).run(key, may_replace=False)
        assert rows(shop, "select id from generations") == [{"id": "g0"}]
        shop.catalogue.close()
        told = restore_of(shop).run(key, may_replace=True)
        assert rows(shop, "select id from generations") == []
        shop.catalogue.close()
        assert told.aside is not None and files(shop) == ["catalogue.db", told.aside.name]
        assert told.aside.name == "catalogue.replaced-20261120T090000.000000Z"
        old = Catalogue.open_file(told.aside)
        assert old.generations.standing("g0") is not None
        old.close()
        # An empty one is nobody's: it need not be asked for.
        shop.clock.advance(seconds=1)
        assert restore_of(shop).run(key, may_replace=False).aside is not None
        assert [path.name for path in shop.data_dir.rglob("*.db")] == ["catalogue.db"]


def test_one_that_cannot_be_read_is_replaced_only_on_request_with_its_journals(tmp_path: Path) -> None:
    """Left there, they would be taken for the new one's."""
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        make(shop, "g0", "a fox", stores=("near",))
        before = lineage(shop)
        key = backed_up(shop, "near")
        shop.catalogue.close()
        path = shop.data_dir / "catalogue.db"
        path.write_bytes(b"no database at all" * 1000)
        (shop.data_dir / "catalogue.db-wal").write_bytes(b"old frames")
        with pytest.raises(UsageError, match="--yes"):
            restore_of(shop).run(key, may_replace=False)
        told = restore_of(shop).run(key, may_replace=True)
        assert told.aside is not None and told.aside.read_bytes().startswith(b"no database")
        assert (shop.data_dir / f"{told.aside.name}-wal").read_bytes() == b"old frames"
        assert lineage(shop) == before


def test_while_another_process_works_nothing_is_replaced(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        key = backed_up(shop, "near")
        with Owner(shop.data_dir / "owners", "another"):
            refused_run(shop, lambda: restore_of(shop).run(key, may_replace=True))
            assert restore_of(shop).drill(key).live is not None  # trying is free
            refused_run(shop, lambda: shrink(shop.catalogue.path, shop.pipeline.owner, shop.data_dir, lambda: PLENTY))
        reader = Catalogue.open(shop.data_dir, create=False)  # one that holds no lock: a question
        reader.generations.standing("g0")
        with pytest.raises(Unusable, match=r"reads|open"):
            restore_of(shop).run(key, may_replace=True)
        reader.close()
        restored(shop)


def refused_run(shop: Workshop, act: Callable[[], object]) -> None:
    shop.catalogue.close()
    with pytest.raises(Unusable, match="another archiver process works"):
        act()


def test_one_that_came_in_the_last_moment_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opened the catalogue after everybody was asked, and before the last act."""
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        key = backed_up(shop, "near")
        shop.catalogue.close()
        late: list[Owner] = []
        prepare = Restore._prepare

        def slowly(self: Restore, *arguments: Any) -> Any:
            done = prepare(self, *arguments)
            late.append(Owner(shop.data_dir / "owners", "late"))
            return done

        monkeypatch.setattr(Restore, "_prepare", slowly)
        refused_run(shop, lambda: restore_of(shop).run(key, may_replace=True))
        late[0].close()
        assert files(shop) == ["catalogue.db"] and parts(shop) == []


def test_a_drill_changes_nothing_and_tells_both_sides(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        make(shop, "g0", "a fox")
        plan(shop, "g1", "planned")
        key = backed_up(shop, "near")
        shop.catalogue.generations.cancel(["g1"], shop.clock())
        make(shop, "g2", "a wren")
        shop.catalogue.close()
        before, there = (shop.data_dir / "catalogue.db").read_bytes(), files(shop)
        told = restore_of(shop, jobs=("cats: every 1h",)).drill(key)
        assert (shop.data_dir / "catalogue.db").read_bytes() == before and files(shop) == there and parts(shop) == []
        assert told.live is not None and told.aside is None and told.safe.in_doubt == 1
        assert (told.holds.images, told.live.images) == ({"stored": 1}, {"stored": 2})
        assert told.holds.generations["planned"] == 1 and told.holds.schema == told.live.schema
        (shop.data_dir / "catalogue.db").write_bytes(b"x" * 5000)
        assert restore_of(shop).drill(key).live is None


def test_what_a_death_between_the_two_acts_leaves_is_the_old_catalogue(tmp_path: Path) -> None:
    """With a second name, which goes the next time."""
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        plan(shop, "g0", "a fox")
        key = backed_up(shop, "near")
        shop.catalogue.close()
        assert close_down(shop.catalogue.path)
        os.link(shop.catalogue.path, shop.data_dir / "catalogue.replaced-earlier")
        (shop.data_dir / "parts" / "catalogue-dead").mkdir()
        (shop.data_dir / "parts" / "catalogue-dead" / "restored").write_bytes(b"half")
        assert rows(shop, "select id from generations") == [{"id": "g0"}]
        told = restored(shop)
        assert told.key == key and told.aside is not None and parts(shop) == []
        shop.catalogue.close()
        assert files(shop) == ["catalogue.db", told.aside.name]


def test_what_only_the_lost_catalogue_knew_stays_on_the_disk(tmp_path: Path) -> None:
    """Bytes in the spool, answers in the inbox, outputs of batches: newer than the snapshot, and older than now."""
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        backed_up(shop, "near")
        make(shop, "g0", "a fox", stores=("near",))
        (key,) = [row["key"] for row in lineage(shop)]
        name = shop.pipeline.spool.keep("orphan", Body.of(b"".join(shop.pipeline.carrier.stores["near"].open(key))))
        (shop.data_dir / "inbox" / "lost.answer").write_bytes(b"{}\n")
        (shop.data_dir / "inbox" / "batch.0.batch").write_bytes(b"{}\n")
        stamp = shop.clock().timestamp()
        for path in (shop.data_dir / "spool" / name, *(shop.data_dir / "inbox").iterdir()):
            os.utime(path, (stamp, stamp))
        with shop.catalogue._database.write() as db:  # made long before, by the clock of this machine too
            db.execute("update _sqlite_migrations set applied_at = '2026-01-01 00:00:00+00:00'")
        shop.clock.advance(minutes=1)
        backed_up(shop, "near")
        shop.clock.advance(minutes=1)
        told = restored(shop)
        assert (told.answers, told.files) == (1, 1)
        shop.clock.advance(days=3)
        for _ in range(2):
            shop.pipeline.recover(at_start=True)
        assert shop.files("spool") == [name] and shop.files("inbox") == ["batch.0.batch", "lost.answer"]
        assert rebuilt(shop).counts["rescued"] == 1
        shop.copy()
        assert set(shop.states()) == {"stored"} and shop.files("spool") == []


def test_an_answer_whose_images_the_records_tell_of_in_part_brings_the_rest_home(tmp_path: Path) -> None:
    """One of its two images was archived when the disk lost the catalogue: the other one is in the answer alone."""
    with two_stores(tmp_path) as (open_in, double), open_in("data") as shop:
        plan(shop, "g0", "two foxes", n=2, stores=("near",))
        backed_up(shop, "near")
        shop.ask("double")
        ticket = shop.pipeline.next_to_copy()
        assert ticket is not None
        shop.pipeline.settler.settle([shop.pipeline.copy(ticket)])
        assert shop.files("inbox") == ["g0.answer"]
        asked = len(double.requests)
        restored(shop)
        assert rebuilt(shop).counts["added"] == 1 and shop.states() == ["stored"]
        shop.pipeline.recover(at_start=True)
        assert sorted(shop.states()) == ["pending", "stored"] and shop.files("inbox") == ["g0.answer"]
        shop.copy()
        assert shop.states() == ["stored", "stored"] and len(double.requests) == asked
        assert {row["image_id"] for row in lineage(shop)} >= {ticket.image_id}
        shop.pipeline.recover(at_start=True)
        assert shop.files("inbox") == [] and len(shop.states()) == 2


@pytest.mark.parametrize("settings", [{}, {"response_format": "b64_json"}], ids=["url", "inline"])
def test_one_that_only_stands_in_gets_its_image_from_the_answer_that_is_still_here(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """A record refers to an image that was not archived yet, and the catalogue is gone altogether."""
    with ImagesProvider() as double:
        with open_workshop(tmp_path / "data", near=tmp_path / "near", double=double, **settings) as shop:
            plan(shop, "g0", "a fox", stores=("near",))
            plan(shop, "g1", "in winter", stores=("near",))
            assert shop.ask("double") == 2
            parent, child = (row["id"] for row in rows(shop, "select id from images order by generation_id"))
            with shop.catalogue._database.write() as db:
                db.execute("update images set parent_image_id = ? where id = ?", (parent, child))
            ticket = shop.pipeline.next_to_copy(generations=["g1"])
            assert ticket is not None
            shop.pipeline.settler.settle([shop.pipeline.copy(ticket)])
            for name in shop.files("spool"):  # the answer is all that there is
                shop.pipeline.spool.discard(name)
        for path in (tmp_path / "data").glob("catalogue.db*"):
            path.unlink()
        asked = len(double.requests)
        with open_workshop(tmp_path / "data", near=tmp_path / "near", double=double, **settings) as shop:
            assert rebuilt(shop).counts["lost"] == 1
            shop.pipeline.recover(at_start=True)
            shop.copy()
            stored = rows(shop, "select id from images where state = 'stored' order by generation_id")
            assert [row["id"] for row in stored] == [parent, child] and len(double.requests) == asked
            shop.pipeline.recover(at_start=True)
            assert shop.files("inbox") == [] and shop.files("spool") == []


def test_a_vacuum_makes_the_file_small_and_is_refused_without_room(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        make(shop, "g0", "a fox", stores=("near",))
        with shop.catalogue._database.write() as db:
            db.execute(
                "create table big as with recursive n(x) as (select 1 union all select x+1 from n limit 30000)"
                " select x, randomblob(100) as b from n"
            )
            db.execute("drop table big")
        before = lineage(shop)
        shop.catalogue.close()
        arguments = (shop.catalogue.path, shop.pipeline.owner, shop.data_dir / "parts")
        with pytest.raises(Unusable, match="are free"):
            shrink(*arguments, lambda: 1000)
        was, now = shrink(*arguments, lambda: PLENTY)
        assert was > 3_000_000 > now == shop.catalogue.path.stat().st_size
        assert shop.catalogue.path.stat().st_mode & 0o777 == 0o600
        assert lineage(shop) == before and rows(shop, "pragma application_id") == [{"application_id": 0x41524348}]
        shop.catalogue.close()
        assert files(shop) == ["catalogue.db"] and parts(shop) == []


def test_a_name_that_is_taken_is_not_taken_again(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (open_in, _), open_in("data") as shop:
        shop.catalogue.close()
        new = shop.data_dir / "parts" / "new"
        new.write_bytes(b"x")
        (shop.data_dir / "catalogue.replaced-once").write_bytes(b"earlier")
        with pytest.raises(Unusable, match="there already"):
            put_in_place(new, shop.catalogue.path, shop.pipeline.owner, "replaced-once")
        assert (shop.data_dir / "catalogue.replaced-once").read_bytes() == b"earlier"
