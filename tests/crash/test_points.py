"""A process dies at every named crash point, another one takes over, and the oracle finds nothing lost or paid twice.

Two scenes run at a time, each with a provider, stores and processes of its own.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.crash.harness import RUN, crash, scene
from tests.crash.nursery import Nursery
from tests.crash.oracle import Verdict
from tests.crash.points import POINTS, Point

AT_A_TIME = 2


@pytest.fixture(scope="module")
def deaths(request: pytest.FixtureRequest, nursery: Nursery) -> Iterator[dict[Point, "Future[Verdict]"]]:
    """All chosen points, under way: a test waits for its own."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    found = [item.callspec.params.get("point") for item in items if hasattr(item, "callspec")]
    points = [point for point in found if isinstance(point, Point)]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {point: pool.submit(crash, point, nursery.run) for point in points}


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_nothing_is_lost_or_paid_twice(deaths: dict[Point, "Future[Verdict]"], point: Point) -> None:
    """The point was reached, the process died there, and after a restart ledger, stores and catalogue agree."""
    deaths[point].result()


def test_rescued_bytes_outlive_their_source(nursery: Nursery) -> None:
    """F9: who died between rescuing the bytes and saying so loses nothing when the URLs are dead at the next start."""
    point = next(one for one in POINTS if one.name == "CP11 rescued, not recorded")
    with scene(point.setup, nursery.run) as stage:
        stage.die_at(point.at)
        rescued = stage.rescued()
        stage.provider.source.down()
        assert nursery.run(stage.world, RUN) == 1  # what nobody had fetched cannot be had now
        states = stage.world.sql("select id, state from images where state <> 'pending'")
        assert rescued and {row["id"] for row in states} >= rescued
        stage.provider.source.up()
        stage.finish()


def test_every_name_is_used_once() -> None:
    """Two points of one name would be one test that is seen and one that is not."""
    assert len({point.name for point in POINTS}) == len(POINTS)
