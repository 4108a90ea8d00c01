"""Lives that are odd but allowed: jobs longer than their interval, one URL for two images, a key that is revoked."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

from archiver.core.model import Wish
from archiver.pipeline import Job
from archiver.schedule import parse
from tests.doubles.http1 import Request
from tests.doubles.provider import ImagesProvider, Mishap
from tests.pipeline.workshop import open_workshop


def test_f041_a_job_that_is_longer_than_its_interval_skips_and_repeats_no_tick(tmp_path: Path) -> None:
    """Every minute a tick, five minutes an answer: ticks are planned while others are under way, each is paid once."""
    job = Job(
        name="cats",
        schedule=parse("every 1m", "UTC"),
        schedule_text="every 1m",
        catch_up="all",
        provider="double",
        model="m",
        stores=("near",),
        wishes=lambda _tick, _number: [Wish(prompt="a fox")],
    )
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        port = shop.pipeline.providers["double"]
        under_way, most, planned = [], 0, []
        for _ in range(30):
            planned += shop.pipeline.plan([job])[0]
            assert shop.pipeline.plan([job])[0] == [], "a tick is planned once"
            while (submission := shop.pipeline.next_to_submit(port)) is not None:
                under_way.append((shop.clock() + timedelta(minutes=5), submission))
            most = max(most, len(under_way))
            while under_way and under_way[0][0] <= shop.clock():
                shop.pipeline.submit(port, under_way.pop(0)[1])
                shop.copy()
            shop.clock.advance(minutes=1)
        for _, submission in under_way:
            shop.pipeline.submit(port, submission)
        shop.copy()
        assert most >= 5, "each waited for the one before"
        asked = Counter(seen.headers["idempotency-key"] for seen in double.requests)
        assert asked == Counter(planned) and set(asked.values()) == {1}
        assert len(planned) == len(double.charges) == shop.states().count("stored") >= 29


def test_f050_two_equal_urls_in_one_answer_are_two_images(tmp_path: Path) -> None:
    """What was paid as two is recorded and stored as two: equal bytes under two keys, and the lineage says so."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        body = double.image("a fox", 0)
        url = double.source.add("/same.png?Signature=abc", body)
        double.script([Mishap(body=json.dumps({"data": [{"url": url}, {"url": url}]}).encode())])
        (fox,) = shop.plan("double", "a fox", n=2)
        shop.ask("double")
        shop.copy()
        assert shop.generation(fox)["state"] == "completed"
        assert shop.states() == ["stored", "stored"]
        keys = {row["key"] for row in shop.catalogue.reports.lineage("fox")}
        assert len(keys) == 2
        assert {(tmp_path / "d/near" / key).read_bytes() for key in keys} == {body}
        assert len(double.charges) == 1


def test_f055_a_revoked_key_costs_nothing_and_a_rotated_one_is_used(tmp_path: Path) -> None:
    """The first 401 stops the asking, and no prompt has failed: all are asked for when the key is good again."""

    def revoked(_: Request) -> Mishap:
        return Mishap(status=401)

    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        double.script(revoked)
        held = shop.plan("double", "a fox", "a hare")
        shop.ask("double")
        assert {shop.generation(one)["state"] for one in held} == {"planned"}
        assert "check api_key" in {shop.generation(one)["error"] for one in held if shop.generation(one)["error"]}.pop()
        shop.clock.advance(minutes=1)
        shop.ask("double")
        assert len(double.requests) == 1
        double.script(None)
        shop.clock.advance(minutes=15)
        shop.ask("double")
        shop.copy()
        assert {shop.generation(one)["state"] for one in held} == {"completed"}
        assert sorted(charge.prompt for charge in double.charges) == ["a fox", "a hare"]
        assert len(double.requests) == 3
