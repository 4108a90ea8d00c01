"""All measurements, one after the other: `bootstrap.py bench` ends here.

    .venv/bin/python scripts/bench/run.py [--quick] [--json FILE] [--plot FILE]

Transfer beside the peers, single parts, then the catalogue. `--quick` takes a few minutes; the whole takes about an
hour, most of it for building a catalogue of a million rows. What cannot be measured here (no nginx) is said, and the
exit code is 1. Figures of a catalogue that are over their limits are named, and are no failure of the run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import parts
from bench.catalogue import surroundings
from bench.plot import bars

HERE = Path(__file__).parent


def main() -> int:
    """Measure everything, print the tables, and write what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, help="Write all figures to this file.")
    parser.add_argument("--plot", type=Path, help="Draw the ratios into this SVG file.")
    given = parser.parse_args()
    around = surroundings()
    print(f"{around['system']}, Python {around['python']}, SQLite {around['sqlite']}, load {around['load']}\n")
    figures: dict[str, Any] = {"surroundings": around}
    figures["transfer"] = _script("transfer.py", ["--quick"] if given.quick else [])
    measured = [*parts.checksums(), *parts.accepts(200 if given.quick else 2000), *parts.generations()]
    figures["parts"] = [asdict(figure) for figure in measured]
    print(f"\n{parts.table(measured)}\n", flush=True)
    rows = [10_000] if given.quick else [10_000, 100_000, 1_000_000]
    figures["catalogue"] = _script("catalogue.py", [word for one in rows for word in ("--rows", str(one))])
    if given.json:
        given.json.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
    ratios = (figures["transfer"] or {}).get("ratios", {})
    if given.plot and ratios:
        given.plot.write_text(bars("archiver beside each of the others, times as fast", ratios), "utf-8")
    for name, times in ratios.items():
        print(f"{name} {times:.2f} x")
    return 0 if figures["transfer"] else 1


def _script(name: str, arguments: list[str]) -> Any:
    """Run one script of this folder in a process of its own. What it measured; None when it could not."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        subprocess.run([sys.executable, str(HERE / name), *arguments, "--json", str(file)], check=False, env=os.environ)
        return json.loads(file.read_text("utf-8")) if file.exists() else None


if __name__ == "__main__":
    sys.exit(main())
