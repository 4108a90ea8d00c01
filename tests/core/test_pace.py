"""Paces: what is understood, and that no stretch of time ever sees more requests than it may."""

import random

import pytest

from archiver.core.pace import Bucket, Rate, parse_rate, pause_s, take


@pytest.mark.parametrize(("text", "every"), [("2/s", 0.5), ("30/m", 2.0), (" 6 / h ", 600.0), ("0.5/s", 2.0)])
def test_a_pace_is_requests_in_a_time(text: str, every: float) -> None:
    assert parse_rate(text) == every


@pytest.mark.parametrize("text", ["", "30", "0/m", "30/d", "-1/s", "fast", "1/2s"])
def test_what_is_no_pace_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match='for example "30/m"'):
        parse_rate(text)


def test_a_new_bucket_lets_a_burst_go_and_then_one_at_a_time() -> None:
    rate, bucket = Rate(every_s=2.0, burst=3), None
    for _ in range(3):
        assert pause_s(bucket, rate, 100.0) == 0.0
        bucket = take(bucket, rate, 100.0)
    assert pause_s(bucket, rate, 100.0) == 2.0
    assert pause_s(bucket, rate, 101.5) == 0.5
    assert pause_s(bucket, rate, 102.0) == 0.0


def test_no_stretch_of_time_sees_more_than_its_share() -> None:
    """Whoever asks at random moments, whenever he may, never gets more than burst + time / interval."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(50):
        rate = Rate(every_s=chance.uniform(0.01, 10.0), burst=chance.randint(1, 5))
        bucket: Bucket | None = None
        now, taken = chance.uniform(0, 1e6), []
        for _ in range(200):
            now += chance.choice([0.0, chance.expovariate(3 / rate.every_s), chance.uniform(0, 3 * rate.every_s)])
            if pause_s(bucket, rate, now) == 0.0:
                bucket = take(bucket, rate, now)
                taken.append(now)
        for first, start in enumerate(taken):
            for last in range(first, len(taken)):
                assert last - first + 1 <= rate.burst + (taken[last] - start) / rate.every_s + 1e-6
        assert len(taken) > 20


def test_a_clock_that_stands_still_gives_nothing_away() -> None:
    rate = Rate(every_s=1.0)
    bucket = take(None, rate, 50.0)
    assert pause_s(bucket, rate, 40.0) == 1.0
