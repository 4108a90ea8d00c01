"""CSV with a header line: quoted fields may hold commas, quotes and newlines.

A line with too many or too few fields is broken; empty lines are passed over. A quote that is never closed would
swallow the rest of the file, so reading goes on behind the line that opened it.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from archiver.lines import Broken, Line

# A prompt may be long; Python's default of 128 KB per field is for spreadsheets.
LONGEST_FIELD = 16 * 1024 * 1024


def read(
    text: Iterable[str],
    *,
    columns: Callable[[list[str]], Sequence[str]],
    delimiter: str = ",",
    has_header: bool = True,
) -> Iterator[Line | Broken]:
    """The lines of a CSV file. `columns` turns the first line, without a mark and the space around its names, into the
    names of the columns; when it raises ValueError, that is what is wrong with the file. Empty fields are left out.
    Without a header, the first line is one of the others too."""
    csv.field_size_limit(LONGEST_FIELD)
    rows: Iterator[tuple[int, list[str] | str]] = _rows((line.replace("\0", "\ufffd") for line in text), delimiter)
    number, first = next(rows, (1, []))
    try:
        header = columns([] if isinstance(first, str) else [name.strip().lstrip("\ufeff") for name in first])
    except ValueError as error:
        yield Broken(number=number, reason=first if isinstance(first, str) else str(error))
        return
    if not has_header:
        rows = chain([(number, first)], rows)
    for number, fields in rows:
        if isinstance(fields, str):
            yield Broken(number=number, reason=fields)
        elif fields and len(fields) != len(header):
            yield Broken(number=number, reason=f"{len(fields)} fields instead of {len(header)}")
        elif fields:
            yield Line(number=number, values={name: value for name, value in zip(header, fields, strict=True) if value})


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The number of each row's first line, and its fields, or what is wrong with it."""
    number = 1
    while True:
        taken: list[str] = []

        def feed(lines: Iterator[str] = lines, taken: list[str] = taken) -> Iterator[str]:
            for line in lines:
                taken.append(line)
                yield line

        try:
            for fields in csv.reader(feed(), delimiter=delimiter, strict=True):
                yield number, fields
                number += len(taken)
                taken.clear()
        except csv.Error as error:
            yield number, f"no CSV: {error}"
            lines = chain(taken[1:], lines)
            number += 1
        else:
            return
