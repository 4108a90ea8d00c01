"""Run everything that is too long for the tests, and write docs/scorecard.md: `bootstrap.py soak` ends here.

    .venv/bin/python scripts/soak/run.py [--minutes 60] [--seed S] [--only PART ...] [--page FILE]

Each part is a script of this folder, run in a process of its own, and gets a share of the minutes; what does not fit is
made smaller, and the page says so. The state machine gets what the others leave. The page is written whatever happens;
exit code 0 when every part passed, 1 when one failed.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.failures import DEMANDED, failures, report
from tests.scorecard import Asked, Card, Result, judged, page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scorecard.md"
PATIENCE, LEAST_PATIENCE_S = 4, 300.0
"""A part is stopped after so many times its share, but not before so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A script, how much of it is a full run, and what one unit of that costs in seconds on a machine with two cores.

    `share` is its part of the whole time; one that `takes_the_rest` comes last, gets what is left, and may be more than
    a full run. `options` makes the options of the script from the amount.
    """

    name: str
    title: str
    wanted: str
    unit: str
    full: int
    least: int
    cost_s: float
    share: float
    options: Callable[[int], list[str]]
    takes_the_rest: bool = False
    note: str = ""

    def asked(self, seconds: float, seed: int) -> Asked:
        """What fits into the seconds."""
        fits = int(seconds / self.cost_s)
        amount = max(self.least, fits if self.takes_the_rest else min(self.full, fits))
        # The state machine draws its own seeds, and prints the steps of what it finds.
        options = [*self.options(amount), *([] if self.takes_the_rest else ["--seed", str(seed)])]
        return Asked(
            name=self.name,
            title=self.title,
            wanted=self.wanted,
            command=" ".join([".venv/bin/python", f"scripts/soak/{self.name}.py", *options]),
            amount=f"{amount:,} {self.unit}" if amount >= self.full else f"{amount:,} of {self.full:,} {self.unit}",
            share=amount / self.full,
            note=self.note,
        )


PARTS = (
    Part(
        name="kills",
        title="kill -9",
        wanted="300 kills over 1,000 images: nothing lost, nothing paid twice",
        unit="kills",
        full=300,
        least=5,
        cost_s=1.5,
        share=0.3,
        note="`unknown` are requests that were under way when a kill came: recorded as such, and never repeated.",
        options=lambda kills: ["--kills", str(kills), "--images", str(-(-kills * 1000 // 300))],
    ),
    Part(
        name="outage",
        title="Bucket outage",
        wanted="a real outage of 60 s in which every URL dies: all images stored, none lost, none paid twice",
        unit="seconds",
        full=60,
        least=5,
        cost_s=2.0,
        share=0.2,
        options=lambda seconds: ["--seconds", str(seconds), "--images", str(-(-seconds * 1000 // 60))],
    ),
    Part(
        name="power",
        title="Power loss",
        wanted="2,000 power cuts at any moment of a run: nothing lost that was promised, nothing paid twice",
        unit="cuts",
        full=2000,
        least=50,
        cost_s=0.22,
        share=0.19,
        options=lambda cuts: ["--cuts", str(cuts)],
    ),
    Part(
        name="bodies",
        title="Damaged bodies",
        wanted="100,000 damaged bodies: none is accepted that its format or the source's checksum could show",
        unit="bodies",
        full=100_000,
        least=1000,
        cost_s=0.0006,
        share=0.05,
        note="`structure_cannot_show` counts damage that the format itself does not reveal: from a source that states"
        " no checksum, such a body is believed.",
        options=lambda bodies: ["--bodies", str(bodies)],
    ),
    Part(
        name="machine",
        title="Anything, in virtual time",
        wanted="no broken invariant in 10 minutes of random runs, no image lost in 100,000 outages of each lifetime",
        unit="minutes",
        full=10,
        least=1,
        cost_s=85.0,
        share=0.26,
        note="It draws its own seeds, and prints the steps of what it finds. `seen / images lost` were given up by the"
        " rule: long after their end, refused at least twice; `lost`, by lifetime, could have been fetched.",
        options=lambda minutes: ["--minutes", str(minutes), "--outages", str(min(100_000, minutes * 10_000))],
        takes_the_rest=True,
    ),
)
FAILURES = "failures"


def run(asked: Asked, limit_s: float) -> Result:
    """Run a part to its end, or stop it with all its processes after so many seconds. What it says is passed on."""
    began = time.monotonic()
    command = [sys.executable, *asked.command.split()[1:]]
    lines: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stdout:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        reader = threading.Thread(target=_pass_on, args=(process.stderr, lines), daemon=True)
        reader.start()
        code: int | None = None
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        reader.join(10)
        stdout.seek(0)
        printed = stdout.read()
    return judged(asked, code=code, stdout=printed, stderr="".join(lines), seconds=time.monotonic() - began)


def _pass_on(stream: IO[str], lines: list[str]) -> None:
    for line in stream:
        lines.append(line)
        print(line, end="", file=sys.stderr, flush=True)


def run_list() -> tuple[Result, list[str]]:
    """The list of known failures: each of the sections A to F needs a test, or a reason why there is none. Returns what
    is not covered, too."""
    began = time.monotonic()
    asked = Asked(
        name=FAILURES,
        title="Known failures",
        wanted="every number of the failure analysis has a test, or a reason why there is none",
        amount="the whole list",
        command=".venv/bin/python scripts/soak/failures.py",
    )
    try:
        rows = failures()
        *uncovered, summary = report().splitlines()
    except (ValueError, KeyError) as error:
        got = f"the list cannot be read: {type(error).__name__}: {error}"
        return Result(asked=asked, passed=False, got=got, seconds=0.0), [got]
    answered = {row.number for row in rows if row.tests or row.reason}
    open_numbers = [f"F{number}" for number in DEMANDED if number not in answered]
    figures = {
        "with a test": sum(bool(row.tests) for row in rows),
        "of them in part": sum(bool(row.tests and row.missing) for row in rows),
        "without a test": ", ".join(f"F{row.number}" for row in rows if not row.tests) or "none",
        "neither test nor reason": ", ".join(open_numbers) or "none",
    }
    got = summary + "".join(f"; {number} is not answered" for number in open_numbers)
    seconds = time.monotonic() - began
    return Result(asked=asked, passed=not open_numbers, got=got, seconds=seconds, figures=figures), uncovered


def run_all(minutes: float, seed: int, only: list[str]) -> list[Result]:
    """Every script that is wanted, one after the other."""
    end = time.monotonic() + 60 * minutes
    results = []
    for part in PARTS:
        if part.name in only:
            seconds = end - time.monotonic() if part.takes_the_rest else part.share * 60 * minutes
            asked = part.asked(seconds, seed)
            print(f"== {asked.title}: {asked.command}", file=sys.stderr, flush=True)
            results.append(run(asked, max(LEAST_PATIENCE_S, PATIENCE * seconds)))
    return results


def versions() -> Mapping[str, str]:
    """On what it ran."""
    import pycurl
    import pysqlite3

    rclone = _output(str(Path(sys.executable).with_name("rclone")), "version").partition("\n")[0]
    return {
        "Python": platform.python_version(),
        "SQLite": pysqlite3.sqlite_version,
        "libcurl": pycurl.version_info()[1],
        "rclone": rclone.removeprefix("rclone ") or "not found",
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def commit() -> str:
    """The commit, if this is a checkout, and whether anything but the page was changed since."""
    found = _output("git", "rev-parse", "--short", "HEAD").strip()
    is_changed = _output("git", "status", "--porcelain", "--", ".", ":!docs/scorecard.md").strip()
    return (found or "unknown") + (" with changes" if found and is_changed else "")


def _output(*command: str) -> str:
    """What a command prints, nothing when it cannot be run."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def write(target: Path, text: str) -> None:
    """Whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(target.name + ".new")
    new.write_text(text, "utf-8")
    new.replace(target)


def main() -> int:
    """Parse, run, write."""
    names = [*(part.name for part in PARTS), FAILURES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="for all parts together; below 6 it takes longer")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write, instead of docs/scorecard.md")
    given = parser.parse_args()
    began, when, what = time.monotonic(), datetime.now(UTC), commit()
    try:
        results = run_all(given.minutes, given.seed, given.only)
    except KeyboardInterrupt:
        print("soak: interrupted; no page is written", file=sys.stderr)
        return 130
    about = {
        "begun": f"{when:%Y-%m-%d %H:%M} UTC",
        "commit": what,
        "time": f"{(time.monotonic() - began) / 60:.1f} minutes of {given.minutes:g} asked for",
        "seed": str(given.seed),
        **versions(),
    }
    listed, uncovered = run_list()
    results += [listed] if FAILURES in given.only else []
    left_out = [name for name in names if name not in given.only]
    card = Card(about=about, results=results, uncovered=uncovered, left_out=left_out)
    write(given.page, page(card))
    for result in results:
        print(f"soak: {result.asked.title}: {'passed' if result.passed else 'FAILED'}: {result.got}", file=sys.stderr)
    return 0 if card.passed else 1


if __name__ == "__main__":
    sys.exit(main())
