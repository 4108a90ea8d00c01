"""What figures are worth: a grade, advice, and the kind of an error by its words.

The thresholds are those of the articles that archiver grew from, fixed so that a grade means the same everywhere. They
were written for short answers: image models take 30 to 170 s as a rule, so a D by time alone is no alarm.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

#: Grade, at least this share of success, and a mean answer within these seconds.
GRADES = (("A+", 0.95, 10.0), ("A", 0.90, 15.0), ("B", 0.85, 20.0), ("C", 0.75, 30.0))
#: Below so many judged requests nothing is graded.
FEWEST = 10
_STATUS = re.compile(r"\banswered ([45]\d\d)\b")
_KINDS: Mapping[str, frozenset[int]] = {
    "authentication": frozenset({401, 403}),
    "rate limiting": frozenset({429}),
    "timeout": frozenset({408, 504}),
    "server error": frozenset({500, 502, 503}),
}
_WORDS = (
    ("no image", r"without (an )?images?\b"),
    ("unreadable", r"cannot be read"),
    ("interrupted", r"broke off|closed where|no answer came|longer than"),
    ("not sent", r"was not sent|cannot be sent"),
)


class Figures(NamedTuple):
    """What is judged: requests whose outcome is settled, and how it went."""

    successful: int
    failed: int
    mean_s: float | None
    many_attempts: int

    @property
    def judged(self) -> int:
        """Requests with an outcome."""
        return self.successful + self.failed

    @property
    def rate(self) -> float | None:
        """The share that succeeded; None when nothing was judged."""
        return self.successful / self.judged if self.judged else None


def grade(figures: Figures) -> str | None:
    """A+ to D; None below ten judged requests, and without a time."""
    if figures.rate is None or figures.judged < FEWEST or figures.mean_s is None:
        return None
    for name, rate, seconds in GRADES:
        if figures.rate >= rate and figures.mean_s < seconds:
            return name
    return "D"


def advice(figures: Figures) -> list[str]:
    """What to do about it, the gravest first; nothing below ten judged requests."""
    rate = figures.rate
    if rate is None or figures.judged < FEWEST:
        return []
    found = []
    if rate < 0.60:
        found.append("fewer than 60 % succeed: ask the provider's support")
    if rate < 0.70:
        found.append("fewer than 70 % succeed, which is critical: look at the errors below before you spend more")
    elif rate < 0.80:
        found.append("fewer than 80 % succeed: look at the prompts, and at what is asked again")
    elif rate < 0.85:
        found.append("fewer than 85 % succeed: keep an eye on the errors below")
    if figures.failed > 0.30 * figures.judged:
        found.append("more than 30 % of requests end in an error: the most frequent kind is the one to begin with")
    if figures.many_attempts > 0.30 * figures.judged:
        found.append("more than 30 % needed over two attempts: look at the network, or lower concurrency")
    if figures.mean_s is not None and figures.mean_s > 20:
        found.append(
            "answers take over 20 s on average: normal for large images (30 to 170 s), else try a smaller size"
        )
    return found or ["all is well: concurrency may be raised"]


def kind_of(error: str) -> str:
    """What kind of error these words tell of: by the HTTP status in them, else by what archiver itself wrote."""
    if found := _STATUS.search(error):
        status = int(found[1])
        kind = next((name for name, statuses in _KINDS.items() if status in statuses), None)
        return kind or ("client error" if status < 500 else "server error")
    return next((name for name, words in _WORDS if re.search(words, error)), "other")
