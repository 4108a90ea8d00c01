"""JSON documents: answers of APIs, lists of records, HAR files, exports of chats, of any size.

Their shapes are told by what is in them. In a HAR file the prompt stands in the request and the URL in the answer; the
picture that the browser fetched itself counts when its URL is signed, or on a host known for generated images.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from archiver.core.model import Json
from archiver.lines import Broken, Line, Rest
from archiver.lines.documents import Part
from archiver.pipeline.backfill import beside, tables
from archiver.pipeline.backfill.beside import Columns
from archiver.pipeline.backfill.finds import Beside, Find, Passed, has_evidence, in_field, in_text
from archiver.pipeline.backfill.tables import Item, Rules
from archiver.pipeline.backfill.walking import Found, Thread, walk


def read(parts: Iterable[Part | Rest | Broken], columns: Columns) -> Iterator[Item]:
    """What every part of a document holds."""
    threads: dict[tuple[str, ...], Thread] = {}
    for part in parts:
        if isinstance(part, Part):
            if len(threads) > 100:  # lists inside lists; what was said in one says nothing of another
                threads.clear()
            yield from _part(part, columns, threads.setdefault(part.path, Thread()))
        else:
            yield part


def flat(line: Line, rules: Rules) -> Iterator[Item]:
    """What one JSON object in a line holds: a row where it has a URL itself, else whatever is in it."""
    if rules.is_strict and has_url(line.values, rules.columns):
        yield from tables.row(line, rules)
        return
    found = False
    for item in _found(line.number, line.values, rules.columns, Beside(), Thread()):
        found = True
        yield item
    if not found and rules.is_strict:
        yield Broken(number=line.number, reason="no url in this line")


def has_url(values: Mapping[str, Json], columns: Columns) -> bool:
    """Whether an object is a row: it has a field of its own for the URL of an image."""
    if columns.url is not None:
        return True
    if not _OF_LOGS.isdisjoint(map(beside.plain, values)):
        return False
    return any(beside.plain(name) in _OWN and isinstance(value, str) and value for name, value in values.items())


_OWN = frozenset(beside.URL) - {"output", "result", "images", "image", "links", "src", "outputurls", "imageurls"}

_OF_LOGS = frozenset(
    "level severity loglevel logger msg method statuscode endpoint remoteaddr useragent referer".split()
)


def _part(part: Part, columns: Columns, thread: Thread) -> Iterator[Item]:
    around = beside.of({beside.plain(name): value for name, value in part.around.items()})
    places = _Places(part)
    records = _records(part.value, columns)
    if records is None:
        for found in _found(part.number, part.value, columns, around, thread):
            yield places.placed(found)
        return
    for record in records:
        number = places.number
        line = Line(number=number, values=record)
        try:
            for item in tables.row(line, Rules(columns=columns)):
                yield places.placed(item)
        except ValueError as error:
            yield Broken(number=number, reason=str(error))


def _records(value: Json, columns: Columns) -> list[Mapping[str, Json]] | None:
    """The rows of a list of plain records; None when it is something else."""
    if isinstance(value, Mapping) and (columns.url or _is_record(value)):
        return [value]
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        rows: list[Mapping[str, Json]] = [item for item in value if isinstance(item, Mapping)]
        if columns.url or all(_is_record(item) for item in rows[:20]):
            return rows
    return None


def _is_record(value: Mapping[str, Json]) -> bool:
    return has_url(value, Columns()) and not beside.role_of(value)


def _found(
    number: int, value: Json | Mapping[str, Json], columns: Columns, around: Beside, thread: Thread
) -> Iterator[Find | Passed]:
    if isinstance(value, Mapping):
        if isinstance(log := value.get("log"), Mapping) and isinstance(entries := log.get("entries"), list):
            for entry in entries:
                yield from _found(number, entry, columns, around, thread)
            return
        if isinstance(value.get("request"), Mapping) and isinstance(value.get("response"), Mapping):
            yield from (_item(number, *each) for each in _entry(value))
            return
        around = columns.over(value, around)
    yield from (_item(number, *each) for each in walk(value, around, thread))


def _entry(entry: Mapping[str, Json]) -> Iterator[Found]:
    """One request of a HAR file, or of a log that keeps both sides."""
    request, response = entry.get("request"), entry.get("response")
    asked = request if isinstance(request, Mapping) else {}
    answer = response if isinstance(response, Mapping) else {}
    body = asked.get("postData", asked)
    sent = _parsed(body.get("text", body) if isinstance(body, Mapping) else body)
    fields = {beside.plain(name): value for name, value in sent.items()} if isinstance(sent, Mapping) else {}
    outer = beside.of({beside.plain(name): value for name, value in entry.items() if not isinstance(value, Mapping)})
    near = beside.of(fields, replace(outer, prompt=outer.prompt))
    content = answer.get("content", answer)
    kind = str(content.get("mimeType", "")) if isinstance(content, Mapping) else ""
    if isinstance(content, Mapping) and "text" in content:
        text = str(content["text"])
        if content.get("encoding") == "base64":
            text = "" if kind.startswith(("image/", "video/", "font/")) else _decoded(text)
        inner = _parsed(text)
        if kind.startswith(_OF_PAGES):
            yield from ((url, is_image and has_evidence(url), near) for url, is_image, _ in in_text(text))
        elif isinstance(inner, str):
            yield from ((url, is_image, near) for url, is_image, _ in in_text(inner))
        else:
            yield from walk(inner, near)
    elif not isinstance(content, Mapping) or "mimeType" not in content:
        yield from walk(content, near)
    url = asked.get("url")
    if isinstance(url, str) and url.startswith("http"):
        try:
            own, is_image = in_field(url, is_named=False)
        except ValueError:
            return
        is_picture = not kind or kind.startswith(("image/", "application/octet"))
        yield own, is_image and is_picture and has_evidence(own), Beside(created_at=outer.created_at)


_OF_PAGES = ("text/html", "text/css", "application/javascript", "text/javascript", "application/x-javascript")


def _parsed(value: Json) -> Json:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            inner: Json = json.loads(value, strict=False)
        except (ValueError, RecursionError):
            return value
        return inner
    return value


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except ValueError:
        return ""


def _item(number: int, *found: object) -> Find | Passed:
    url, is_image, near = found
    return Find(number=number, url=url, beside=near) if is_image else Passed(number=number, url=url)  # type: ignore[arg-type] # a Found


class _Places:
    """In which line of a document a URL stands: the last part of its path is looked for, from the one before on."""

    def __init__(self, part: Part) -> None:
        self._text = part.text if "\n" in part.text else ""
        self._at = 0
        self.number = part.number

    def placed(self, item: Item) -> Item:
        """The item with its line."""
        if not self._text or not isinstance(item, Find | Passed):
            return item
        name = str(item.url).partition("://")[2].partition("?")[0].partition("#")[0].rpartition("/")[2]
        at = self._text.find(name, self._at) if name else -1
        if at >= 0:
            self.number += self._text.count("\n", self._at, at)
            self._at = at
        return replace(item, number=self.number)
