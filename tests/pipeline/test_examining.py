"""A check finds every damage and nothing else, changes nothing, and is not misled by those who work meanwhile."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.core.auditing import Share
from archiver.core.bucket_rules import BucketRule
from archiver.core.errors import Permanent, Transient
from archiver.core.model import ObjectHead
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.pipeline.auditing import archive, check, damage, damage_many, examination, file_of, named, two_folders
from tests.pipeline.test_rebuild import dump
from tests.pipeline.workshop import open_workshop

EVERYTHING = Share()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the stores."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_archive_in_which_all_is_well(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        archive(shop, 6, n=2)
        assert check(shop) == ({}, 0)
        assert check(shop, share=EVERYTHING) == ({}, 0)


@pytest.mark.parametrize("seed", [20261120])
def test_f084_every_damaged_object_is_found_and_no_other_one(seed: int, tmp_path: Path) -> None:
    """40 of 400, deleted, cut, emptied and with one bit flipped; and the check changes nothing, and says it twice."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    with two_folders(tmp_path) as (shop, _):
        ids = archive(shop, 100, n=4)
        expected = damage_many(tmp_path, shop, sorted(chance.sample(ids, 40)), chance)
        before, files = dump(shop), contents(tmp_path / "near") | contents(tmp_path / "other")
        counts, code = check(shop, share=EVERYTHING)
        assert sorted(named(shop)) == expected and code == 1
        assert counts == {"missing": 10, "altered": 30}
        first = shop.catalogue.audit.first(3)
        assert [row["word"] for row in first] == ["missing"] * 3 + ["altered"] * 3 and first[0]["count"] == 10
        assert check(shop, share=EVERYTHING) == (counts, 1) and shop.catalogue.audit.first(3) == first
        assert dump(shop) == before
        assert contents(tmp_path / "near") | contents(tmp_path / "other") == files
        # The listing alone tells of what has another size.
        assert check(shop)[0] == {"missing": 10, "altered": 20}


def test_the_parts_together_are_the_whole(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        ids = archive(shop, 30, n=2)
        for image_id in ids:
            damage(file_of(tmp_path, shop, image_id, "near"), "flipped")
        found = []
        for number in range(1, 8):
            check(shop, share=Share(number=number, of=7))
            found += named(shop)
        assert sorted(found) == sorted(("altered", "near", image_id) for image_id in ids)


def test_an_image_without_any_good_copy_is_told_apart(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        first, second = archive(shop, 2)
        damage(file_of(tmp_path, shop, first, "near"), "deleted")
        damage(file_of(tmp_path, shop, second, "other"), "cut")
        assert check(shop)[1] == 1
        damage(file_of(tmp_path, shop, first, "other"), "flipped")
        assert check(shop)[1] == 1  # its bytes were not read
        assert check(shop, share=EVERYTHING)[1] == 4
        assert check(shop, "near", share=EVERYTHING) == ({"missing": 1}, 1)


def test_lineage_records_that_are_gone_or_tell_of_other_things(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        ids = [*archive(shop, 3), *archive(shop, 2)[3:]]
        early, late = sorted((tmp_path / "near" / "_lineage").rglob("*.jsonl"))
        late.unlink()
        assert check(shop) == ({"unrecorded": 2}, 1)
        assert sorted(named(shop)) == [("unrecorded", "near", image_id) for image_id in ids[3:]]
        early.write_bytes(b"\n".join(early.read_bytes().splitlines()[1:]) + b"\nnonsense\n")
        assert check(shop)[0] == {"unrecorded": 2}
        assert check(shop, share=EVERYTHING)[0] == {"unrecorded": 3}


def test_objects_that_no_row_names_are_counted_and_some_are_named(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        (image_id,) = archive(shop, 1)
        for number in range(30):
            (tmp_path / "near" / f"holiday {number}.jpg").write_bytes(b"x")
        (tmp_path / "near" / f"{image_id}-older.png").write_bytes(b"x")
        for own in ("_catalogue/2026.db.gz", "_canary/probe"):
            (tmp_path / "near" / own).parent.mkdir()
            (tmp_path / "near" / own).write_bytes(b"x")
        assert check(shop) == ({"foreign": 31}, 1)
        told = shop.catalogue.audit.first(31)
        assert [row["image_id"] for row in told if row["image_id"]] == [image_id]
        assert len(shop.catalogue.audit.first(5)) == 5


@dataclass
class Crowded:
    """A real store that lists, beside its own, many objects of somebody else's."""

    inner: Any
    strangers: int

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        yield from self.inner.list(prefix)
        for number in range(self.strangers):
            yield ObjectHead(key=f"theirs/{number:08}.bin", size=number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_a_hundred_thousand_foreign_objects_are_a_bounded_answer(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        image_id = archive(shop, 3)[0]
        damage(file_of(tmp_path, shop, image_id, "near"), "deleted")
        examine = examination(shop, "near")
        stores: Any = examine.stores
        stores["near"] = Crowded(stores["near"], 100_000)
        examine.run()
        assert shop.catalogue.audit.counts() == {"missing": 1, "foreign": 100_000}
        told = shop.catalogue.audit.first(20)
        assert len(told) == 21 and told[-1]["key"] == "theirs/00000019.bin"


def test_what_a_worker_writes_meanwhile_is_neither_missing_nor_foreign(tmp_path: Path) -> None:
    """Between the listing and the rows: one image is put and not settled yet, another one is settled wholly."""
    with two_folders(tmp_path) as (shop, _):
        archive(shop, 2)
        shop.plan("double", "late", "later", stores=("near", "other"))
        shop.ask("double")
        before = examination(shop)
        listed = {name: list(store.list("")) for name, store in before.stores.items()}
        ticket = shop.pipeline.next_to_copy()
        assert ticket is not None
        outcome = shop.pipeline.copy(ticket)
        assert check(shop) == ({}, 0), "put, and not settled"
        shop.pipeline.settler.settle([outcome])
        shop.copy()
        assert set(shop.states()) == {"stored"}
        stores: Any = before.stores
        for name, heads in listed.items():
            stores[name] = Listing(stores[name], heads)
        before.run()
        assert shop.catalogue.audit.counts() == {}, "settled after it was listed"


@dataclass
class Listing:
    """A real store with a listing from a while ago."""

    inner: Any
    heads: list[ObjectHead]

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        return (head for head in self.heads if head.key.startswith(prefix))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def denied(*_: object) -> Iterator[ObjectHead]:
    raise Permanent("denied; the credentials need s3:ListBucket to list")


def down(*_: object) -> Any:
    raise Transient("connection refused")


def test_a_store_that_may_not_be_listed_is_asked_for_every_key(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        first, second, third = archive(shop, 3)
        damage(file_of(tmp_path, shop, first, "near"), "deleted")
        damage(file_of(tmp_path, shop, second, "near"), "cut")
        damage(file_of(tmp_path, shop, third, "near"), "flipped")
        (tmp_path / "near" / "foreign.jpg").write_bytes(b"x")
        examine = examination(shop, "near")
        stores: Any = examine.stores
        stores["near"] = Changed(stores["near"], {"list": denied})
        examine.run()
        assert shop.catalogue.audit.counts() == {"missing": 1, "altered": 1}
        assert "cannot be listed" in examine.remarks[0]


@dataclass
class Changed:
    """A real store of which some methods do otherwise."""

    inner: Any
    methods: dict[str, Callable[..., Any]]

    def __getattr__(self, name: str) -> Any:
        return self.methods.get(name) or getattr(self.inner, name)


@pytest.mark.parametrize("methods", [{"list": down}, {"list": denied, "head": down}], ids=["listing", "heads"])
def test_of_a_store_that_cannot_be_looked_at_nothing_is_called_missing(
    methods: dict[str, Callable[..., Any]], tmp_path: Path
) -> None:
    with two_folders(tmp_path) as (shop, _):
        ids = archive(shop, 15, n=4)
        damage(file_of(tmp_path, shop, ids[0], "near"), "deleted")
        damage(file_of(tmp_path, shop, ids[1], "other"), "deleted")
        examine = examination(shop)
        stores: Any = examine.stores
        stores["near"] = Changed(stores["near"], methods)
        examine.run()
        assert shop.catalogue.audit.counts() == {"missing": 1, "unreadable": 1}
        assert named(shop)[0] == ("missing", "other", ids[1])


def test_a_folder_that_is_not_mounted_is_no_folder_in_which_all_is_missing(tmp_path: Path) -> None:
    """Unless somebody says that it was emptied."""
    with two_folders(tmp_path) as (shop, _):
        archive(shop, 3)
        (tmp_path / "near").rename(tmp_path / "unplugged")
        for _ in range(2):
            assert check(shop) == ({"unreadable": 1}, 3)
            assert "is the folder mounted?" in shop.catalogue.audit.first(1)[0]["detail"]
            (tmp_path / "near").mkdir(exist_ok=True)
        assert check(shop, believes_empty=True) == ({"missing": 3, "unrecorded": 3}, 1)


def test_a_store_that_the_configuration_does_not_name_any_more(tmp_path: Path) -> None:
    with two_folders(tmp_path) as (shop, _):
        archive(shop, 2)
        with shop.catalogue._database.write() as db:
            db.execute("update copies set store = 'gone' where store = 'other'")
        for path in [path for path in (tmp_path / "other").rglob("*") if path.is_file()]:
            path.unlink()
        assert check(shop) == ({"unreadable": 1}, 3)
        assert check(shop, "near") == ({}, 0)


def test_the_spool_is_looked_at_too(tmp_path: Path) -> None:
    """Bytes that wait for a store: gone, rotten, or nobody's."""
    with OssDouble() as far, ImagesProvider() as double, open_workshop(tmp_path, far=far, double=double) as shop:
        shop.plan("double", "a fox", "a wren", "an owl", stores=("far",))
        shop.ask("double")
        far.down()
        shop.copy()
        far.up()
        assert shop.states() == ["spooled"] * 3
        assert check(shop, share=EVERYTHING) == ({}, 0)
        gone, rotten, _ = (tmp_path / "spool" / name for name in shop.files("spool"))
        gone.unlink()
        damage(rotten, "flipped")
        (tmp_path / "spool" / "nobody").write_bytes(b"x")
        assert check(shop) == ({"spool-missing": 1}, 1)
        assert check(shop, share=EVERYTHING) == ({"spool-missing": 1, "spool-rotten": 1}, 1)
        written = shop.pipeline.spool.written("nobody")
        assert written is not None
        shop.clock.moment = written + timedelta(days=1, seconds=1)
        assert check(shop)[0] == {"spool-missing": 1, "spool-stray": 1}
        # The URLs are what is left; and when they are gone too, nothing is.
        with shop.catalogue._database.write() as db:
            db.execute("delete from urls")
        assert check(shop)[1] == 1, "the answers are still there"
        for name in shop.files("inbox"):
            (tmp_path / "inbox" / name).unlink()
        assert check(shop)[1] == 4


def ruled(*rules: BucketRule) -> dict[str, Callable[..., Any]]:
    return {"rules": lambda: rules}


def test_rules_that_would_delete_the_archive_are_found(tmp_path: Path) -> None:
    def forbidden() -> tuple[BucketRule, ...]:
        raise Permanent("denied")

    harmless = BucketRule(name="old backups", action="delete", prefix="_catalogue/", days=90)
    with two_folders(tmp_path) as (shop, _):
        archive(shop, 1)
        for methods, found in (
            (ruled(), 0),
            (ruled(harmless), 0),
            (ruled(harmless, BucketRule(name="tidy", action="delete", days=30)), 1),
            (ruled(BucketRule(name="cold", action="move", prefix="_lineage/", days=0)), 1),
            ({"rules": forbidden}, 0),
        ):
            examine = examination(shop, "near")
            stores: Any = examine.stores
            stores["near"] = Changed(stores["near"], methods)
            examine.run()
            assert shop.catalogue.audit.counts() == ({"doomed": found} if found else {})
            assert ("not known" in " ".join(examine.remarks)) == (methods.get("rules") is forbidden)


def test_an_object_that_was_written_over_shows_by_its_etag(tmp_path: Path) -> None:
    """As long as before; a bucket that was moved has other ETags too, and there the bytes decide."""
    with OssDouble() as far, ImagesProvider() as double, open_workshop(tmp_path, far=far, double=double) as shop:
        ids = archive(shop, 4, stores=("far",))
        with shop.catalogue._database.write() as db:
            db.execute("update copies set etag = 'another' where image_id <> ?", (ids[0],))
        moved = next(key for key in far.objects if ids[3] in key)
        held = far.objects[moved]
        far.objects[moved] = type(held)(held.body, held.headers, {}, held.modified)
        assert check(shop) == ({}, 0)
        key = next(key for key in far.objects if ids[0] in key)
        held = far.objects[key]
        far.objects[key] = type(held)(held.body[:-1] + b"?", held.headers, {}, held.modified)
        assert check(shop) == ({"altered": 1}, 4)
        del far.objects[next(key for key in far.objects if ids[1] in key)]
        far.objects["archive/theirs.bin"] = held
        assert check(shop) == ({"missing": 1, "altered": 1, "foreign": 1}, 4)


def test_a_copy_that_is_put_while_it_is_looked_at_is_not_reported(tmp_path: Path) -> None:
    """The row moves on between the look and the note: nothing is said of what it was."""
    with two_folders(tmp_path) as (shop, _):
        (image_id,) = archive(shop, 1)
        path = file_of(tmp_path, shop, image_id, "near")
        damage(path, "deleted")
        examine = examination(shop, "near")

        def head(key: str) -> None:
            with shop.catalogue._database.write() as db:
                db.execute("update copies set key = key || '~' where store = 'near'")

        stores: Any = examine.stores
        stores["near"] = Changed(stores["near"], {"head": head})
        examine.run()
        assert shop.catalogue.audit.counts() == {}


def test_bytes_that_nobody_can_read_are_not_called_altered(tmp_path: Path) -> None:
    def open_(key: str) -> Any:
        raise Transient("cut off")

    with two_folders(tmp_path) as (shop, _):
        archive(shop, 2)
        examine = examination(shop, "near", share=EVERYTHING)
        stores: Any = examine.stores
        stores["near"] = Changed(stores["near"], {"open": open_})
        examine.run()
        assert shop.catalogue.audit.counts() == {"unreadable": 3}, "two images and one lineage record"
