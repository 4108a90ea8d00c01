"""Preflight: money is spent only where the result could be kept, and a refusal touches nothing."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.core import policy
from archiver.core.model import SecretReference
from archiver.core.ports import Outside, Store
from archiver.stores import s3
from tests.doubles.bare_s3 import BareS3
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.wire import Fault
from tests.pipeline.workshop import Clock, Workshop, open_workshop
from tests.world import World, oss_section

ROOM = 10**12
PROBE = "archive/_canary/probe"


@pytest.fixture
def clock() -> Clock:
    """Starts with the machine's time: the OSS double compares its own."""
    return Clock(datetime.now(UTC))


@pytest.fixture
def double() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture
def far() -> Iterator[OssDouble]:
    with OssDouble() as running:
        yield running


def probes(far: OssDouble | BareS3) -> list[tuple[str, int]]:
    """Every request for the probe: method and status."""
    return [(seen.method, seen.status) for seen in far.requests if seen.key == PROBE]


def refusals(shop: Workshop) -> str:
    """What the preflight has to say."""
    assert shop.pipeline.preflight is not None
    return "; ".join(shop.pipeline.preflight.refusals)


def test_f074_a_new_store_is_probed_once_before_money_is_spent(
    tmp_path: Path, clock: Clock, double: ImagesProvider, far: OssDouble
) -> None:
    """The first request ever to the store is the put of the canary; many generations need one probe."""
    with open_workshop(tmp_path / "d", far=far, double=double, clock=clock, free=lambda: ROOM) as shop:
        shop.plan("double", "a fox", "a hare", "an owl", stores=("far",))
        assert shop.ask("double") == 3
        assert [(seen.method, seen.key) for seen in far.requests] == [("PUT", PROBE)]
        assert len(double.charges) == 3


def test_f074_a_confirmed_put_of_the_last_quarter_of_an_hour_is_the_canary(
    tmp_path: Path, clock: Clock, double: ImagesProvider, far: OssDouble
) -> None:
    """Another process put an image a minute ago: no probe. After twenty minutes: one."""
    with open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop:
        shop.plan("double", "a fox", stores=("far",))
        shop.ask("double")
        shop.copy()
        assert shop.states() == ["stored"]
    with open_workshop(tmp_path / "d", far=far, double=double, clock=clock, free=lambda: ROOM) as shop:
        clock.advance(minutes=1)
        shop.plan("double", "a hare", stores=("far",))
        assert shop.ask("double") == 1
        assert probes(far) == []
        clock.advance(minutes=20)
        shop.plan("double", "an owl", stores=("far",))
        assert shop.ask("double") == 1
        assert len(probes(far)) == 1


def test_f074_the_canary_of_an_earlier_process_is_no_refusal(
    tmp_path: Path, clock: Clock, double: ImagesProvider, far: OssDouble
) -> None:
    """The key exists, with our bytes or with others: the store works, and is not written over."""
    for folder, body in (("a", None), ("b", None), ("c", b"the canary of an older archiver")):
        if body is not None:
            stored = far.objects[PROBE]
            far.objects[PROBE] = type(stored)(body, stored.headers, stored.meta, stored.modified)
        with open_workshop(tmp_path / folder, far=far, double=double, clock=clock, free=lambda: ROOM) as shop:
            shop.plan("double", "a fox", stores=("far",))
            assert shop.ask("double") == 1, folder
    assert far.objects[PROBE].body == b"the canary of an older archiver"
    assert {method for method, _ in probes(far)} <= {"PUT", "GET", "HEAD"}


@pytest.mark.parametrize("mode", ["ignore", "refuse"])
def test_f074_a_bare_store_that_can_only_put_get_and_head_is_enough(
    tmp_path: Path, clock: Clock, double: ImagesProvider, mode: Any
) -> None:
    """No listing, no deleting, no conditional put: the probe succeeds, and again in another process."""
    with BareS3(mode=mode) as bare:

        def others(outside: Outside) -> dict[str, Store]:
            known = {"env:B": bare.access_key, "env:C": bare.secret_key}
            given = s3.Settings(
                url=f"s3://{bare.bucket}/archive",
                endpoint=bare.endpoint,
                region=bare.region,
                access_key_id=SecretReference("env:B"),
                access_key_secret=SecretReference("env:C"),
            )
            told = Outside(
                secret=lambda reference: known[reference.text],
                now=outside.now,
                elapsed=outside.elapsed,
                network=outside.network,
                engine=outside.engine,
                state_dir=outside.state_dir,
            )
            return {"bare": s3.connect("bare", given, told)}

        for folder in ("a", "b"):
            with open_workshop(tmp_path / folder, double=double, clock=clock, others=others, free=lambda: ROOM) as shop:
                shop.plan("double", "a fox", stores=("bare",))
                assert shop.ask("double") == 1
        assert {method for method, _ in probes(bare)} <= {"PUT", "GET", "HEAD"}


def test_f074_a_denied_store_stops_spending_at_once_and_no_other(
    tmp_path: Path, clock: Clock, double: ImagesProvider, far: OssDouble
) -> None:
    """What wants it stays planned as it was; what wants another store is asked for. Mended, it goes on after the
    pause, which grows."""
    with open_workshop(tmp_path / "d", far=far, double=double, clock=clock, free=lambda: ROOM) as shop:
        far.script(lambda request: Fault(status=403, code="AccessDenied"))
        held, both = shop.plan("double", "a fox", stores=("far",)) + shop.plan("double", "b", stores=("near", "far"))
        shop.plan("double", "a hare", stores=("near",))
        assert shop.ask("double") == 1
        assert [charge.prompt for charge in double.charges] == ["a hare"]
        assert shop.generation(held)["state"] == shop.generation(both)["state"] == "planned"
        assert re.search(
            "store 'far' does not take images.*never taken an image.*AccessDenied.*oss:Put", refusals(shop)
        )
        tried = []
        for _ in range(120):
            clock.advance(seconds=10)
            before = len(probes(far))
            assert shop.ask("double") == 0
            tried.append(len(probes(far)) - before)
        pauses = [len(zeros) for zeros in "".join(map(str, tried)).strip("0").split("1")[1:-1]]
        assert pauses == sorted(pauses)
        assert 2 <= pauses[0] <= 8
        assert pauses[-1] == 29
        far.script(None)
        clock.advance(minutes=5)
        assert shop.ask("double") == 2
        assert refusals(shop) == ""


def test_f074_a_put_that_is_denied_now_outweighs_a_put_that_was_confirmed(
    tmp_path: Path, clock: Clock, double: ImagesProvider, far: OssDouble
) -> None:
    """The keys are revoked a minute after a success: the next generation is not paid for."""
    with open_workshop(tmp_path / "d", far=far, double=double, clock=clock, free=lambda: ROOM) as shop:
        shop.plan("double", "a fox", stores=("far",))
        shop.ask("double")
        shop.copy()
        shop.plan("double", "a hare", stores=("far",))
        shop.ask("double")
        far.script(lambda request: Fault(status=403, code="AccessDenied"))
        clock.advance(minutes=1)
        shop.copy()
        assert shop.states() == ["stored", "spooled"]
        shop.plan("double", "an owl", stores=("far",))
        assert shop.ask("double") == 0
        assert len(double.charges) == 2


def test_f086_an_outage_of_a_store_that_worked_costs_disk_space_only(
    tmp_path: Path, clock: Clock, double: ImagesProvider, far: OssDouble
) -> None:
    """The bucket is down for hours: spending goes on and every image is rescued. When 80 % of the spool are full,
    spending stops; fetching goes on. When the bucket is back, all of it is drained and spending goes on."""
    size = len(ImagesProvider.image("a fox", 0))
    with open_workshop(
        tmp_path / "d", far=far, double=double, clock=clock, free=lambda: ROOM, spool_max=10 * size
    ) as shop:
        shop.plan("double", "the first", stores=("far",))
        shop.ask("double")
        shop.copy()
        far.down()
        clock.advance(hours=1)
        shop.plan("double", *(f"fox {number:02d}" for number in range(12)), stores=("far",))
        for number in range(1, 7):
            submission = shop.pipeline.next_to_submit(shop.pipeline.providers["double"])
            assert submission is not None, number
            shop.pipeline.submit(shop.pipeline.providers["double"], submission)
            shop.copy()
        rescued = shop.states().count("spooled")
        assert rescued == 6
        while (submission := shop.pipeline.next_to_submit(shop.pipeline.providers["double"])) is not None:
            shop.pipeline.submit(shop.pipeline.providers["double"], submission)
            shop.copy()
            rescued += 1
        held = sum(path.stat().st_size for path in (shop.data_dir / "spool").iterdir())
        assert 0.8 < held / (10 * size) <= 1.0
        assert "wait in the spool" in refusals(shop)
        assert shop.states() == ["stored"] + ["spooled"] * rescued

        far.up()
        clock.advance(hours=1)
        shop.copy()
        assert set(shop.states()) == {"stored"}
        assert shop.ask("double") == 12 - rescued
        assert refusals(shop) == ""


def test_f086_a_full_spool_stops_spending_but_not_fetching(
    tmp_path: Path, clock: Clock, double: ImagesProvider, far: OssDouble
) -> None:
    """Answers that had come before are fetched and rescued although the spool is above 80 %."""
    with open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop:
        shop.plan("double", "a fox", "a hare", "an owl", stores=("far",))
        shop.ask("double")
    far.down()
    with open_workshop(tmp_path / "d", far=far, double=double, clock=clock, free=lambda: ROOM, spool_max=1) as shop:
        ticket = shop.pipeline.next_to_copy()
        assert ticket is not None
        shop.pipeline.settler.settle([shop.pipeline.copy(ticket)])
        shop.plan("double", "a wolf", stores=("near",))
        assert shop.ask("double") == 0
        shop.copy()
        assert shop.states() == ["spooled"] * 3
        assert len(double.charges) == 3


def test_f024_a_disk_that_is_nearly_full_spends_nothing(tmp_path: Path, clock: Clock, double: ImagesProvider) -> None:
    """One byte less than the reserve: nothing is sent. With that byte: one request."""
    room = policy.disk_needed(10**6, urls=1, inline=0)
    free = room - 1
    with open_workshop(tmp_path / "d", double=double, clock=clock, free=lambda: free) as shop:
        ids = shop.plan("double", "a fox", "a hare")
        assert shop.ask("double") == 0
        assert double.requests == []
        assert [shop.generation(one)["state"] for one in ids] == ["planned", "planned"]
        assert "[archiver] min_free" in refusals(shop)
        free = room
        assert shop.ask("double") == 2
        assert refusals(shop) == ""


@pytest.mark.parametrize(("form", "n", "each"), [("url", 4, 64 * 10**6), ("b64_json", 2, 80 * 10**6)])
def test_f024_every_request_under_way_holds_its_share_of_the_disk(
    tmp_path: Path, clock: Clock, double: ImagesProvider, form: str, n: int, each: int
) -> None:
    """Room for two: the third waits until one of them is answered, and nobody is alarmed."""
    with open_workshop(
        tmp_path / "d", double=double, clock=clock, free=lambda: 10**6 + 2 * each, response_format=form
    ) as shop:
        port = shop.pipeline.providers["double"]
        shop.plan("double", "a fox", "a hare", "an owl", n=n)
        first, second = shop.pipeline.next_to_submit(port), shop.pipeline.next_to_submit(port)
        assert first is not None
        assert second is not None
        assert shop.pipeline.next_to_submit(port) is None
        assert refusals(shop) == ""
        shop.pipeline.submit(port, first)
        assert shop.pipeline.next_to_submit(port) is not None


def test_f045_a_provider_that_wants_a_pause_is_asked_nothing_until_then(tmp_path: Path, clock: Clock) -> None:
    """429 with Retry-After: one call for all ten generations, then one probe, then everybody."""
    with (
        ImagesProvider(script=[Mishap(status=429, headers={"Retry-After": "120"}), None, None]) as double,
        open_workshop(tmp_path / "d", double=double, clock=clock) as shop,
    ):
        shop.plan("double", *(f"fox {number}" for number in range(10)))
        assert shop.ask("double") == 1
        clock.advance(seconds=119)
        assert shop.ask("double") == 0
        assert len(double.requests) == 1
        clock.advance(seconds=2)
        port = shop.pipeline.providers["double"]
        probe = shop.pipeline.next_to_submit(port)
        assert probe is not None
        assert shop.pipeline.next_to_submit(port) is None
        shop.pipeline.submit(port, probe)
        clock.advance(seconds=120)
        assert shop.ask("double") == 9
        assert len(double.charges) == 10


# --- from outside ----------------------------------------------------------------------------------------------------


def job(store: str) -> str:
    return f"""
[[jobs]]
name = "cats"
schedule = "every 1h"
provider = "double"
stores = ["{store}"]
prompts = ["a"]
"""


def test_f074_run_once_says_that_a_store_denies_and_spends_nothing(
    tmp_path: Path, double: ImagesProvider, far: OssDouble
) -> None:
    """Exit code 3, ledger 0, the prompt stays planned; with the store mended, the same tick is asked for."""
    world = World(tmp_path / "user")
    world.keys_of(far)
    world.configure(oss_section("far", far) + job("far"), provider=double)
    far.script(lambda request: Fault(status=403, code="AccessDenied"))
    done = world.run("run", "--once")
    assert done.returncode == 3, done.stderr
    assert "store 'far' does not take images" in done.stderr
    assert "the RAM user needs oss:PutObject" in done.stderr
    assert double.requests == []
    assert [row["state"] for row in world.sql("select state from generations")] == ["planned"]
    far.script(None)
    again = world.run("run", "--once")
    assert again.returncode == 0, again.stderr
    assert len(double.charges) == 1


def test_f074_generate_into_a_missing_bucket_leaves_nothing_to_be_paid_later(
    tmp_path: Path, double: ImagesProvider, far: OssDouble
) -> None:
    """Whoever typed it sees why, with exit code 3; no later run pays for the prompt."""
    world = World(tmp_path / "user")
    world.keys_of(far)
    world.configure(oss_section("far", far), provider=double)
    bucket, far.bucket = far.bucket, "renamed"
    done = world.run("generate", "a cat")
    assert done.returncode == 3, done.stderr
    assert "NoSuchBucket (create the bucket" in done.stderr
    far.bucket = bucket
    world.run("run", "--once")
    assert double.requests == []
    assert [row["state"] for row in world.sql("select state from generations")] == ["cancelled"]


def test_f023_run_once_on_a_disk_without_room_spends_nothing(tmp_path: Path, double: ImagesProvider) -> None:
    """More than any disk has must stay free: exit code 3 and what to do."""
    world = World(tmp_path / "user")
    world.environment["ARCHIVER_ARCHIVER__MIN_FREE"] = "1000000GB"
    world.configure(f'\n[stores.near]\nurl = "file://{tmp_path}/near"\n' + job("near"), provider=double)
    done = world.run("run", "--once")
    assert done.returncode == 3, done.stderr
    assert "free some space" in done.stderr
    assert double.requests == []
