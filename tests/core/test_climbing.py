"""The number of images carried at once finds what the other side and this machine can bear."""

import random

import pytest

from archiver.core.climbing import FEWEST, FIRST, Climb


def _after(steps: int, most: int, rate) -> Climb:
    climb = Climb.start(most)
    for _ in range(steps):
        climb = climb.step(rate(climb.limit))
    return climb


def test_it_grows_with_latency() -> None:
    """Where each image only waits, more at once bring more: all that are allowed, within a few steps."""
    assert _after(6, 256, lambda limit: limit * 20.0).limit == 256


@pytest.mark.parametrize("best", [3, 6, 12, 40])
def test_it_stays_near_the_best(best: int) -> None:
    """Where more only crowd each other, it comes down to the best number and stays within a third of it."""

    def rate(limit: int) -> float:
        return 1000.0 * min(limit, best) / best - 40.0 * max(0, limit - best) / best

    limits = {_after(steps, 256, rate).limit for steps in range(40, 60)}
    assert max(limits) <= best * 1.6 + 1
    assert min(limits) >= best / 1.6 - 1


def test_it_keeps_within_bounds_whatever_is_measured() -> None:
    """Noise moves it, but never out of the bounds."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    luck = random.Random(seed)
    for most in (1, 2, 3, 16, 256):
        climb = Climb.start(most)
        assert climb.limit == min(FIRST, most)
        for _ in range(300):
            climb = climb.step(luck.random() * 1000)
            assert min(FEWEST, most) <= climb.limit <= most


def test_it_follows_a_change() -> None:
    """A store that becomes slow wants more at once, and gets them."""
    climb = _after(30, 256, lambda limit: 1000.0 * min(limit, 8) / 8 - 50 * max(0, limit - 8))
    assert climb.limit < 16
    for _ in range(40):
        climb = climb.step(climb.limit * 5.0)
    assert climb.limit > 64


def test_while_a_processor_is_busy_fewer_are_enough() -> None:
    """Of numbers that bring nearly as much, a busy process takes the smallest: the others only crowd each other."""

    def rate(limit: int) -> float:
        return 1000.0 + min(limit, 16)

    calm = busy = Climb.start(64)
    for _ in range(40):
        calm, busy = calm.step(rate(calm.limit) * calm.limit), busy.step(rate(busy.limit), is_busy=True)
    assert calm.limit > 40
    assert busy.limit <= 4
