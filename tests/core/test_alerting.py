"""Which conditions are worth an alert, how grave they are, and when one is said again."""

from datetime import UTC, datetime, timedelta

import pytest

from archiver.core.alerting import (
    Alert,
    Count,
    Facts,
    Failing,
    Spent,
    Told,
    Unknown,
    Waiting,
    catalogue_trouble,
    conditions,
    is_due,
)

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SIGNED = "https://host/a.png?Signature=verysecretsignature"


def levels(facts: Facts) -> list[tuple[str, str]]:
    """Kind and level of every alert, with a spool of 1,000 bytes."""
    return [(alert.kind, alert.level) for alert in conditions(facts, NOW, spool_max=1000)]


def failing(used: float, error: str = "main: denied") -> Facts:
    return Facts(failing=(Failing(job="cats", images=2, used=used, deadline=NOW, error=error),))


def test_nothing_stands_in_a_healthy_catalogue() -> None:
    """No facts, no alerts; a spool in use is no alert either."""
    assert levels(Facts(spooled=800)) == []


@pytest.mark.parametrize(("used", "level"), [(0.6, "warn"), (0.8, "warn"), (0.81, "page"), (1.5, "page")])
def test_at_risk_wakes_somebody_in_the_last_fifth_of_life(used: float, level: str) -> None:
    assert levels(failing(used)) == [("at-risk", level)]


@pytest.mark.parametrize(("spooled", "level"), [(801, "warn"), (900, "warn"), (901, "page"), (2000, "page")])
def test_the_spool_warns_above_80_percent_and_pages_above_90(spooled: int, level: str) -> None:
    assert levels(Facts(spooled=spooled)) == [("spool", level)]


def test_a_store_is_told_of_after_five_minutes() -> None:
    def waiting(minutes: float) -> Facts:
        return Facts(waiting=(Waiting(store="main", images=1, since=NOW - minutes * MINUTE, error="main: down"),))

    assert levels(waiting(4.9)) == []
    assert levels(waiting(5)) == [("store", "warn")]


def test_the_gravest_comes_first() -> None:
    facts = Facts(
        failing=failing(0.6).failing,
        unknown=(Unknown(provider="p", generations=1, cost_micro=0, unpriced=1),),
        lost=(Count(job="cats", images=3),),
        odd=(Count(job="cats", images=1),),
    )
    assert levels(facts) == [("lost", "page"), ("at-risk", "warn"), ("unknown", "warn"), ("odd", "warn")]


@pytest.mark.parametrize(
    ("cost", "unpriced", "said"),
    [
        (80_000, 0, "$0.08"),
        (80_000, 1, "$0.08 and 1 at a price that is not known"),
        (0, 2, "2 at a price that is not known"),
        (0, 0, "free"),
    ],
)
def test_unknown_outcomes_show_their_price(cost: int, unpriced: int, said: str) -> None:
    """An unknown price is said to be unknown, never 0."""
    facts = Facts(unknown=(Unknown(provider="p", generations=2, cost_micro=cost, unpriced=unpriced),))
    (alert,) = conditions(facts, NOW, spool_max=1000)
    assert alert.subject == "p"
    assert alert.text.endswith(f": {said}")


@pytest.mark.parametrize(
    ("spent", "is_told", "levels_of_it"),
    [
        (799_999, False, []),
        (800_000, False, [("budget", "warn")]),
        (1_000_000, False, [("budget", "warn")]),
        (700_000, True, [("budget", "warn")]),
        (699_999, True, []),
    ],
)
def test_a_budget_warns_from_80_percent_on(spent: int, is_told: bool, levels_of_it: list[tuple[str, str]]) -> None:
    """And does not clear when a request that was free gives a little back."""
    item = Spent(scope="archiver", period="2026-11", spent_micro=spent, limit_micro=1_000_000, is_told=is_told)
    assert levels(Facts(budgets=(item,))) == levels_of_it


def test_a_budget_is_told_of_once_in_its_period() -> None:
    """The next day or month is another subject, and so another alert."""
    item = Spent(scope="jobs.cats", period="2026-11-20", spent_micro=850_000, limit_micro=1_000_000)
    (alert,) = conditions(Facts(budgets=(item,)), NOW, spool_max=1000)
    assert alert.subject == "jobs.cats 2026-11-20"
    assert alert.text.startswith("$0.85 of the $1 are spent that jobs.cats may spend in 2026-11-20")
    assert is_due(alert, None, None, NOW)
    assert is_due(alert, Told(level="warn"), None, NOW)
    assert not is_due(alert, Told(level="warn", logged_at=NOW), NOW, NOW + timedelta(days=20))


def test_no_signed_address_gets_into_a_text() -> None:
    """What sources, stores and SQLite said is redacted and cut."""
    said = f"{SIGNED} " + "x " * 1000
    texts = [alert.text for alert in conditions(failing(0.9, said), NOW, spool_max=1000)]
    texts += [catalogue_trouble(said).text]
    for text in texts:
        assert "host/a.png" in text
        assert "verysecret" not in text
        assert len(text) < 600


WARN, PAGE = (Alert(kind="k", level=level, text="t", subject="s") for level in ("warn", "page"))


@pytest.mark.parametrize(
    ("alert", "told", "due"),
    [
        (WARN, None, True),
        (WARN, Told(level="warn", logged_at=None), True),
        (WARN, Told(level="warn", logged_at=NOW - 59 * MINUTE), False),
        (WARN, Told(level="warn", logged_at=NOW - 60 * MINUTE), True),
        (PAGE, Told(level="warn", logged_at=NOW - MINUTE), True),
        (PAGE, Told(level="page", logged_at=NOW - MINUTE), False),
        (WARN, Told(level="page", logged_at=NOW - MINUTE), False),
        (WARN, Told(level="warn", logged_at=NOW + MINUTE), True),
    ],
)
def test_an_alert_is_said_again_after_an_hour_or_when_it_gets_worse(alert: Alert, told: Told | None, due: bool) -> None:
    """And when the clock was set back; not when it gets better."""
    assert is_due(alert, told, told.logged_at if told else None, NOW) is due
