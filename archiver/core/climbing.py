"""How many images to carry at once: as many as bring more bytes a second, found by trying.

Latency wants many, a busy processor wants few, and nobody knows either beforehand. So the number climbs: doubled while
that helps, then nudged up and down around the best. A decision, not a clock: whoever asks measures the rate.
"""

from dataclasses import dataclass, replace

FEWEST = 2
FIRST = 32
#: What counts as faster in the beginning, when the number is doubled; later, when it is nudged up; and as no slower,
#: when it is nudged down: of two numbers that bring as much, the smaller one costs less.
MUCH, LITTLE, NO_LESS = 1.25, 1.02, 0.98
#: The same while this process keeps a processor busy: more at once would only crowd each other, and fewer cost less.
CROWDED_MORE, CROWDED_LESS = 1.15, 0.92
NUDGE = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """Where the search stands: the number in use, the rate that the one before it reached, and where it is going."""

    limit: int
    most: int
    rate: float = 0.0
    is_rising: bool = True
    is_doubling: bool = True

    @classmethod
    def start(cls, most: int) -> "Climb":
        """At the foot. `most` is never exceeded, and few are enough where more are not allowed."""
        return cls(limit=min(FIRST, most), most=most)

    def step(self, rate: float, *, is_busy: bool = False) -> "Climb":
        """The next number to try, after this one brought `rate` (in whatever unit, always the same). `is_busy`: the
        process kept at least one processor busy meanwhile."""
        more, no_less = (CROWDED_MORE, CROWDED_LESS) if is_busy else (LITTLE, NO_LESS)
        helped = rate > self.rate * (MUCH if self.is_doubling else more if self.is_rising else no_less)
        is_rising = self.is_rising if helped else not self.is_rising
        is_doubling = self.is_doubling and helped
        if is_rising:
            limit = self.limit * 2 if is_doubling else max(self.limit + 1, round(self.limit * NUDGE))
        else:
            limit = min(self.limit - 1, round(self.limit / NUDGE))
        limit = min(max(limit, min(FEWEST, self.most)), self.most)
        return replace(self, limit=limit, rate=rate, is_rising=is_rising, is_doubling=is_doubling)
