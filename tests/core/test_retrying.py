"""When to try again, and what never to ask twice: tables of examples, and what holds for every input."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from archiver.core import policy

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WORDS = ("transient", "throttled", "ambiguous", "gone", "corrupt", "permanent", "refused", "keytaken")

always = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
luck = some.floats(0, 1, exclude_max=True)


def pause(
    word: str, left: timedelta = 7 * DAY, attempts: int = 1, luck: float = 1.0, retry_after: float | None = None
) -> float:
    """Seconds until the next attempt."""
    at = policy.next_attempt(word, now=NOW, deadline=NOW + left, attempts=attempts, luck=luck, retry_after=retry_after)
    return (at - NOW).total_seconds()


@pytest.mark.parametrize(
    ("word", "left", "attempts", "shortest", "longest"),
    [
        ("transient", 7 * DAY, 1, 1, 5),
        ("transient", 7 * DAY, 2, 1, 9),
        ("transient", 7 * DAY, 8, 1, 513),
        ("transient", 7 * DAY, 9, 1, 901),
        ("transient", 7 * DAY, 10**9, 1, 901),
        ("transient", HOUR, 9, 1, 181),
        ("transient", 10 * MINUTE, 9, 1, 31),
        ("transient", MINUTE, 9, 1, 6),
        ("transient", -MINUTE, 9, 1, 901),
        ("corrupt", HOUR, 9, 1, 181),
        ("throttled", 7 * DAY, 1, 1, 5),
        ("permanent", 7 * DAY, 1, 1, 31),
        ("permanent", MINUTE, 1, 1, 6),
        ("gone", 7 * DAY, 1, 450, 900),
        ("gone", HOUR, 1, 90, 180),
        ("gone", SECOND, 1, 2.5, 5),
        ("gone", 0 * SECOND, 1, 1800, 3600),
        ("gone", -DAY, 1, 1800, 3600),
        ("refused", -DAY, 1, 1800, 3600),
    ],
)
def test_pause_after_a_failure(word: str, left: timedelta, attempts: int, shortest: float, longest: float) -> None:
    """From no luck to all of it, in seconds."""
    assert pause(word, left, attempts, 0.0) == shortest
    assert pause(word, left, attempts, 1.0) == longest


@pytest.mark.parametrize(("left", "longest"), [(-policy.GRACE, 901), (-policy.GRACE - SECOND, 3600)])
@pytest.mark.parametrize("word", ["transient", "corrupt", "permanent"])
def test_f063_what_never_comes_is_asked_for_about_once_an_hour(word: str, left: timedelta, longest: float) -> None:
    """Three days after its end, and of the source alone: a store that takes nothing is asked as before. What was
    not tried so often may be past its end by a wrong clock alone."""

    def last(attempts: int, *, at_source: bool) -> float:
        at = policy.next_attempt(word, now=NOW, deadline=NOW + left, attempts=attempts, luck=1.0, at_source=at_source)
        return (at - NOW).total_seconds()

    assert last(301, at_source=True) == longest
    assert last(300, at_source=True) == last(301, at_source=False) == 901
    assert last(1, at_source=True) == last(1, at_source=False) <= 31


@pytest.mark.parametrize(
    ("left", "retry_after", "seconds"),
    [
        (7 * DAY, 30.0, 30),
        (7 * DAY, 0.0, 1),
        (7 * DAY, -5.0, 1),
        (7 * DAY, 86400.0, 900),
        (HOUR, 600.0, 180),
        (10 * SECOND, 600.0, 5),
        (-DAY, 60.0, 60),
        (-DAY, 86400.0, 900),
    ],
)
def test_a_named_pause_is_kept_as_far_as_the_time_allows(left: timedelta, retry_after: float, seconds: float) -> None:
    """Between a second and the cap; past the deadline there is nothing to hurry for."""
    assert pause("throttled", left, luck=0.0, retry_after=retry_after) == seconds
    assert seconds < pause("throttled", left, luck=0.9, retry_after=retry_after) < seconds + 1


@always
@given(
    some.sampled_from(WORDS),
    some.timedeltas(-30 * DAY, 30 * DAY),
    some.integers(1, 10**6),
    luck,
    some.none() | some.floats(-(10**6), 10**9),
)
@example("throttled", 0 * SECOND, 1, 0.0, 0.0)
def test_every_image_is_tried_again_later_but_within_the_hour(
    word: str, left: timedelta, attempts: int, luck: float, retry_after: float | None
) -> None:
    """Strictly after now, at least a second, and never "never"."""
    assert 1 <= pause(word, left, attempts, luck, retry_after) <= 3600


@always
@given(
    some.sampled_from(WORDS),
    some.timedeltas(10 * SECOND, 30 * DAY).filter(lambda left: left > 10 * SECOND),
    some.integers(1, 1000),
    luck,
    some.none() | some.floats(0, 10**9),
)
def test_before_the_deadline_there_is_always_another_attempt(
    word: str, left: timedelta, attempts: int, luck: float, retry_after: float | None
) -> None:
    """Whatever failed: with more than ten seconds left, the next attempt falls before the deadline."""
    assert timedelta(seconds=pause(word, left, attempts, luck, retry_after)) < left


@always
@given(some.timedeltas(0 * SECOND, 30 * DAY), some.integers(1, 1000), luck)
def test_pauses_shrink_as_the_deadline_nears(left: timedelta, attempts: int, luck: float) -> None:
    """The same failure with half of the time left never waits longer."""
    for word in ("transient", "corrupt", "permanent"):
        assert pause(word, left / 2, attempts, luck) <= pause(word, left, attempts, luck)


@pytest.mark.parametrize(
    ("word", "attempts", "move"),
    [
        *((word, 1, "withdraw") for word in ("transient", "throttled")),
        *((word, 7, "withdraw") for word in ("transient", "throttled")),
        *((word, 8, "fail") for word in ("transient", "throttled")),
        ("permanent", 1, "fail"),
        ("refused", 1, "fail"),
        ("ambiguous", 1, "doubt"),
        ("corrupt", 1, "doubt"),
        ("gone", 1, "doubt"),
        ("something new", 1, "doubt"),
    ],
)
def test_what_becomes_of_a_generation(word: str, attempts: int, move: str) -> None:
    """Only what provably cost nothing is asked again, and not for ever."""
    verdict = policy.after_submit(word, now=NOW, attempts=attempts, luck=0.5)
    assert verdict.move == move
    assert (verdict.not_before is not None) == (move == "withdraw")


@always
@given(some.text() | some.sampled_from(WORDS), some.integers(1, 100), luck, some.none() | some.floats(0, 10**9))
@example("ambiguous", 1, 0.0, 1.0)
def test_doubt_is_never_repeated(word: str, attempts: int, luck: float, retry_after: float | None) -> None:
    """Asking again may pay twice: no word but the two harmless ones ever leads back to `planned`."""
    verdict = policy.after_submit(word, now=NOW, attempts=attempts, luck=luck, retry_after=retry_after)
    assert verdict.move in get_args(policy.Verdict.__dataclass_fields__["move"].type)
    if word not in ("transient", "throttled"):
        assert verdict.move != "withdraw"
    if verdict.not_before is not None:
        assert SECOND <= verdict.not_before - NOW <= 1.25 * HOUR


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 5), (2, 10), (3, 20), (7, 320)])
def test_pauses_between_requests_grow(attempts: int, seconds: float) -> None:
    verdict = policy.after_submit("transient", now=NOW, attempts=attempts, luck=0.0)
    assert verdict.not_before == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("retry_after", "seconds"), [(0.0, 1), (30.0, 30), (10**9, 3600)])
def test_a_provider_names_its_pause(retry_after: float, seconds: float) -> None:
    """From a second to an hour."""
    verdict = policy.after_submit("throttled", now=NOW, attempts=5, luck=0.0, retry_after=retry_after)
    assert verdict.not_before == NOW + timedelta(seconds=seconds)
