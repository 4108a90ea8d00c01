"""How much memory archiver takes for few images and for many: it has to be the same. `bootstrap.py bench` runs it.

    .venv/bin/python scripts/bench/memory.py [--images 10000 100000] [--json FILE]

Each run is one `archiver backfill` of so many URLs of 2 KB over plain HTTP, from its start to its end; there are only a
few files under all those names. It tells the peak of each run, and by how much it grows for 100,000 images more.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.contestants import Failed
from bench.courses import Course
from bench.pictures import fill
from bench.servers import Missing
from bench.surroundings import line, places, surroundings
from bench.transfer import run_course

SIZE, FILES, SLOTS = 2_000, 20, 16
#: Issue and page ask for less than this, in MB for 100,000 images.
WANTED = 1.0
STEP = 100_000


@dataclass(frozen=True, slots=True)
class Peak:
    """One run."""

    images: int
    peak_mb: float
    wall_s: float
    cpu_s: float


def measured(images: int) -> Peak:
    """Carry so many. Raises `Missing` and `Failed`."""
    course = Course(name=f"{images:,} x 2 KB", scheme="http", size=SIZE, count=images, slow_count=images, slots=SLOTS)
    # A file takes a page of 4 KB in RAM, however small it is.
    with places(4096 * images) as folders:
        pictures = fill(folders[0] / "images", images, SIZE, FILES)
        (run,) = run_course(course, pictures, 1, folders, ["archiver"])
        shutil.rmtree(folders[0] / "stored")
    if isinstance(run, Failed):
        raise run
    return Peak(images=images, peak_mb=run.cost.peak_mb, wall_s=run.cost.wall_s, cpu_s=run.cost.cpu_s)


def slope(peaks: Sequence[Peak]) -> float | None:
    """MB for 100,000 images more, between the least and the most; None for a single run."""
    least, most = min(peaks, key=lambda peak: peak.images), max(peaks, key=lambda peak: peak.images)
    return (most.peak_mb - least.peak_mb) / (most.images - least.images) * STEP if most.images > least.images else None


def table(peaks: Sequence[Peak]) -> str:
    """The runs as Markdown, and what they amount to."""
    lines = ["| images of 2 KB | peak MB | s | CPU-s per 1000 |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {peak.images:,} | {peak.peak_mb:,.1f} | {peak.wall_s:,.0f} | {peak.cpu_s / peak.images * 1000:.2f} |"
        for peak in peaks
    ]
    grows = slope(peaks)
    if grows is not None:
        lines += ["", f"memory grows by {grows:.1f} MB for 100,000 images more (wanted: under {WANTED:.0f})"]
    return "\n".join(lines)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--images", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    around = surroundings()
    try:
        peaks = [measured(images) for images in given.images]
    except (Missing, Failed) as trouble:
        print(f"bench: {trouble}", file=sys.stderr)
        return 1
    print(f"{table(peaks)}\n{line(around)}.")
    if given.json:
        figures = {"surroundings": around, "peaks": [asdict(peak) for peak in peaks], "slope_mb": slope(peaks)}
        given.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
