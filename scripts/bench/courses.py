"""What is run: so many images of a size, over a scheme, into a kind of sink, by whom. `--quick` has a few of them.

The sets are as large as that a run lasts some seconds, not the moment in which interpreters start: 8,000 images of
100 KB, 400 of 6 MB, each file under four names. Who would take minutes for them carries a part, which the table tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

NAMES_EACH = 4
FAST = ("archiver", "rclone", "curl")
SLOW = ("sequential", "seed")
ALL = (*FAST, "rclone-tuned", *SLOW)
#: curl signs nothing here, and a real store would refuse it.
SIGNING = ("archiver", "rclone", "rclone-tuned", *SLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One row of the table. `slow_count` is how many of the images the slow contestants carry; `slots` is how many
    images are carried at once, and of no meaning to the two scripts."""

    name: str
    scheme: str
    size: int
    count: int
    slow_count: int
    slots: int = 16
    latency_ms: int = 0
    sink: str = "nginx"
    only: tuple[str, ...] = ALL

    @property
    def distinct(self) -> int:
        """How many of the images have bytes of their own."""
        return -(-self.count // NAMES_EACH)

    @property
    def room(self) -> int:
        """Bytes that lie in RAM at most: what is served, what is stored, and what curl keeps in between."""
        return self.size * (self.distinct + 2 * self.count)

    def part(self, share: float) -> "Course":
        """The same with fewer images."""
        count, slow_count = (max(1, round(number * share)) for number in (self.count, self.slow_count))
        return replace(self, count=count, slow_count=slow_count)

    def carried(self, contestant: str) -> int:
        """How many images this contestant has to carry."""
        return min(self.count, self.slow_count) if contestant in SLOW else self.count


def _small(name: str, scheme: str, only: Sequence[str] = ALL, slots: int = 16, latency_ms: int = 0) -> Course:
    """8,000 images of 100 KB."""
    return Course(
        name=name,
        scheme=scheme,
        size=100_000,
        count=8000,
        slow_count=1000,
        slots=slots,
        latency_ms=latency_ms,
        only=tuple(only),
    )


def _large(name: str, scheme: str, only: Sequence[str] = ALL) -> Course:
    """400 images of 6 MB."""
    return Course(name=name, scheme=scheme, size=6_000_000, count=400, slow_count=100, slots=4, only=tuple(only))


QUICK = (
    _small("100 KB TLS", "https", (*FAST, *SLOW)),
    _small("100 KB plain", "http", FAST),
    _large("6 MB plain", "http", FAST),
    _large("6 MB TLS", "https", FAST),
)
FULL = (
    _small("100 KB TLS", "https"),
    _small("100 KB plain", "http"),
    _small("100 KB TLS +50 ms", "https", FAST, slots=256, latency_ms=50),
    _small("100 KB plain +50 ms", "http", FAST, slots=256, latency_ms=50),
    Course(name="2 MB TLS", scheme="https", size=2_000_000, count=1200, slow_count=200),
    Course(name="2 MB plain", scheme="http", size=2_000_000, count=1200, slow_count=200),
    _large("6 MB TLS", "https"),
    _large("6 MB plain", "http"),
    Course(name="100 KB to S3", scheme="http", size=100_000, count=4000, slow_count=1000, sink="s3", only=SIGNING),
    Course(name="100 KB to S3 TLS", scheme="https", size=100_000, count=4000, slow_count=500, sink="s3", only=SIGNING),
    Course(
        name="6 MB to S3", scheme="http", size=6_000_000, count=200, slow_count=100, slots=4, sink="s3", only=SIGNING
    ),
)
