"""What runs amount to: medians, ratios within a round, and the table. It measures nothing itself."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.contestants import CONTESTANTS, Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One contestant, once. `requests` and `connections` are those of the source and of the sink; None where the sink
    does not count. `load` is that of the minute before its course."""

    course: str
    contestant: str
    round: int
    images: int
    megabytes: float
    cost: Cost
    requests: tuple[int | None, int | None]
    connections: tuple[int | None, int | None]
    load: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.cost.wall_s

    def told(self) -> str:
        """One line of progress."""
        return f"{self.course}: {self.contestant} {self.rate:,.0f} images/s, {self.cost.wall_s:.1f} s"


def table(runs: Sequence[Run]) -> str:
    """Medians per course and contestant, and how many times rclone each is."""
    heads = "course|contestant|images|images/s|MB/s|x rclone|CPU-s per 1000|CPU-s per GB|peak MB|GET + PUT".split("|")
    lines = [f"| {' | '.join(heads)} |", f"|---|---|{'---:|' * (len(heads) - 2)}"]
    for course in dict.fromkeys(run.course for run in runs):
        for name in CONTESTANTS:
            mine = [run for run in runs if run.course == course and run.contestant == name]
            if not mine:
                continue
            rate = statistics.median(run.rate for run in mine)
            cpu = statistics.median(run.cost.cpu_s for run in mine)
            one = mine[0]
            lines.append(
                f"| {course} | {name} | {one.images:,} | {rate:,.0f} | {rate * one.megabytes / one.images:,.0f} "
                f"| {_times(runs, one)} | {cpu / one.images * 1000:.2f} | {cpu / one.megabytes * 1000:.2f} "
                f"| {statistics.median(run.cost.peak_mb for run in mine):,.0f} | {_each(mine, 0)} + {_each(mine, 1)} |"
            )
    return "\n".join(lines)


def _each(mine: Sequence[Run], side: int) -> str:
    """Requests per image."""
    counted = [asked for run in mine if (asked := run.requests[side]) is not None]
    return f"{statistics.median(counted) / mine[0].images:.2f}" if counted else "?"


def _times(runs: Sequence[Run], one: Run) -> str:
    times = ratio(runs, one.course, one.contestant, "rclone")
    return "" if times is None else f"{times:.2f}"


def ratio(runs: Sequence[Run], course: str, mine: str, theirs: str) -> float | None:
    """How many times as fast, in images per second: the median of the ratios of each round."""
    rates = {(run.contestant, run.round): run.rate for run in runs if run.course == course}
    pairs = [rates[mine, at] / rate for (name, at), rate in rates.items() if name == theirs and (mine, at) in rates]
    return statistics.median(pairs) if pairs else None


def headlines(runs: Sequence[Run]) -> dict[str, float]:
    """What may be claimed: how many times as fast as each of the others archiver is."""
    found = {}
    for course in dict.fromkeys(run.course for run in runs):
        for name in CONTESTANTS:
            times = None if name == "archiver" else ratio(runs, course, "archiver", name)
            if times is not None:
                found[f"{course} archiver/{name}"] = times
    return found


def loads(runs: Sequence[Run]) -> str:
    """The load of the minute before each course began; that of the courses before is in it."""
    return ", ".join(f"{course} {load:.1f}" for course, load in {run.course: run.load for run in runs}.items())
