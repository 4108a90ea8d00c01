"""The report file of a backfill: a row for every URL that was found, where it stood, and what became of it.

While lines are read, rows are kept on disk beside the report; at the end they are completed from the catalogue and the
report takes its name. It holds no signed query, however long it is.
"""

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from archiver.catalogue import Catalogue
from archiver.core.errors import Unusable, UsageError
from archiver.core.redaction import redact

COLUMNS = ("source", "line", "url", "triage", "state", "image_id", "key", "error")
_AT_ONCE = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Ledger:
    """Use as: `add` for each, then `finish`. Raises UsageError for a name that is neither CSV nor JSONL, Unusable when
    it cannot be written."""

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in (".csv", ".jsonl", ".ndjson"):
            raise UsageError(f"--report writes CSV or JSONL, by the name's ending; {path.name} has another one")
        self._path = path
        self._draft = path.with_name(f".{path.name}.part")
        try:
            self._rows: TextIO = self._draft.open("w+", encoding="utf-8")
        except OSError as error:
            raise Unusable(f"cannot write {path}: {error.strerror}") from error

    def add(self, source: str, line: int, triage: str, *, url: str = "", identity: str = "", error: str = "") -> None:
        """Keep one row. `url` is redacted already."""
        json.dump([source, line, url, triage, identity, error], self._rows, ensure_ascii=False)
        self._rows.write("\n")

    def finish(self, catalogue: Catalogue | None) -> None:
        """Write the report. Without a catalogue, nothing is known of any state."""
        done = self._path.with_name(f".{self._path.name}.new")
        try:
            self._rows.seek(0)
            with done.open("w", encoding="utf-8", newline="") as out:
                self._write(out, self._completed(catalogue))
            done.replace(self._path)
            self._rows.close()
            self._draft.unlink()
        except OSError as error:
            raise Unusable(f"cannot write {self._path}: {error.strerror}") from error

    def _completed(self, catalogue: Catalogue | None) -> Iterator[dict[str, Any]]:
        while batch := [json.loads(line) for line in islice(self._rows, _AT_ONCE)]:
            identities = [row[4] for row in batch if row[4]]
            known = catalogue.backfilling.standing(identities) if catalogue is not None else {}
            for source, line, url, triage, identity, error in batch:
                stands = known.get(identity)
                yield {
                    "source": source,
                    "line": line,
                    "url": url,
                    "triage": triage,
                    "state": stands.state if stands else None,
                    "image_id": stands.image_id if stands else None,
                    "key": stands.keys if stands else None,
                    "error": redact(error or (stands.error if stands and stands.error else "")) or None,
                }

    def _write(self, out: TextIO, rows: Iterator[dict[str, Any]]) -> None:
        if self._path.suffix.lower() != ".csv":
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for row in rows:
            cells = ["" if row[name] is None else str(row[name]) for name in COLUMNS]
            writer.writerow(f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells)
