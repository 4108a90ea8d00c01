"""When accepted work is asked for, and when a fresh URL is."""

from datetime import UTC, datetime, timedelta

import pytest

from archiver.core import polling

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("took", "retry_after", "wait"),
    [(0, None, 5), (2, None, 3), (9, None, 0), (0, 3, 5), (0, 20, 20), (2, 20, 20), (0, 4000, 60)],
)
def test_a_poll_follows_the_interval_unless_the_provider_wants_a_pause(
    took: int, retry_after: float | None, wait: int
) -> None:
    again = polling.next_poll(5 * SECOND, began=NOW - took * SECOND, now=NOW, retry_after=retry_after)
    assert again == NOW + wait * SECOND


def test_a_task_is_gone_only_when_it_was_denied_for_long() -> None:
    assert not polling.has_vanished(None, NOW)
    assert not polling.has_vanished(NOW - 10 * MINUTE + SECOND, NOW)
    assert polling.has_vanished(NOW - 10 * MINUTE, NOW)


@pytest.mark.parametrize(
    ("left", "refused", "since", "asked", "right"),
    [
        (1, False, None, 0, False),  # it lives
        (0, False, None, 0, True),  # past its deadline
        (60, True, None, 0, True),  # refused
        (0, False, 14, 1, False),
        (0, False, 15, 1, True),
        (0, False, 29, 2, False),
        (0, False, 30, 2, True),
        (0, False, 359, 50, False),
        (0, False, 360, 50, True),
    ],
)
def test_a_fresh_url_is_asked_for_when_its_own_is_dead(
    left: int, refused: bool, since: int | None, asked: int, right: bool
) -> None:
    may = polling.may_renew(
        now=NOW,
        deadline=NOW + left * MINUTE,
        refused=NOW - MINUTE if refused else None,
        asked_at=None if since is None else NOW - since * MINUTE,
        asked=asked,
    )
    assert may is right
