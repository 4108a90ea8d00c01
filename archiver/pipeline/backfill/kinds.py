"""What kind of source it is, and how it is read: by its content, else by its name, or as a person says.

Every source comes as a stream of bytes, compressed or not, but a database, which is opened by its path.
"""

import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from archiver.catalogue import foreign
from archiver.core.errors import UsageError
from archiver.lines import Broken, Line, Rest, documents, jsonlines, sql
from archiver.lines.encoded import Text
from archiver.pipeline.backfill import beside, records, tables
from archiver.pipeline.backfill.beside import Columns
from archiver.pipeline.backfill.finds import Find, Passed
from archiver.pipeline.backfill.prose import Reader
from archiver.pipeline.backfill.tables import LONGEST_KEPT, Rules, is_url

KINDS = ("csv", "tsv", "jsonl", "json", "har", "chat", "sql", "sqlite", "markdown", "log", "text")
_SAME = {"har": "json", "chat": "json", "markdown": "text", "log": "text"}
_ENDINGS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".har": "json",
    ".sql": "sql", ".md": "text", ".markdown": "text", ".txt": "text", ".log": "text", ".html": "text", ".eml": "text",
}  # fmt: skip
_MAGIC = b"SQLite format 3\0"
_SQL = re.compile(
    r"^\s*(?:INSERT\s+(?:\w+\s+)?INTO\s|REPLACE\s+INTO\s|CREATE\s+TABLE\s|COPY\s+\S+\s*\(.*FROM\s+stdin"
    r"|-- (?:MySQL|MariaDB|PostgreSQL|SQLite)|PRAGMA\s+foreign_keys|BEGIN\s+TRANSACTION;)",
    re.IGNORECASE | re.MULTILINE,
)
_JSON = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*(?:[{\[\]\"]|$))")
Item = Find | Passed | Broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One thing to take in. `name` is what it is called in reports; `path` is None for standard input."""

    name: str
    path: Path | None
    stream: BinaryIO
    kind: str | None = None
    encoding: str | None = None
    columns: Columns = field(default_factory=Columns)
    query: str | None = None


def read(source: Source) -> Iterator[Item]:
    """Everything that a source holds: finds, URLs that are no images, and what is broken, with their lines."""
    stream = (
        source.stream
        if isinstance(source.stream, io.BufferedReader)
        else io.BufferedReader(cast("io.RawIOBase", source.stream))
    )
    if source.kind == "sqlite" or (source.kind is None and stream.peek(16)[:16] == _MAGIC):
        yield from _database(source)
        return
    if source.query is not None:
        raise UsageError(f"--query is for an SQLite file, and {source.name} is none")
    pieces: deque[Item] = deque()
    loose = Reader()
    try:
        text = Text(
            stream, encoding=source.encoding, overlong=lambda number, piece: pieces.extend(loose.line(number, piece))
        )
    except LookupError:
        raise UsageError(
            f"there is no encoding {source.encoding!r}; known are for example gb18030, utf-16, latin-1"
        ) from None
    try:
        for item in _items(source, text):
            if isinstance(item, Rest):
                for offset, line in enumerate(item.text.splitlines(keepends=True)):
                    yield from loose.line(item.number + offset, line)
            else:
                yield item
            yield from _waiting(text, pieces)
        yield from _waiting(text, pieces)
    finally:
        text.close()


def _waiting(text: Text, pieces: "deque[Item]") -> Iterator[Item]:
    while pieces:
        yield pieces.popleft()
    while text.troubles:
        yield text.troubles.pop(0)


def _items(source: Source, text: Text) -> Iterator[Item | Rest]:
    head = text.head()
    kind = _SAME.get(source.kind or "", source.kind) or recognise(source.name, head, source.columns)
    columns = source.columns
    if kind in ("csv", "tsv"):
        delimiter = "\t" if kind == "tsv" else _delimiter(head)
        rows = tables.rows_of(text.lines(), head, delimiter=delimiter, columns=columns)
        yield from tables.read(rows, Rules(columns=columns, is_strict=_names_urls(head, delimiter, columns)))
    elif kind == "jsonl":
        rules = Rules(columns=columns, is_strict=_is_of_rows(head, columns))
        for line in jsonlines.read(text.lines(), lists="data"):
            try:
                yield from records.flat(line, rules) if isinstance(line, Line) else [line]
            except ValueError as error:
                yield Broken(number=line.number, reason=str(error))
    elif kind == "json":
        yield from records.read(documents.read(text.pieces()), columns)
    elif kind == "sql":
        rules = Rules(columns=columns, is_strict=False, longest_kept=LONGEST_KEPT)
        yield from tables.read(sql.read(text.lines(), head), rules)
    else:
        yield from Reader(head).read(text.lines())


def recognise(name: str, head: str, columns: Columns) -> str:
    """The kind of a text that begins so."""
    ending = _ENDINGS.get(Path(name.lower().removesuffix(".gz")).suffix)
    start = head.lstrip("\ufeff \t\r\n")
    if _JSON.match(start):
        return _json_kind(start, ending)
    if ending == "jsonl":
        return ending
    if _SQL.search(head[:16_384]) and ending not in ("csv", "tsv", "text"):
        return "sql"
    if ending in ("csv", "tsv", "sql"):
        return ending
    first, _, rest = start.partition("\n")
    second = rest.partition("\n")[0]
    tabs = first.count("\t")
    if (
        tabs
        and second.count("\t") == tabs
        and (_names_urls(first, "\t", columns) or any(map(is_url, first.split("\t"))))
    ):
        return "tsv"
    if _names_urls(first, _delimiter(first), columns) and (
        not second or second.count(",") >= first.count(",") or '"' in second
    ):
        return "csv" if _LOOKS_LIKE_HEADER.fullmatch(first.strip()) else "text"
    if "," in first and is_url(first.partition(",")[0].strip('"')) and ending != "text":
        return "csv"
    return ending if ending and ending != "json" else "text"


_LOOKS_LIKE_HEADER = re.compile(r"[^\n.!?:/]{1,2000}")


def _json_kind(start: str, ending: str | None) -> str:
    first, _, rest = start.partition("\n")
    try:
        json.loads(first, strict=False)
    except (ValueError, RecursionError):
        return "jsonl" if ending == "jsonl" or _is_mostly_lines(start) else "json"
    return "jsonl" if rest.strip() or ending == "jsonl" else "json"


def _is_mostly_lines(start: str) -> bool:
    """Whether it is JSON lines whose first one is broken."""
    whole = 0
    for line in start.split("\n")[1:4]:
        try:
            whole += isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            continue
    return whole >= 2


def _delimiter(head: str) -> str:
    first = head.partition("\n")[0]
    return ";" if first.count(";") > first.count(",") and "http" not in first else ","


def _names_urls(head: str, delimiter: str, columns: Columns) -> bool:
    """Whether the header has a column for URLs, or there is none and the first line has one."""
    first = next(csv.reader([head.lstrip("\ufeff").partition("\n")[0].rstrip("\r")], delimiter=delimiter), [])
    told = columns.url
    return any(
        beside.plain(cell) in beside.URL or cell.strip().lower() == (told or "url").lower() or is_url(cell)
        for cell in first
    )


def _is_of_rows(head: str, columns: Columns) -> bool:
    """Whether the first object of JSON lines has a URL of its own: then every line must."""
    for line in head.split("\n"):
        if not line.strip("\ufeff \t\r"):
            continue
        try:
            first = json.loads(line.lstrip("\ufeff"))
        except (ValueError, RecursionError):
            continue
        return isinstance(first, dict) and records.has_url(first, columns)
    return True


def _database(source: Source) -> Iterator[Item]:
    if source.path is None:
        raise UsageError("an SQLite file cannot come by standard input; name the file")
    if source.query is None:
        names = ", ".join(foreign.tables(source.path)[:20])
        question = "--query 'SELECT ... AS url, ... AS prompt FROM ...'"
        raise UsageError(f"{source.name} is an SQLite file: say {question}; its tables: {names}")
    if foreign.has_journal(source.path):
        reason = "rows in its -wal file are not read; close the program that uses it, or take a copy with VACUUM INTO"
        yield Broken(number=0, reason=reason)
    rules = Rules(columns=source.columns, longest_kept=LONGEST_KEPT)
    lines = (
        Line(number=number, values=row) for number, row in enumerate(foreign.rows(source.path, source.query), start=1)
    )
    for item in tables.read(lines, rules):
        if not isinstance(item, Rest):
            yield item
