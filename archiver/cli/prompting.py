"""Prompts on the command line: where they are read from, what is odd about them, and what became of each.

Prompts come from arguments, a file or standard input; after a batch each of them has a row, in the order of the
question. It asks no provider.
"""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from archiver.cli.printing import plain, print_rows, say, short
from archiver.core.errors import UsageError
from archiver.core.model import Wish
from archiver.prompts import Entry, flaw, kind_of, read, remarks

#: More prompts at once must be confirmed.
MOST_UNCONFIRMED = 100
#: What is said of more prompts than these helps nobody.
MOST_REMARKED = 100
MOST_REMARKS = 20
REPORT_ENDINGS = (".jsonl", ".csv")
_COLUMNS = ("index", "prompt", "state", "attempts", "images", "keys", "error")


def collect(arguments: Iterable[str], file: str | None, kind: str | None) -> list[Entry]:
    """The prompts of a command: first those that were typed, then those of `file` (`-`: standard input, text unless
    `kind` says otherwise). Raises UsageError with the place of what cannot be used."""
    entries = [Entry(f"the prompt {plain(prompt)[:40]!r}", Wish(prompt=prompt)) for prompt in arguments]
    for where, wish in entries:
        if wrong := flaw(wish.prompt):
            raise UsageError(f"{where} {wrong}")
    if file is not None:
        name, folder = ("standard input", Path()) if file == "-" else (file, Path(file).parent)
        try:
            data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
            entries += read(name, data, folder=folder, kind=kind or ("txt" if file == "-" else kind_of(file)))
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(str(error)) from None
    if not entries:
        raise UsageError("there is no prompt; write it as an argument, or name a file with --prompts-file")
    return entries


def as_row(wish: Wish, *, size: str | None, n: int) -> dict[str, Any]:
    """A wish as JSON shows it, with what holds where it says nothing."""
    return {
        "prompt": wish.prompt,
        "size": wish.size or size,
        "n": wish.n or n,
        "tags": list(wish.tags),
        "inputs": list(wish.inputs),
        "parameters": dict(wish.parameters),
    }


def tell_remarks(prompts: Iterable[str], before: str = "") -> None:
    """Say what is odd about prompts; it stops nobody."""
    found = [f'{before}"{short(prompt)}" is {remark}' for prompt in prompts for remark in remarks(prompt)]
    for remark in found[:MOST_REMARKS]:
        say(remark)
    if len(found) > MOST_REMARKS:
        say(f"{before}and {len(found) - MOST_REMARKS} more such prompts")


def check_report(path: Path | None) -> None:
    """Refuse a report that could not be written, before anything is spent. Raises UsageError."""
    if path is None:
        return
    if path.suffix.lower() not in REPORT_ENDINGS:
        raise UsageError(f"--report {path} ends neither with .jsonl nor with .csv")
    try:
        path.open("a", encoding="utf-8").close()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {path}: {getattr(error, 'strerror', error)}") from None


def outcomes(
    generations: Sequence[Mapping[str, Any]], lineage: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """What became of each prompt, in the order of `generations` (rows of `Reports.under_way`); `lineage` has the rows
    of each by its id. `index` is from 1."""
    return [
        {
            "index": index,
            "prompt": row["prompt"],
            "state": row["state"],
            "attempts": row["attempts"],
            "images": row["images"],
            "keys": [copy["key"] for copy in lineage[row["generation_id"]]],
            "error": row["error"] or row["image_error"],
            "generation_id": row["generation_id"],
        }
        for index, row in enumerate(generations, start=1)
    ]


def show_outcomes(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table at the end of a batch, on stderr: stdout is the lineage. One prompt needs none."""
    if len(rows) > 1:
        shown = {**dict.fromkeys(_COLUMNS, plain), "prompt": short, "keys": _joined, "error": short}
        print_rows(rows, shown, as_json=False, to_stderr=True)


def write_report(path: Path, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Write all rows, in place of what the file held. False, and a word about it, when that cannot be done."""
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            _write(file, rows, is_csv=path.suffix.lower() == ".csv")
    except OSError as error:
        say(f"cannot write {path}: {error.strerror}")
        return False
    return True


def _write(file: TextIO, rows: Sequence[Mapping[str, Any]], *, is_csv: bool) -> None:
    if not is_csv:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return
    table = csv.DictWriter(file, fieldnames=list(rows[0]))
    table.writeheader()
    table.writerows({**row, "keys": _joined(row["keys"])} for row in rows)


def _joined(keys: Any) -> str:
    return " ".join(keys)
