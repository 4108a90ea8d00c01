"""Grades, advice and kinds of errors, at and around every threshold of the articles."""

import pytest

from archiver.core.grading import Figures, advice, grade, kind_of


def figures(rate: float, mean: float | None = 5.0, *, of: int = 100, slow: int = 0) -> Figures:
    good = round(rate * of)
    return Figures(successful=good, failed=of - good, mean_s=mean, many_attempts=slow)


@pytest.mark.parametrize(
    ("rate", "mean", "wanted"),
    [
        (0.95, 9.9, "A+"),
        (0.94, 9.9, "A"),
        (0.95, 10.0, "A"),
        (0.90, 14.9, "A"),
        (0.89, 14.9, "B"),
        (0.99, 15.0, "B"),
        (0.85, 19.9, "B"),
        (0.84, 1.0, "C"),
        (0.99, 20.0, "C"),
        (0.75, 29.9, "C"),
        (0.74, 1.0, "D"),
        (1.0, 30.0, "D"),
        (1.0, None, None),
    ],
)
def test_grades(rate: float, mean: float | None, wanted: str | None) -> None:
    assert grade(figures(rate, mean)) == wanted


def test_nothing_is_judged_below_ten_requests() -> None:
    assert (grade(figures(1.0, of=9)), advice(figures(0.0, of=9))) == (None, [])
    assert (grade(figures(1.0, of=10)), bool(advice(figures(0.0, of=10)))) == ("A+", True)
    assert figures(0.5, of=0).rate is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (figures(0.59), ["support", "critical", "more than 30 % of requests"]),
        (figures(0.69), ["critical", "more than 30 % of requests"]),
        (figures(0.70), ["look at the prompts"]),
        (figures(0.79), ["look at the prompts"]),
        (figures(0.84), ["keep an eye"]),
        (figures(0.85, 20.0), ["all is well"]),
        (figures(0.95, 20.1), ["over 20 s"]),
        (figures(0.95, slow=30), ["all is well"]),
        (figures(0.95, slow=31), ["two attempts"]),
    ],
)
def test_advice(given: Figures, words: list[str]) -> None:
    found = advice(given)
    assert len(found) == len(words), found
    assert all(word in line for word, line in zip(words, found, strict=True)), found


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("apiyi answered 401: bad key", "authentication"),
        ("apiyi answered 403", "authentication"),
        ("apiyi answered 429: slow down", "rate limiting"),
        ("apiyi answered 408", "timeout"),
        ("apiyi answered 504", "timeout"),
        ("apiyi answered 500", "server error"),
        ("apiyi answered 599", "server error"),
        ("apiyi answered 400: size 500 is odd", "client error"),
        ("apiyi answered 404", "client error"),
        ("paid, but without an image: answered without images: no data", "no image"),
        ("the answer cannot be read: it is empty", "unreadable"),
        ("the request was sent, but no answer came: reset", "interrupted"),
        ("the request was not sent: no such host", "not sent"),
        ("500 errors on a wall", "other"),
    ],
)
def test_kinds_of_errors(error: str, kind: str) -> None:
    assert kind_of(error) == kind
