"""How answers look: a table for people; JSON, CSV and TSV for programs.

Data goes to stdout. Control characters in what came from outside (prompts, error texts) are shown, never obeyed.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from archiver.core.errors import UsageError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LONGEST_CELL = 48
WIDEST = 4000

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")


#: How a listing can be printed besides as a table, in the words of sqlite-utils.
FORMATS = {
    "json": "Print one JSON array.",
    "nl": "Print JSON, one object a line.",
    "csv": "Print CSV, with a header.",
    "tsv": "Print TSV, with a header.",
}


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options for one of `FORMATS`; the command gets `output`: its name, or `table`."""

    @functools.wraps(command)
    def told(*arguments: Any, **options: Any) -> None:
        chosen = [name for name in FORMATS if options.pop(f"as_{name}")]
        if len(chosen) > 1:
            raise UsageError(f"say either --{chosen[0]} or --{chosen[1]}")
        command(*arguments, output=chosen[0] if chosen else "table", **options)

    for name, text in reversed(FORMATS.items()):
        click.option(f"--{name}", f"as_{name}", is_flag=True, help=text)(told)
    return told


#: How a spreadsheet knows a formula. What came from outside must not become one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain(value: object) -> str:
    """A value as one line of text without control characters."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _CONTROL.sub(_shown, text)


def _shown(match: "re.Match[str]") -> str:
    code = ord(match[0])
    return " " if match[0] in "\n\t" else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def short(value: object) -> str:
    """`plain`, cut to a length that fits a table."""
    text = plain(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Callable[[object], str]],
    *,
    as_json: bool,
    to_stderr: bool = False,
) -> None:
    """Print rows: with `as_json` all of them as they are, else a table of `columns` (name to how a cell is shown)."""
    if as_json:
        click.echo(json.dumps(list(rows), ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.replace("_", " "), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(show(row[name])) for name, show in columns.items()))
    # As wide as it is, on a terminal too: a key that is folded into its column cannot be copied.
    console = Console(width=WIDEST, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), err=to_stderr)


def print_listing(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Callable[[object], str]],
    output: str,
    *,
    names: Sequence[str] = (),
) -> None:
    """Print rows in one of `FORMATS`, with all that they hold, or as a table of `columns`. CSV and TSV have the columns
    `names`; without them those of the table, then whatever else the rows hold."""
    if output in ("csv", "tsv"):
        all_names = tuple(names) or tuple(dict.fromkeys((*columns, *(name for row in rows[:1] for name in row))))
        print_csv(rows, all_names, tabs=output == "tsv")
    elif output == "nl":
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
    else:
        print_rows(rows, columns, as_json=output == "json")


def print_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, tabs: bool = False) -> None:
    """Print rows as CSV. A text that a spreadsheet would run is marked as text with an apostrophe; lists are JSON."""
    import csv
    import io

    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n", delimiter="\t" if tabs else ",")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(csv_cells(row, columns))
    click.echo(lines.getvalue(), nl=False)


def csv_cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """The cells of one line of CSV."""
    cells = [
        plain(value) if isinstance(value, str | list | dict) else value for value in (row[name] for name in columns)
    ]
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]


def say(text: str) -> None:
    """Tell the person something, on stderr."""
    click.echo(text, err=True)


def counted(number: int, what: str) -> str:
    """So many of a thing: `1 image`, `2 images`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def usd(value: object) -> str:
    """An amount in a column of US dollars; what is unknown is no 0."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, int | float) else "unknown"


def dollars(value: object) -> str:
    """An amount in a sentence."""
    return f"${usd(value)}" if isinstance(value, int | float) else "an unknown amount"


def size_text(size: object) -> str:
    """Bytes as people read them."""
    if not isinstance(size, int):
        return ""
    if size < 1000:
        return f"{size} B"
    return next(f"{size / unit:.1f} {name}" for name, unit in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)) if size >= unit)
