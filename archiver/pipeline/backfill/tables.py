"""Rows with named columns: CSV, TSV, JSON lines, SQL dumps, the answer of a query.

Where a column is named for URLs, or a person named one, every row must have one, and what stands in it is taken unless
it says that it is something else. The other columns are kept as metadata. Where no column is, all of them are searched.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from archiver.core.model import Json
from archiver.core.tempurl import TemporaryURL, unescape_url
from archiver.lines import Broken, Line, Rest, delimited
from archiver.pipeline.backfill import beside
from archiver.pipeline.backfill.beside import Columns
from archiver.pipeline.backfill.finds import Beside, Find, Passed, in_field, in_text
from archiver.pipeline.backfill.walking import walk

LONGEST_KEPT = 2000
"""Characters of another column of a dump or a query, which nobody chose to keep."""
_TOLD = ("url", "prompt", "model", "created_at", "expires_at")
Item = Find | Passed | Broken | Rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How rows are read: the columns that a person named, and whether a row without a URL is a mistake."""

    columns: Columns
    is_strict: bool = True
    longest_kept: int | None = None


def read(lines: Iterable[Line | Rest | Broken], rules: Rules) -> Iterator[Item]:
    """What every row holds."""
    for line in lines:
        if not isinstance(line, Line):
            yield line
            continue
        try:
            yield from row(line, rules)
        except ValueError as error:
            yield Broken(number=line.number, reason=str(error))


def row(line: Line, rules: Rules) -> Iterator[Item]:
    """What one row holds. Raises ValueError for a row that should hold a URL and does not."""
    fields = {beside.plain(name): (name, value) for name, value in line.values.items()}
    told = rules.columns.url
    cells = [(told, beside.at(line.values, told))] if told else [fields[name] for name in beside.URL if name in fields]
    near = rules.columns.over(line.values, _near(line.values, fields))
    found: list[Find | Passed] = []
    problem = f"no {told or 'url'} in this line"
    for name, cell in cells:
        try:
            found += _cell(line, near, cell, is_told=bool(told) or name.lower() == "url")
        except ValueError as error:
            problem = str(error) if str(error) != "empty" else problem
    if not any(isinstance(item, Find) for item in found) and not told:
        found += [_item(line.number, *each) for each in walk(dict(line.values), near)]
    kept = {told, *(name for name, _ in cells), *_used(line.values, rules.columns, near)}
    values = {name: _short(value, rules) for name, value in line.values.items() if name not in kept}
    seen: set[str] = set()
    for item in found:
        if item.url.identity not in seen:
            seen.add(item.url.identity)
            yield (
                Find(number=item.number, url=item.url, beside=item.beside, values=values)
                if isinstance(item, Find)
                else item
            )
    if not found and rules.is_strict:
        raise ValueError(problem)


def _near(values: Mapping[str, Json], fields: Mapping[str, tuple[str, Json]]) -> Beside:
    """What stands in the columns. `created_at` and `expires_at` by these very names are told by whoever wrote them."""
    near = beside.of({plain: value for plain, (_, value) in fields.items()})
    if "created_at" in values or "expires_at" in values:
        created, expires = values.get("created_at", near.created_at), values.get("expires_at", near.expires_at)
        return Beside(prompt=near.prompt, model=near.model, created_at=created, expires_at=expires, is_told=True)
    return near


def _used(values: Mapping[str, Json], columns: Columns, near: Beside) -> set[str]:
    """The columns that became something: they are not metadata too."""
    used = {name for name in (columns.prompt, columns.model, columns.created_at, columns.expires_at) if name}
    told = (near.prompt, near.model, near.created_at, near.expires_at)
    for name in values:
        is_one = beside.plain(name) in _ROLES
        if (name in _TOLD and getattr(columns, name) is None) or (
            is_one and (values[name] in told or beside.words(values[name]) in told)
        ):
            used.add(name)
    return used


_ROLES = frozenset({*beside.PROMPT, *beside.MODEL, *beside.CREATED, *beside.EXPIRES})


def _cell(line: Line, near: Beside, cell: Json, *, is_told: bool) -> Iterator[Find | Passed]:
    """The URLs of one cell: one, several in a list or behind each other, or none (ValueError)."""
    if cell is None or cell == "":
        raise ValueError("empty")
    if isinstance(cell, list | dict) or (isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{")):
        value = cell if isinstance(cell, list | dict) else _json(str(cell))
        named: Json = {"images": value} if isinstance(value, list) else value
        yield from (_item(line.number, url, is_image, near) for url, is_image, near in walk(named, near))
        return
    if not isinstance(cell, str):
        raise ValueError("empty")
    text = cell.strip()
    many = text.count("http:") + text.count("https:") > 1
    if many and (several := [url for url, is_image, _ in in_text(text, shown=False) if is_image]) and len(several) > 1:
        yield from (Find(number=line.number, url=url, beside=near) for url in several)
        return
    try:
        url, is_image = in_field(text, is_named=True)
    except ValueError:
        shown = [(url, is_image) for url, is_image, _ in in_text(text)]
        if not shown:
            raise
        yield from (_item(line.number, url, is_image, near) for url, is_image in shown)
        return
    yield _item(line.number, url, is_image or (is_told and not _is_page(text)), near)


def _is_page(text: str) -> bool:
    url, is_image = in_field(text, is_named=True)
    return not is_image and str(url).rpartition("/")[2].partition("?")[0].endswith((".html", ".htm", ".php", ".json"))


def _json(text: str) -> Json:
    try:
        value: Json = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        value = text
    return value


def _item(number: int, url: TemporaryURL, is_image: bool, near: Beside) -> Find | Passed:
    return Find(number=number, url=url, beside=near) if is_image else Passed(number=number, url=url)


def _short(value: Json, rules: Rules) -> Json:
    if rules.longest_kept is None:
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= rules.longest_kept else text[: rules.longest_kept] + "…"


def rows_of(lines: Iterable[str], head: str, *, delimiter: str, columns: Columns) -> Iterator[Line | Broken]:
    """The rows of CSV or TSV. A first line that holds a URL is no header: its columns are `url`, `column_2` and so on,
    the first one with a URL being `url`."""
    first = next(csv.reader([head.lstrip("\ufeff").partition("\n")[0].rstrip("\r")], delimiter=delimiter), [])
    places = [place for place, cell in enumerate(first) if is_url(cell)]
    if not places:
        return delimited.read(lines, columns=lambda header: _names(header, columns), delimiter=delimiter)
    names = ["url" if place == places[0] else f"column_{place + 1}" for place in range(len(first))]
    return delimited.read(lines, columns=lambda _: names, delimiter=delimiter, has_header=False)


def is_url(cell: str) -> bool:
    """Whether a cell is a URL and nothing else."""
    try:
        TemporaryURL(unescape_url(cell))
    except ValueError:
        return False
    return True


def _names(header: Sequence[str], columns: Columns) -> list[str]:
    known = [name.lower() if name.lower() in _TOLD else name for name in header]
    told = columns.url
    if not known or (told and "." not in told and told.lower() not in (name.lower() for name in known)):
        raise ValueError(
            f"the first line of a CSV file must name the columns, and `{told or 'url'}` among them"
            + (f"; it names {', '.join(known)[:200]}" if known else "")
        )
    return known
