"""What a person must be told of, as pure decisions: which conditions stand, how grave they are, and when to say it
again.

The catalogue says how things stand, `archiver.alerts` tells people. No prompt and no URL gets into a text; what stores
and sources said is redacted once more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from archiver.core.batching import dies_soon
from archiver.core.redaction import redact

Level = Literal["warn", "page"]

#: An image that was tried in vain is at risk from this share of its life on, and somebody is woken from the second on.
AT_RISK_SHARE = 0.5
PAGE_SHARE = 0.8
#: A store that fails for so long is told of; a hiccup is not.
STORE_PATIENCE = timedelta(minutes=5)
SPOOL_WARN_SHARE = 0.8
SPOOL_PAGE_SHARE = 0.9
#: A budget is told of from here on, once in its day or month: it does not empty again.
BUDGET_SHARE = 0.8
#: It counts as the same alarm down to here: requests that turn out to be free come and go around the threshold.
BUDGET_CLEAR_SHARE = 0.7
#: Losses and odd bytes are told of for so long: they do not end by themselves.
RECENT = timedelta(days=1)
#: What still stands is said again.
REPEAT = timedelta(hours=1)
_LONGEST_REASON = 300
BUDGET = "budget"
#: What may be very many is counted so far, and then said to be as many or more: whoever looks twice a minute must not
#: read a million rows, least of all on the morning when they wait.
MOST_COUNTED = 10_000
#: Whose the rest is, when not all were looked at.
OTHERS = "(others)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One condition. `subject` says whose it is (a job, a provider, a store): kind and subject are its identity."""

    kind: str
    level: Level
    text: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """Pending images of one job that were tried in vain and have lived `AT_RISK_SHARE` of their time.

    `used` is the largest share of its life that one has behind it (above 1: it is past its deadline).
    """

    job: str
    images: int
    used: float
    deadline: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Generations of one provider whose outcome is unknown. `cost_micro` sums those whose price is known."""

    provider: str
    generations: int
    cost_micro: int
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Images whose bytes are safe and whose last error came from this store; `since` is when the first was fetched."""

    store: str
    images: int
    since: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedKeys:
    """Keys that a provider does not know, by their references, and how many its section names."""

    provider: str
    keys: tuple[str, ...]
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncollected:
    """A batch that its provider is done with, and whose output was not taken in yet; it dies at `expires`."""

    batch: str
    provider: str
    generations: int
    expires: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """So many images of one job."""

    job: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What is spent of a budget in its present day or month. `is_told`: somebody has heard of it in this one."""

    scope: str
    period: str
    spent_micro: int
    limit_micro: int
    is_told: bool = False

    @property
    def subject(self) -> str:
        """The budget and its period: the next one is another alert."""
        return f"{self.scope} {self.period}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How the catalogue stands, as far as somebody may have to be told. `spooled` is in bytes; `lost` and `odd` are
    those of the last `RECENT`. `crowded` are the kinds of alerts of whose images `MOST_COUNTED` were looked at, and no
    more: what is said of them is true of those."""

    failing: tuple[Failing, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    lost: tuple[Count, ...] = ()
    odd: tuple[Count, ...] = ()
    spooled: int = 0
    keys: tuple[RefusedKeys, ...] = ()
    budgets: tuple[Spent, ...] = ()
    uncollected: tuple[Uncollected, ...] = ()
    crowded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is remembered of an alert: its level when it was last seen, when it was logged, and when it was sent."""

    level: Level
    logged_at: datetime | None = None
    sent_at: datetime | None = None


def conditions(facts: Facts, now: datetime, *, spool_max: int) -> tuple[Alert, ...]:
    """Every condition that stands, the gravest first. `spool_max` is the most the spool may hold, in bytes."""
    found = [
        *(_lost(item) for item in facts.lost),
        *(_at_risk(item) for item in facts.failing),
        *(_uncollected(item) for item in facts.uncollected if dies_soon(item.expires, now)),
        *_spool(facts.spooled, spool_max),
        *(_keys(item) for item in facts.keys),
        *(_unknown(item) for item in facts.unknown),
        *(_budget(item) for item in facts.budgets if _is_nearly_spent(item)),
        *(_waiting(item) for item in facts.waiting if now - item.since >= STORE_PATIENCE),
        *(_odd(item) for item in facts.odd),
    ]
    found += [_crowd(kind, [alert for alert in found if alert.kind == kind]) for kind in sorted(facts.crowded)]
    return tuple(sorted(found, key=lambda alert: alert.level != "page"))


def catalogue_trouble(message: str) -> Alert:
    """The catalogue itself cannot be used: nothing else can be known."""
    return Alert(kind="catalogue", level="page", text=_reason(message), subject="catalogue")


def is_due(alert: Alert, told: Told | None, at: datetime | None, now: datetime) -> bool:
    """Whether to say it (again): never said, graver than before, or said at `at`, an hour ago or more; of a budget,
    only once.

    An `at` in the future is no reason for silence: the clock was set back.
    """
    if told is None or at is None or (alert.level == "page" and told.level == "warn"):
        return True
    if alert.kind == BUDGET:
        return False
    return not timedelta(0) <= now - at < REPEAT


def _lost(item: Count) -> Alert:
    text = f"{_images(item.images)} of {item.job} lost in the last 24 hours; `archiver images --state lost` names them"
    return Alert(kind="lost", level="page", text=text, subject=item.job)


def _at_risk(item: Failing) -> Alert:
    level: Level = "page" if item.used > PAGE_SHARE else "warn"
    text = (
        f"{_images(item.images)} of {item.job} cannot be copied and may be lost; the first deadline is"
        f" {item.deadline:%Y-%m-%d %H:%M} UTC; one of the errors: {_reason(item.error)}"
    )
    return Alert(kind="at-risk", level=level, text=text, subject=item.job)


def _uncollected(item: Uncollected) -> Alert:
    why = f"; one of the errors: {_reason(item.error)}" if item.error else ""
    text = (
        f"batch {item.batch} of {item.provider}, {item.generations} generations that are paid for, is ready and was not"
        f" fetched; it dies at {item.expires:%Y-%m-%d %H:%M} UTC{why}"
    )
    return Alert(kind="batch", level="page", text=text, subject=item.batch)


def _keys(item: RefusedKeys) -> Alert:
    names = ", ".join(item.keys)
    if len(item.keys) >= item.of:
        text = f"provider {item.provider} refused every key ({names}): nothing can be asked of it, and requests wait"
        return Alert(kind="key", level="page", text=text, subject=item.provider)
    text = f"provider {item.provider} refused {len(item.keys)} of {item.of} keys ({names}); the others are used"
    return Alert(kind="key", level="warn", text=text, subject=item.provider)


def _unknown(item: Unknown) -> Alert:
    money = [f"${item.cost_micro / 1e6:.4g}"] if item.cost_micro else []
    money += [f"{item.unpriced} at a price that is not known"] if item.unpriced else []
    count = "1 generation" if item.generations == 1 else f"{item.generations} generations"
    text = f"{count} of {item.provider} with an unknown outcome may have been charged: {' and '.join(money) or 'free'}"
    return Alert(kind="unknown", level="warn", text=text, subject=item.provider)


def _is_nearly_spent(item: Spent) -> bool:
    share = BUDGET_CLEAR_SHARE if item.is_told else BUDGET_SHARE
    return item.spent_micro >= item.limit_micro * share


def _budget(item: Spent) -> Alert:
    text = (
        f"${item.spent_micro / 1e6:.4g} of the ${item.limit_micro / 1e6:.4g} are spent that {item.scope} may spend in"
        f" {item.period}; what has no room waits for the next one"
    )
    return Alert(kind=BUDGET, level="warn", text=text, subject=item.subject)


def _waiting(item: Waiting) -> Alert:
    text = (
        f"store {item.store} has not taken {_images(item.images)} since {item.since:%Y-%m-%d %H:%M} UTC; their bytes"
        f" are safe in the spool; one of the errors: {_reason(item.error)}"
    )
    return Alert(kind="store", level="warn", text=text, subject=item.store)


def _odd(item: Count) -> Alert:
    text = f"{_images(item.images)} of {item.job} archived in the last 24 hours: complete bytes, but no known image"
    return Alert(kind="odd", level="warn", text=text, subject=item.job)


def _spool(spooled: int, most: int) -> list[Alert]:
    if spooled <= most * SPOOL_WARN_SHARE:
        return []
    level: Level = "page" if spooled > most * SPOOL_PAGE_SHARE else "warn"
    text = f"the spool holds {spooled / 1e9:.3g} of {most / 1e9:.3g} GB: no store takes it, and no more is asked for"
    return [Alert(kind="spool", level=level, text=text, subject="spool")]


def _crowd(kind: str, told: list[Alert]) -> Alert:
    """That there are more than were looked at: they may be of another job, or of another store."""
    text = (
        f"{MOST_COUNTED} images or more may be meant by alerts of the kind `{kind}`: no more were looked at, so the"
        " numbers are too low, and a job or a store may be missing"
    )
    level: Level = "page" if any(alert.level == "page" for alert in told) else "warn"
    return Alert(kind=kind, level=level, text=text, subject=OTHERS)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _reason(text: str) -> str:
    return redact(text)[:_LONGEST_REASON]
