"""Keeping what was answered: rescue, draining, records, collisions, and giving up."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.core import policy
from tests.doubles.http1 import Request
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.source import Behaviour
from tests.doubles.wire import Fault
from tests.pipeline.workshop import Clock, Workshop, open_workshop


@pytest.fixture
def double() -> Iterator[ImagesProvider]:
    """A provider whose image host can fail."""
    with ImagesProvider() as provider:
        yield provider


@pytest.fixture
def clock() -> Clock:
    """Starts with the machine's time: the OSS double compares its own."""
    from datetime import UTC, datetime

    return Clock(datetime.now(UTC))


def test_an_outage_of_one_store_costs_disk_and_no_image(tmp_path: Path, double: ImagesProvider, clock: Clock) -> None:
    """The near copy is confirmed, the bytes go to the spool, and only the far copy is tried again."""
    with OssDouble() as far, open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop:
        shop.plan("double", "a fox", stores=("near", "far"))
        shop.ask("double")
        far.down()
        shop.copy()
        (image,) = shop.images()
        assert image["state"] == "spooled"
        story = shop.catalogue.reports.image(image["image_id"])
        assert story is not None
        assert {copy["store"]: copy["state"] for copy in story["copies"]} == {"near": "confirmed", "far": "wanted"}
        assert shop.files("spool") == [f"{image['image_id']}.{image['sha256']}"]
        assert len(list((tmp_path / "d/near/_lineage").rglob("*.jsonl"))) == 1

        double.source.down()
        far.up()
        assert shop.copy() == [], "it waits for its turn"
        clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["stored"]
        assert shop.files("spool") == []
        assert shop.files("inbox") == []
        rows = shop.catalogue.reports.lineage("fox")
        assert {row["store"] for row in rows} == {"near", "far"}
        (far_row,) = (row for row in rows if row["store"] == "far")
        assert far.objects[far_row["key"]].body == double.image("a fox", 0)
        assert len(list((tmp_path / "d/near/_lineage").rglob("*.jsonl"))) == 1, "the near copy was not recorded again"


def test_a_rotten_spool_file_is_fetched_again_while_the_url_lives(
    tmp_path: Path, double: ImagesProvider, clock: Clock
) -> None:
    """Bytes that changed on disk are never put; with a living URL the image is fetched anew."""
    with OssDouble() as far, open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop:
        shop.plan("double", "a fox", stores=("far",))
        shop.ask("double")
        far.down()
        shop.copy()
        (name,) = shop.files("spool")
        kept = shop.data_dir / "spool" / name
        kept.write_bytes(kept.read_bytes()[:-1] + b"!")
        far.up()
        clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["pending"]
        clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["stored"]
        (row,) = shop.catalogue.reports.lineage("fox")
        assert far.objects[row["key"]].body == double.image("a fox", 0)


def test_a_record_that_cannot_be_written_is_written_later(tmp_path: Path, double: ImagesProvider, clock: Clock) -> None:
    """The copy is confirmed but the image is not stored without its lineage record; the source is not asked again."""

    def no_records(request: Request) -> Fault | None:
        return Fault(status=503, code="ServiceUnavailable") if "_lineage" in request.path else None

    with OssDouble() as far, open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop:
        shop.plan("double", "a fox", stores=("far",))
        shop.ask("double")
        far.script(no_records)
        shop.copy()
        assert shop.states() == ["pending"]
        fetched = len(double.source.requests)
        far.script(None)
        clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["stored"]
        assert len(double.source.requests) == fetched
        (record,) = [key for key in far.objects if "_lineage" in key]
        said = json.loads(far.objects[record].body)
        (row,) = shop.catalogue.reports.lineage("fox")
        assert (said["key"], said["archived_at"]) == (row["key"], row["archived_at"])


def test_a_batch_makes_one_record_file_per_store(tmp_path: Path, double: ImagesProvider) -> None:
    """Thirty images settled together are thirty lines in one file."""
    with open_workshop(tmp_path / "d", double=double) as shop:
        shop.plan("double", *(f"a fox {number}" for number in range(30)))
        shop.ask("double")
        shop.copy()
        assert set(shop.states()) == {"stored"}
        (file,) = (tmp_path / "d/near/_lineage").rglob("*.jsonl")
        assert len(file.read_text().splitlines()) == 30


def test_a_key_that_holds_other_bytes_is_left_alone(tmp_path: Path, double: ImagesProvider) -> None:
    """The image goes beside it, under a key that names the digest."""
    with open_workshop(tmp_path / "d", double=double) as shop:
        shop.plan("double", "a fox")
        shop.ask("double")
        ticket = shop.pipeline.next_to_copy()
        assert ticket is not None
        outcome = shop.pipeline.copy(ticket)
        (receipt,) = outcome.receipts
        target = tmp_path / "d/near" / receipt.key
        target.chmod(0o600)
        target.write_bytes(b"somebody else's")
        again = shop.pipeline.copy(ticket)
        assert again.receipts[0].key == policy.alternative_key(receipt.key, receipt.sha256)
        assert target.read_bytes() == b"somebody else's"


def test_an_image_is_lost_only_after_all_patience(tmp_path: Path, clock: Clock) -> None:
    """404 from the first minute: tried until 72 h after the deadline, then lost, with an event."""
    with (
        ImagesProvider(image_first=(Behaviour(status=404),) * 1000, lifetime=timedelta(hours=1)) as double,
        open_workshop(tmp_path / "d", double=double, clock=clock) as shop,
    ):
        shop.plan("double", "a fox")
        shop.ask("double")
        (image,) = shop.images()
        end = clock() + timedelta(hours=73)
        while clock() < end:
            assert shop.pipeline.expire() == 0
            shop.copy()
            clock.advance(minutes=5)
        tries = shop.images()[0]["attempts"]
        assert tries > 80
        shop.copy()
        clock.advance(minutes=30)
        assert shop.pipeline.expire() == 1
        story = shop.catalogue.reports.image(image["image_id"])
        assert story is not None
        assert story["state"] == "lost"
        assert story["events"][-1]["kind"] == "lost"
        clock.advance(days=1)
        assert shop.copy() == []


def test_an_image_that_comes_back_late_is_saved(tmp_path: Path, clock: Clock) -> None:
    """A source that denies for thirty hours past the deadline and then serves: stored."""
    with (
        ImagesProvider(image_first=(Behaviour(status=403),) * 40, lifetime=timedelta(hours=1)) as double,
        open_workshop(tmp_path / "d", double=double, clock=clock) as shop,
    ):
        shop.plan("double", "a fox")
        shop.ask("double")
        for _ in range(12 * 60):
            shop.copy()
            shop.pipeline.expire()
            clock.advance(minutes=5)
        assert shop.states() == ["stored"]


def test_a_bug_in_one_transfer_leaves_the_others_alone(
    tmp_path: Path, double: ImagesProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected exception postpones its own image only, and does not cost the bytes that were fetched."""
    with open_workshop(tmp_path / "d", double=double) as shop:
        shop.plan("double", "a fox", "a hare")
        shop.ask("double")
        store = shop.pipeline.carrier.stores["near"]
        put = store.put_new

        def stumbles_once(*arguments: object) -> object:
            monkeypatch.setattr(store, "put_new", put)
            raise ZeroDivisionError

        monkeypatch.setattr(store, "put_new", stumbles_once)
        shop.copy()
        assert sorted(shop.states()) == ["spooled", "stored"]
        (waiting,) = shop.catalogue.reports.images(states=["spooled"], limit=9)
        assert "ZeroDivisionError" in waiting["error"]


def test_a_ghost_that_wakes_changes_nothing(tmp_path: Path, double: ImagesProvider, clock: Clock) -> None:
    """A process that slept through its lease settles an image that another one has stored meanwhile: 0 rows change."""
    shared = tmp_path / "d"
    with (
        open_workshop(shared, double=double, clock=clock) as ghost,
        open_workshop(shared, double=double, clock=clock) as other,
    ):
        ghost.plan("double", "a fox")
        ghost.ask("double")
        ticket = ghost.pipeline.next_to_copy()
        assert ticket is not None
        outcome = ghost.pipeline.copy(ticket)
        clock.advance(hours=1)
        assert len(other.copy()) == 1
        before = _everything(other)
        ghost.pipeline.settler.settle([outcome])
        assert _everything(other) == before


def _everything(shop: Workshop) -> object:
    (image,) = shop.images()
    return shop.catalogue.reports.image(image["image_id"])
