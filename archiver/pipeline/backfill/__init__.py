"""Taking in temporary URLs that somebody kept elsewhere: one file per kind of source, one way into the catalogue.

A source yields entries and broken lines; a broken line is reported with its number and never stops the rest. What an
image is called is decided by its URL without the signature, so the same file may be taken in twice.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TextIO
from zoneinfo import ZoneInfo

from archiver.catalogue import Arrival, Catalogue, Draft
from archiver.core import policy
from archiver.core.model import Json, Promise
from archiver.core.redaction import names_a_secret, redact
from archiver.core.tempurl import TemporaryURL, unescape_url
from archiver.lines import Broken, Line, delimited, jsonlines

BATCH = 500
_MILLISECONDS_FROM = 1e11
_SENSIBLE_YEARS = range(1970, 2200)


@dataclass(slots=True)
class Report:
    """What became of the lines: how many were `new`, `refreshed`, `requeued`, `waiting` or `known`, and the broken."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """Where entries go. `zone` is for times that name none; without a catalogue lines are only judged."""

    catalogue: Catalogue | None
    stores: tuple[str, ...]
    zone: ZoneInfo
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    def take_in(self, name: str, text: TextIO) -> Report:
        """Take in one source. Without a catalogue every line is read and judged, and nothing is written."""
        report = Report()
        entries = self._entries(name, text, report)
        while batch := list(islice(entries, BATCH)):
            if self.catalogue is None:
                report.counts["readable"] += len(batch)
            else:
                report.counts.update(self.catalogue.images.adopt(batch, self.now()))
        return report

    def _entries(self, name: str, text: TextIO, report: Report) -> Iterator[tuple[Draft, Arrival]]:
        for line in read(name, text):
            if isinstance(line, Broken):
                report.broken.append(line)
                continue
            try:
                yield self._entry(name, line)
            except ValueError as error:
                report.broken.append(Broken(number=line.number, reason=str(error)))

    def _entry(self, name: str, line: Line) -> tuple[Draft, Arrival]:
        values = dict(line.values)
        if any(_has_foreign_bytes(value) for value in values.values()):
            raise ValueError("not UTF-8 text; save the file as UTF-8 (in Excel: CSV UTF-8)")
        now = self.now()
        url = TemporaryURL(unescape_url(_text(values.pop("url", None), "url")))
        created = self._time(values.pop("created_at", None), "created_at")
        expires = self._time(values.pop("expires_at", None), "expires_at")
        prompt, model = values.pop("prompt", None), values.pop("model", None)
        evidence = policy.gather_evidence(
            url, Promise(), created or now, stated=expires, otherwise=now + policy.UNKNOWN_AGE_LIFETIME
        )
        deadline, decided = policy.decide_deadline(evidence, now)
        draft = Draft(
            id=self.new_id(),
            origin="backfill",
            prompt="" if prompt is None else str(prompt),
            provider=None,
            model=None if model in (None, "") else str(model),
            stores=self.stores,
            metadata={
                **_named(values),
                "backfilled_from": f"{name}:{line.number}",
            },
            created_at=created,
        )
        arrival = Arrival(
            id=self.new_id(),
            index=0,
            url=url,
            deadline=deadline,
            deadline_from=decided.source,
            give_up_at=max(policy.gives_up_at(evidence), now + policy.REFUSALS_APART),
            evidence=evidence,
        )
        return draft, arrival

    def _time(self, value: Json, column: str) -> datetime | None:
        """ISO 8601 text, or epoch seconds or milliseconds. Raises ValueError, also for a year that nobody means."""
        if value is None or value == "":
            return None
        try:
            moment = self._moment(value)
        except (ValueError, OverflowError, OSError, TypeError) as error:
            raise ValueError(f"{column} {str(value)[:40]!r} is no time; write 2026-11-20T09:00:00+08:00") from error
        if moment.year not in _SENSIBLE_YEARS:  # and adding a lifetime to the year 9999 is an error of arithmetic
            raise ValueError(f"{column} {str(value)[:40]!r} is in the year {moment.year}")
        return moment

    def _moment(self, value: Json) -> datetime:
        try:
            number = float(value)  # type: ignore[arg-type] # the other kinds raise TypeError, as they should
        except ValueError:
            moment = datetime.fromisoformat(str(value).strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=self.zone)).astimezone(UTC)
        return datetime.fromtimestamp(number / 1000 if number > _MILLISECONDS_FROM else number, UTC)


def _has_foreign_bytes(value: Json) -> bool:
    """Whether a value came from bytes that are no UTF-8; whoever opened the text let them through as surrogates."""
    return isinstance(value, str) and any("\udc80" <= sign <= "\udcff" for sign in value)


def _without_secrets(value: Json) -> Json:
    """Other columns may hold signed URLs too, and metadata is kept for ever."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return _named(value)
    return value


def _named(values: dict[str, Json]) -> dict[str, Json]:
    """What is called `api_key` or `Authorization` is one, whatever it looks like."""
    return {
        name: "[redacted]" if names_a_secret(name) and value else _without_secrets(value)
        for name, value in values.items()
    }


def read(name: str, text: TextIO) -> Iterator[Line | Broken]:
    """The lines of a source, by its name's ending (`.csv`, `.jsonl`, `.ndjson`) or, for others, by its first line."""
    if name.endswith((".jsonl", ".ndjson")):
        return jsonlines.read(text)
    if name.endswith(".csv"):
        return delimited.read(text, columns=_columns)
    first = text.readline()
    rest = chain((first,), text)  # standard input cannot be rewound
    if first.lstrip("\ufeff \t").startswith("{"):
        return jsonlines.read(rest)
    return delimited.read(rest, columns=_columns)


def _columns(header: list[str]) -> list[str]:
    names = [name.lower() for name in header]
    if "url" not in names:
        raise ValueError("the first line of a CSV file must name the columns, and `url` among them")
    return names


def _text(value: Json, column: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"no {column} in this line")
    return value.strip()
