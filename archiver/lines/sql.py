"""SQL dumps: the rows of INSERT statements (MySQL, PostgreSQL, SQLite) and of PostgreSQL's COPY, with their columns.

A dump is read, never run. Whether a backslash escapes inside quotes depends on who wrote it, and is told by the file's
beginning or by the `E` before a quote. What is neither of the statements is passed over.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from archiver.core.model import Json
from archiver.lines import Broken, Line, Rest

LONGEST_VALUE = 8 * 1024 * 1024
"""Characters of one row."""

_MYSQL = re.compile(r"MySQL|MariaDB|`|ENGINE=|\\[\"']|\\\\/")
_NAME = r"(?:`[^`]+`|\"[^\"]+\"|\[[^\]]+\]|[\w$]+)"
_INSERT = re.compile(
    rf"(?:INSERT|REPLACE)\s+(?:\w+\s+)*?INTO\s+((?:{_NAME}\s*\.\s*)?{_NAME})\s*(\([^()]*\))?\s*VALUES\s*", re.IGNORECASE
)
_CREATE = re.compile(rf"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?((?:{_NAME}\s*\.\s*)?{_NAME})\s*\(", re.IGNORECASE)
_COPY = re.compile(rf"COPY\s+((?:{_NAME}\s*\.\s*)?{_NAME})\s*\(([^()]*)\)\s+FROM\s+stdin;", re.IGNORECASE)
_COLUMN = re.compile(rf"\s*({_NAME})\s+\w")
_NO_COLUMN = frozenset({"primary", "key", "unique", "constraint", "index", "foreign", "check", "fulltext", "exclude"})
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SIGNS = {"n": "\n", "r": "\r", "t": "\t", "0": "\ufffd", "b": "\b", "Z": "\x1a"}
_STANDARD = r"'(?:[^']|'')*+'"
_ESCAPING = r"'(?:[^'\\]|\\.|'')*+'"
_BARE = r"[^\s,()'][^,()']*"


def read(lines: Iterable[str], head: str) -> Iterator[Line | Rest | Broken]:
    """The rows of a dump whose beginning is `head`."""
    return _Dump(lines, escapes=bool(_MYSQL.search(head))).rows()


def _value(text: str, group: str) -> str:
    """The pattern of one value in a row, its five forms each in a group that begins so."""
    # SQLite's shell writes a text with newlines as replace('...','\\n',char(10)).
    mended = rf"(?:replace\(){{1,2}}{group}{text})(?:,\s*'\\[nr]',\s*char\(1[03]\)\)){{1,2}}"
    called = rf"\w+\s*\(\s*{group}{text})\s*\)"
    plain = rf"(?:[NnXx]|_\w+\s*)?{group}{text})(?:::\w+)*"
    return rf"{mended}|{group}[Ee]{_ESCAPING})|{called}|{plain}|{group}{_BARE})"


class _Dump:
    def __init__(self, lines: Iterable[str], *, escapes: bool) -> None:
        self._lines = iter(lines)
        self._columns: dict[str, list[str]] = {}
        self._number = 0
        self._escapes = escapes
        text = _ESCAPING if escapes else _STANDARD
        self._value = re.compile(_value(text, "("), re.DOTALL)
        one = _value(text, "(?:")
        self._row = re.compile(rf"\s*\(\s*(?:{one})(?:\s*,\s*(?:{one}))*+\s*\)", re.DOTALL)

    def rows(self) -> Iterator[Line | Rest | Broken]:
        """Every row."""
        for line in self._next():
            start = line.lstrip()[:300]
            word = start[:7].upper()
            if word.startswith(("INSERT", "REPLACE")):
                yield from self._insert(line)
            elif word.startswith("COPY"):
                yield from self._copy(line)
            elif word.startswith("CREATE"):
                self._create(line)

    def _next(self) -> Iterator[str]:
        for line in self._lines:
            self._number += 1
            yield line

    def _create(self, line: str) -> None:
        """Remember the columns of a table, for the INSERTs that do not name them."""
        found = _CREATE.search(line)
        if not found:
            return
        names: list[str] = []
        body = line[found.end() :]
        while ";" not in body and body.count("\n") < 500 and (more := next(self._next(), "")):
            body += more
        for piece in body.split(","):
            column = _COLUMN.match(piece)
            if column and column[1].lower() not in _NO_COLUMN:
                names.append(_bare(column[1]))
        self._columns[_bare(found[1])] = names

    def _insert(self, line: str) -> Iterator[Line | Rest | Broken]:
        number = self._number
        while not (found := _INSERT.search(line)) and ";" not in line and len(line) < 64 * 1024:
            if not (more := next(self._next(), "")):
                return
            line += more
        if not found:
            return
        names = [_bare(name) for name in found[2].strip("()").split(",")] if found[2] else []
        names = names or self._columns.get(_bare(found[1]), [])
        at = found.end()
        while True:
            row = self._row.match(line, at)
            if row is None:
                more = next(self._next(), "") if len(line) - at < LONGEST_VALUE else ""
                if not more:
                    yield Broken(number=number, reason="a row cannot be read; searched for URLs as plain text")
                    yield Rest(number=number, text=line[at:])
                    return
                number = number if line[at:].strip() else self._number
                line, at = line[at:] + more, 0
                continue
            yield Line(number=number, values=self._named(names, row[0]))
            at = row.end()
            while (rest := re.compile(r"\s*").match(line, at)) and rest.end() == len(line):
                if not (more := next(self._next(), "")):
                    return
                line, at = more, 0
            at = rest.end() if rest else at
            if line[at] != ",":
                return
            after = re.compile(r",\s*").match(line, at)
            at = after.end() if after else at
            if at == len(line):
                line, at = next(self._next(), ""), 0
                at = len(line) - len(line.lstrip())
            number = self._number

    def _named(self, names: list[str], row: str) -> Mapping[str, Json]:
        values: dict[str, Json] = {}
        for place, found in enumerate(self._value.finditer(row, row.index("(") + 1, len(row) - 1)):
            name = names[place] if place < len(names) else f"column_{place + 1}"
            value = self._plain(found)
            if value not in (None, ""):
                values[name] = value
        return values

    def _plain(self, found: "re.Match[str]") -> Json:
        if found[1]:
            return found[1][1:-1].replace("''", "'").replace("\\n", "\n").replace("\\r", "\r")
        if found[2]:
            return _ESCAPED.sub(lambda sign: _SIGNS.get(sign[1], sign[1]), found[2][2:-1].replace("''", "'"))
        if found[3] or found[4]:
            text = (found[3] or found[4])[1:-1].replace("''", "'")
            return _ESCAPED.sub(lambda sign: _SIGNS.get(sign[1], sign[1]), text) if self._escapes else text
        bare = found[5].strip()
        return None if bare.upper() == "NULL" else bare

    def _copy(self, line: str) -> Iterator[Line | Rest | Broken]:
        found = _COPY.search(line)
        names = [_bare(name) for name in found[2].split(",")] if found else []
        for row in self._next():
            if row.rstrip("\r\n") == "\\.":
                return
            cells = row.rstrip("\r\n").split("\t")
            if len(cells) != len(names):
                yield Broken(number=self._number, reason=f"{len(cells)} fields instead of {len(names)}")
                continue
            values = {
                name: _ESCAPED.sub(lambda sign: _SIGNS.get(sign[1], sign[1]), cell)
                for name, cell in zip(names, cells, strict=True)
                if cell != "\\N"
            }
            yield Line(number=self._number, values=dict(values))


def _bare(name: str) -> str:
    """A name without its schema and its quotes."""
    return re.split(r"[.]", name.strip())[-1].strip().strip('`"[]')
