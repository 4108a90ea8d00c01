"""All measurements, one after the other: `bootstrap.py bench` ends here.

    .venv/bin/python scripts/bench/run.py [--quick] [--json FILE] [--plot FILE]

Transfer beside the peers, a backlog with deadlines, single parts, the catalogue, and memory against the number of
images. `--quick` leaves out the last one and takes a few minutes; the whole takes more than an hour, most of it for
building a catalogue of a million rows. What cannot be measured here (no nginx) or fails is said, and the exit code is
1; figures of what was measured before are written all the same. Figures that are over their limits are named, and are
no failure of the run.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import parts
from bench.plot import Panel, by_course, chart
from bench.surroundings import line, surroundings

HERE = Path(__file__).parent
QUICK_ROWS, ROWS = (10_000,), (10_000, 100_000, 1_000_000)


def main() -> int:
    """Measure everything, print the tables, and write what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, help="Write all figures to this file.")
    parser.add_argument("--plot", type=Path, help="Draw the ratios, and memory, into this SVG file.")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    figures: dict[str, Any] = {"surroundings": surroundings(), "seconds": {}}
    print(f"{line(figures['surroundings'])}\n", flush=True)
    failed = []
    for name, measure in _measurements(given.quick).items():
        begun = time.perf_counter()
        figures[name] = measure()
        figures["seconds"][name] = round(time.perf_counter() - begun, 1)
        print(f"\n({name} took {figures['seconds'][name]:.0f} s)\n", flush=True)
        if _is_failed(figures[name]):
            failed.append(name)
        if given.json:
            given.json.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
    ratios = (figures["transfer"] or {}).get("ratios", {})
    if given.plot:
        given.plot.write_text(_picture(ratios, figures.get("memory")), "utf-8")
    for name, times in ratios.items():
        print(f"{name} {times:.2f} x")
    print(f"all of it took {sum(figures['seconds'].values()):.0f} s", file=sys.stderr)
    if failed:
        print(f"failed, or not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _measurements(quick: bool) -> dict[str, Callable[[], Any]]:
    """What is measured, in this order."""
    rows = [word for one in (QUICK_ROWS if quick else ROWS) for word in ("--rows", str(one))]
    named: dict[str, Callable[[], Any]] = {
        "transfer": lambda: _script("transfer.py", ["--quick"] if quick else []),
        "deadlines": lambda: _script("deadlines.py", []),
        "parts": lambda: _parts(200 if quick else 2000),
        "catalogue": lambda: _script("catalogue.py", rows),
    }
    return named if quick else {**named, "memory": lambda: _script("memory.py", [])}


def _parts(accepts: int) -> list[dict[str, Any]]:
    measured = [*parts.checksums(), *parts.accepts(accepts), *parts.generations()]
    print(parts.table(measured))
    return [asdict(figure) for figure in measured]


def _script(name: str, arguments: list[str]) -> Any:
    """Run one script of this folder in a process of its own. What it measured; None when it could not."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        process = subprocess.Popen([sys.executable, str(HERE / name), *arguments, "--json", str(file)])
        try:
            process.wait()
        except BaseException:  # it has servers of its own, and ends them
            process.terminate()
            process.wait()
            raise
        return json.loads(file.read_text("utf-8")) if file.exists() else None


def _is_failed(figures: Any) -> bool:
    """Nothing came, or it names something that went wrong."""
    return figures is None or (isinstance(figures, dict) and bool(figures.get("failed") or figures.get("trouble")))


def _picture(ratios: dict[str, float], memory: Any) -> str:
    panels = by_course(ratios)
    if memory:
        peaks = {f"{peak['images']:,} images": peak["peak_mb"] for peak in memory["peaks"]}
        panels.append(Panel("peak memory of archiver, images of 2 KB", peaks, unit="MB", ratios=False))
    return chart("archiver, times as fast as each of the others", panels)


if __name__ == "__main__":
    sys.exit(main())
