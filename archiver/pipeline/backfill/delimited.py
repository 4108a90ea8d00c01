"""CSV with a header line: quoted fields may hold commas, quotes and newlines.

A line with too many or too few fields is broken; empty lines are passed over.
"""

import csv
from collections.abc import Iterable, Iterator

from archiver.pipeline.backfill.lines import Broken, Line

# A prompt may be long; Python's default of 128 KB per field is for spreadsheets.
LONGEST_FIELD = 16 * 1024 * 1024


def read(text: Iterable[str]) -> Iterator[Line | Broken]:
    """The lines of a CSV file. The first line names the columns; `url` must be among them."""
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader((line.replace("\0", "\ufffd") for line in text), strict=False)
    header = [name.strip().lstrip("\ufeff").lower() for name in next(reader, [])]
    if "url" not in header:
        yield Broken(number=1, reason="the first line of a CSV file must name the columns, and `url` among them")
        return
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Broken(number=number, reason=str(error))
            continue
        if not fields:
            continue
        if len(fields) != len(header):
            yield Broken(number=number, reason=f"{len(fields)} fields instead of {len(header)}")
            continue
        yield Line(number=number, values={name: value for name, value in zip(header, fields, strict=True) if value})
