"""How many requests a provider may get in a time: a rate, and the bucket that keeps to it, as pure arithmetic.

The bucket holds `burst` requests at most and fills at the rate; time comes in as seconds on a clock that nobody sets.
Nothing here waits.
"""

import re
from dataclasses import dataclass

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*/\s*(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One request every `every_s` seconds; after a silence up to `burst` at once."""

    every_s: float
    burst: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """How many requests are free at `at` (seconds)."""

    free: float
    at: float


def parse_rate(text: str) -> float:
    """Seconds between two requests, from `"30/m"` (s, m or h). Raises ValueError with what to write instead."""
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f'{text!r} is no pace; write requests per s, m or h, for example "30/m"')
    return _SECONDS[match[2]] / float(match[1])


def filled(bucket: Bucket | None, rate: Rate, now: float) -> Bucket:
    """The bucket at `now`; a new one is full."""
    if bucket is None:
        return Bucket(free=float(rate.burst), at=now)
    gained = max(now - bucket.at, 0.0) / rate.every_s
    return Bucket(free=min(bucket.free + gained, float(rate.burst)), at=max(now, bucket.at))


def pause_s(bucket: Bucket | None, rate: Rate, now: float) -> float:
    """Seconds until the next request may go; 0.0 when it may go now."""
    # A billionth of a request is a rounding error, and not worth a wait.
    missing = 1.0 - filled(bucket, rate, now).free
    return missing * rate.every_s if missing > 1e-9 else 0.0


def take(bucket: Bucket | None, rate: Rate, now: float) -> Bucket:
    """The bucket after one request at `now`. It may go below zero: whoever asks unasked makes the next ones wait."""
    full = filled(bucket, rate, now)
    return Bucket(free=full.free - 1.0, at=full.at)
