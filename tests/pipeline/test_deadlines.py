"""The deadline after a reply without an image: a source may say of itself that it dies earlier than was thought."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import as_text, as_time
from archiver.core import alerting, policy
from tests.catalogue.filling import image_row
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.source import Behaviour
from tests.pipeline.workshop import Clock, Workshop, open_workshop

WITHOUT_AN_IMAGE = {
    "cut": {"cut": 40},
    "a reset": {"cut": 40, "rst": True},
    "a page": {"html": True},
    "a wrong digest": {"md5": "wrong"},
    "encoded": {"gzip": True},
    "503": {"status": 503},
    "404": {"status": 404},
    "429": {"status": 429, "headers": {"Retry-After": "7"}},
}


def lifecycle(end: datetime, name: str = "x-amz-expiration") -> dict[str, str]:
    """The header of a bucket whose rule deletes the object at `end`."""
    return {name: f'expiry-date="{end:%a, %d %b %Y %H:%M:%S} GMT", rule-id="temporary"'}


@contextmanager
def one_image(
    folder: Path, *first: Behaviour, signed: bool = True, far: OssDouble | None = None
) -> Iterator[tuple[Workshop, ImagesProvider]]:
    """One image that lives for seven days (by its URL, or by default), asked for and not yet fetched."""
    clock = Clock(datetime.now(UTC).replace(microsecond=0))
    with (
        ImagesProvider(image_first=first, signed=signed, now=clock) as double,
        open_workshop(folder, double=double, clock=clock, far=far) as shop,
    ):
        shop.plan("double", "a fox", stores=("far",) if far else ("near",))
        shop.ask("double")
        yield shop, double


def story_of(shop: Workshop) -> dict[str, Any]:
    """All that is known of the one image."""
    story = shop.catalogue.reports.image(shop.images()[0]["image_id"])
    assert story is not None
    return story


@pytest.mark.parametrize("fault", WITHOUT_AN_IMAGE.values(), ids=WITHOUT_AN_IMAGE.keys())
def test_f042_a_header_brings_the_deadline_nearer_whatever_came_with_it(tmp_path: Path, fault: dict[str, Any]) -> None:
    """Seven days by the URL, a day by the bucket's rule: the day decides, all evidence is kept, and the next attempt
    follows the nearer deadline."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    fault = fault | {"headers": {**fault.get("headers", {}), **lifecycle(end)}}
    with one_image(tmp_path / "d", Behaviour(**fault)) as (shop, double):
        before = story_of(shop)
        assert before["deadline_from"] == "url"
        shop.copy()
        after = story_of(shop)
        assert (after["state"], after["deadline_from"]) == ("pending", "header")
        assert as_time(after["deadline"]) == end - policy.MOST_MARGIN
        stated = {"source": "header", "at": as_text(end), "detail": "x-amz-expiration", "lower_bound": False}
        assert after["evidence"] == [*before["evidence"], stated]
        (hurried,) = (event for event in after["events"] if event["kind"] == "hurried")
        assert hurried["detail"] == f"x-amz-expiration: {as_text(end)}"
        shop.clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["stored"]
        (row,) = shop.catalogue.reports.lineage("fox")
        assert (tmp_path / "d/near" / row["key"]).read_bytes() == double.image("a fox", 0)


def test_f042_the_next_attempt_is_made_before_the_nearer_deadline(tmp_path: Path) -> None:
    """Refused, with seven days to go, it would be tried again in a quarter of an hour; the object has four minutes."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=4)
    with one_image(tmp_path / "d", Behaviour(status=403, headers=lifecycle(end, "x-oss-expiration"))) as (shop, _):
        shop.copy()
        (image,) = shop.images()
        assert as_time(image["not_before"]) - shop.clock() < timedelta(seconds=15)
        assert as_time(image["not_before"]) < as_time(image["deadline"]) < end


def test_f042_a_header_never_makes_the_deadline_later_and_the_giving_up_never_earlier(tmp_path: Path) -> None:
    """Nothing but a default is known; the bucket says thirty days: kept, and it only puts off the giving up."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    late = Behaviour(status=503, headers=lifecycle(end))
    with one_image(tmp_path / "d", late, signed=False) as (shop, _):
        before = story_of(shop)
        shop.copy()
        after = story_of(shop)
        assert [item["source"] for item in after["evidence"]] == ["default", "header"]
        assert (after["deadline"], after["deadline_from"]) == (before["deadline"], "default")
        assert not [event for event in after["events"] if event["kind"] == "hurried"]
        row = image_row(shop.catalogue, after["image_id"])
        assert as_time(row["give_up_at"]) == end + policy.GRACE


def test_f042_an_absurd_or_unreadable_date_changes_nothing(tmp_path: Path) -> None:
    """1970, the year 2100, no date, and the freshness of a cache."""
    odd = [
        *(lifecycle(datetime(year, 1, 1, tzinfo=UTC)) for year in (1970, 2100)),
        {"x-oss-expiration": "soon"},
        {"Cache-Control": "max-age=1", "Expires": "Fri, 20 Nov 2020 00:00:00 GMT"},
    ]
    with one_image(tmp_path / "d", *(Behaviour(status=503, headers=headers) for headers in odd)) as (shop, _):
        before = story_of(shop)
        for _ in odd:
            shop.copy()
            shop.clock.advance(hours=1)
        after = story_of(shop)
        assert [after[name] for name in ("deadline", "evidence", "attempts")] == [
            *(before[name] for name in ("deadline", "evidence")),
            len(odd),
        ]


def test_f042_what_came_with_a_whole_image_is_kept_while_no_store_takes_it(tmp_path: Path) -> None:
    """Rescued, its expiry no longer matters; should the spool file rot, it does again."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=20)
    with (
        OssDouble() as far,
        one_image(tmp_path / "d", Behaviour(headers=lifecycle(end)), far=far) as (shop, _),
    ):
        far.down()
        shop.copy()
        rescued = story_of(shop)
        assert (rescued["state"], rescued["deadline_from"]) == ("spooled", "header")
        shop.clock.advance(hours=1)
        shop.copy()
        assert story_of(shop)["evidence"] == rescued["evidence"]


def test_f063_a_source_that_never_answers_is_no_loss_and_is_always_shown(tmp_path: Path) -> None:
    """Thirty days after its end: at risk in `status` and in an alert that wakes somebody, tried about once an hour, and
    stored when the source comes back after all."""
    clock = Clock(datetime.now(UTC).replace(microsecond=0))
    with (
        ImagesProvider(lifetime=timedelta(hours=1), now=clock) as double,
        open_workshop(tmp_path / "d", double=double, clock=clock) as shop,
    ):
        shop.plan("double", "a fox")
        shop.ask("double")
        double.source.down()
        tried = 0
        for turn in range(10 * 31):
            clock.advance(hours=2.4)
            shop.copy()
            assert shop.pipeline.expire() == 0
            if turn >= 10:
                assert shop.catalogue.reports.status(clock())["at_risk"] == 1
                (failing,) = shop.catalogue.watching.facts(clock()).failing
                assert failing.used > alerting.PAGE_SHARE
        for _ in range(60):
            clock.advance(minutes=10)
            tried += len(shop.copy())
        assert 5 <= tried <= 25
        double.source.up()
        clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["stored"]
