"""Deadlines, risk and loss: tables of examples, and what holds for every input."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from archiver.core import policy
from archiver.core.model import Evidence, Promise
from archiver.core.tempurl import TemporaryURL

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

always = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
moments = some.timedeltas(-30 * DAY, 60 * DAY).map(lambda apart: NOW + apart)
sources = some.sampled_from(["url", "header", "host", "provider", "default"])
evidences = some.lists(
    some.builds(Evidence, source=sources, at=moments, lower_bound=some.booleans()), min_size=1, max_size=6
)


def says(source: str, at: datetime, lower_bound: bool = False) -> Evidence:
    """One piece of evidence."""
    return Evidence(source=source, at=at, lower_bound=lower_bound)  # type: ignore[arg-type]


# --- evidence and deadlines ------------------------------------------------------------------------------------------


def gathered(address: str, promise: Promise | None = None, **options: datetime) -> list[tuple[str, datetime, str]]:
    """Source, time and detail of everything that is known of a URL handed out now."""
    found = policy.gather_evidence(TemporaryURL(address), promise or Promise(), NOW, **options)
    return [(item.source, item.at, item.detail) for item in found]


def test_every_kind_of_evidence_is_gathered() -> None:
    """What the URL says, what its host is known for, what the provider promises, what stood beside it."""
    expires = int((NOW + DAY).timestamp())
    found = gathered(
        f"https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/i.png?Expires={expires}&OSSAccessKeyId=a&Signature=b",
        Promise(lifetime=7 * DAY),
        stated=NOW + 2 * HOUR,
    )
    assert found == [
        ("url", NOW + DAY, "U03"),
        ("host", NOW + DAY, "dashscope-result-bj.oss-cn-beijing.aliyuncs.com"),
        ("provider", NOW + 7 * DAY, ""),
        ("provider", NOW + 2 * HOUR, "stated beside the URL"),
    ]


def test_without_evidence_seven_days_or_what_the_caller_says() -> None:
    """A default never stands beside real evidence."""
    assert gathered("https://h.example/i.png") == [("default", NOW + 7 * DAY, "")]
    assert gathered("https://h.example/i.png", otherwise=NOW + HOUR) == [("default", NOW + HOUR, "")]
    with_promise = gathered("https://h.example/i.png", Promise(lifetime=DAY), otherwise=NOW + HOUR)
    assert with_promise == [("provider", NOW + DAY, "")]


@pytest.mark.parametrize(
    "stated", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), NOW + 3654 * DAY]
)
def test_an_absurd_time_beside_the_url_is_no_evidence(stated: datetime) -> None:
    """A misread number must not end a backfill with an overflow."""
    found = policy.gather_evidence(TemporaryURL("https://h.example/i.png"), Promise(), NOW, stated=stated)
    assert [item.source for item in found] == ["default"]
    assert policy.gives_up_at(found) == NOW + 10 * DAY


def test_a_time_beside_the_url_that_has_passed_is_evidence() -> None:
    """An old file says truly that its URLs are dead, and they are still tried."""
    assert gathered("https://h.example/i.png", stated=NOW - 400 * DAY)[0][1] == NOW - 400 * DAY


@pytest.mark.parametrize(
    ("left", "margin"),
    [
        (7 * DAY, 5 * MINUTE),
        (100 * MINUTE, 5 * MINUTE),
        (99 * MINUTE, 297 * SECOND),
        (HOUR, 3 * MINUTE),
        (10 * MINUTE, 30 * SECOND),
        (20 * SECOND, SECOND),
        (0 * SECOND, 0 * SECOND),
        (-HOUR, 0 * SECOND),
    ],
)
def test_margin_is_five_minutes_or_five_percent(left: timedelta, margin: timedelta) -> None:
    """Whichever is less; what has passed gets none."""
    deadline, decided = policy.decide_deadline([says("url", NOW + left)], NOW)
    assert deadline == NOW + left - margin
    assert decided.source == "url"


def test_the_earliest_evidence_decides() -> None:
    """Also a lower bound: it may make us hurry."""
    items = [says("provider", NOW + DAY), says("url", NOW + HOUR, lower_bound=True), says("host", NOW + 2 * HOUR)]
    deadline, decided = policy.decide_deadline(items, NOW)
    assert (deadline, decided) == (NOW + 57 * MINUTE, items[1])


@always
@given(evidences)
def test_the_deadline_is_never_later_than_any_evidence(items: list[Evidence]) -> None:
    """And never more than five minutes before the earliest; what still lives has a deadline in the future."""
    deadline, decided = policy.decide_deadline(items, NOW)
    earliest = min(item.at for item in items)
    assert all(deadline <= item.at for item in items)
    assert earliest - deadline <= 5 * MINUTE
    assert decided.at == earliest
    if earliest > NOW:
        assert deadline > NOW


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([says("url", NOW)], NOW),
        ([says("url", NOW + DAY), says("provider", NOW + 7 * DAY)], NOW + DAY),
        ([says("url", NOW + 2 * DAY), says("url", NOW + DAY)], NOW + DAY),
        ([says("url", NOW, lower_bound=True), says("provider", NOW + 7 * DAY)], NOW + 7 * DAY),
        ([says("url", NOW, lower_bound=True)], NOW),
        ([says("host", NOW + HOUR), says("provider", NOW + 7 * DAY)], NOW + 7 * DAY),
        ([says("default", NOW + 7 * DAY)], NOW + 7 * DAY),
    ],
)
def test_giving_up_follows_the_url_or_else_the_latest_hope(items: list[Evidence], expected: datetime) -> None:
    """Plus 72 hours of grace: a source may live longer than it promised."""
    assert policy.gives_up_at(items) == expected + 72 * HOUR


@always
@given(evidences)
def test_nothing_is_given_up_before_its_deadline_and_grace(items: list[Evidence]) -> None:
    deadline, _ = policy.decide_deadline(items, NOW)
    assert policy.gives_up_at(items) >= deadline + 72 * HOUR


# --- loss and risk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({}, True),
        ({"now": NOW - SECOND}, False),
        ({"now": NOW + 99 * DAY}, True),
        ({"attempts": 2}, False),
        ({"attempts": 99}, True),
        ({"refused": None}, False),
        ({"refused_before": None}, False),
        ({"refused": NOW - 20 * MINUTE + SECOND - SECOND / 1000}, False),
        ({"refused": NOW - 20 * MINUTE}, False),
    ],
)
def test_lost_needs_time_attempts_and_two_refusals_apart(change: dict[str, datetime | int | None], lost: bool) -> None:
    """Three attempts, and the last two refusals ten minutes apart; take one thing away, and it is not lost."""
    known: dict[str, object] = {
        "now": NOW,
        "give_up": NOW,
        "attempts": 3,
        "refused_before": NOW - 20 * MINUTE,
        "refused": NOW - 10 * MINUTE,
    }
    assert policy.is_lost(**(known | change)) is lost  # type: ignore[arg-type]


@always
@given(some.integers(0, 2), moments, moments, moments)
def test_two_attempts_never_lose_an_image(attempts: int, now: datetime, first: datetime, second: datetime) -> None:
    assert not policy.is_lost(now=now, give_up=NOW, attempts=attempts, refused=second, refused_before=first)
