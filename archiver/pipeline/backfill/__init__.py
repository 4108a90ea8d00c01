"""Taking in temporary URLs that somebody kept elsewhere: one file per kind of source, one way into the catalogue.

A source yields finds and broken lines; a broken line is reported with its number and never stops the rest. What an
image is called is decided by its URL without the signature, so the same file may be taken in twice.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from archiver.catalogue import Arrival, Catalogue, Draft
from archiver.core import policy
from archiver.core.model import Json, Promise
from archiver.core.redaction import names_a_secret, redact
from archiver.lines import Broken
from archiver.pipeline.backfill.finds import Find, Passed
from archiver.pipeline.backfill.kinds import KINDS, Source, read
from archiver.pipeline.backfill.ledger import Ledger
from archiver.pipeline.backfill.triage import Seen, Triage, judge, judge_known

__all__ = ["KINDS", "Backfill", "Ledger", "Report", "Source", "Triage"]

BATCH = 500
MOST_BROKEN_KEPT = 1000
_MILLISECONDS_FROM = 1e11
_SENSIBLE_YEARS = range(1970, 2200)
_COINCIDENCES = range(2015, 2101)
"""What stands beside a URL by chance is a time of its making in these years alone."""


@dataclass(slots=True)
class Report:
    """What became of the lines: how many were `new`, `refreshed`, `requeued`, `waiting` or `known`; how many were
    broken, and the first of them."""

    counts: "Counter[str]" = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)
    broken_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A find that can be taken in."""

    number: int
    verdict: str
    draft: Draft
    arrival: Arrival
    identity: str


@dataclass(slots=True, kw_only=True)
class Backfill:
    """Where entries go. `zone` is for times that name none. With `is_trial` lines are only judged, by the catalogue too
    where there is one. Taken are at most `limit` images that are not known yet, on `hosts` (patterns; empty: all), and
    none that says to be older than `since`."""

    catalogue: Catalogue | None
    stores: tuple[str, ...]
    zone: ZoneInfo
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    is_trial: bool = False
    since: datetime | None = None
    limit: int | None = None
    hosts: tuple[str, ...] = ()
    ledger: Ledger | None = None
    triage: Triage = field(default_factory=Triage)
    _seen: Seen = field(default_factory=Seen)
    _passed: Seen = field(default_factory=Seen)

    def take_in(self, source: Source) -> Report:
        """Take in one source, or judge it."""
        report = Report()
        entries = self._entries(source, report)
        while not self.is_full and (batch := list(islice(entries, min(BATCH, self._room())))):
            self._settle(source.name, batch, report)
        return report

    @property
    def is_full(self) -> bool:
        """Whether as much was taken in as was asked for."""
        return self._room() <= 0

    def _room(self) -> int:
        return BATCH if self.limit is None else self.limit - self.triage.to_copy

    def _settle(self, name: str, batch: Sequence[Entry], report: Report) -> None:
        known = self.catalogue.backfilling.standing([item.identity for item in batch]) if self.catalogue else {}
        verdicts = []
        for item in batch:
            stands = known.get(item.identity)
            is_first = self._seen.add(item.identity)
            verdicts.append("repeated" if not is_first else judge_known(stands) if stands else item.verdict)
        if self.is_trial or self.catalogue is None:
            report.counts["readable"] += len(batch)
        else:
            words = self.catalogue.images.adopt([(item.draft, item.arrival) for item in batch], self.now())
            report.counts.update(words)
            for place, word in enumerate(words):  # signed anew: there is something to copy again
                if word in ("refreshed", "requeued") and verdicts[place] != "repeated":
                    verdicts[place] = batch[place].verdict
        self.triage.counts.update(verdicts)
        for item, verdict in zip(batch, verdicts, strict=True):
            if self.ledger is not None and verdict != "repeated":
                url = str(item.arrival.url)
                self.ledger.add(name, item.number, verdict, url=url, identity=item.identity)

    def _entries(self, source: Source, report: Report) -> Iterator[Entry]:
        name = source.name
        for item in read(source):
            if isinstance(item, Broken):
                self._break(name, item, report)
            elif isinstance(item, Passed):
                self._pass(name, item, "no image", report)
            elif self.hosts and not any(fnmatchcase(item.url.host, host) for host in self.hosts):
                self._pass(name, item, "elsewhere", report)
            else:
                try:
                    entry = self._entry(name, item)
                except ValueError as error:
                    self._break(name, Broken(number=item.number, reason=str(error)), report)
                    continue
                if self.since is not None and entry.draft.created_at and entry.draft.created_at < self.since:
                    self._pass(name, item, "older", report)
                else:
                    yield entry

    def _id(self) -> str:
        return "" if self.is_trial else self.new_id()

    def _break(self, name: str, broken: Broken, report: Report) -> None:
        report.broken_count += 1
        self.triage.counts["broken"] += 1
        if len(report.broken) < MOST_BROKEN_KEPT:
            report.broken.append(broken)
        if self.ledger is not None:
            self.ledger.add(name, broken.number, "broken", error=broken.reason)

    def _pass(self, name: str, item: Find | Passed, verdict: str, report: Report) -> None:
        if self._passed.add(item.url.identity):
            report.counts[verdict] += 1
            self.triage.counts[verdict] += 1
            if self.ledger is not None:
                self.ledger.add(name, item.number, verdict, url=str(item.url))

    def _entry(self, name: str, find: Find) -> Entry:
        now, beside, url = self.now(), find.beside, find.url
        created = self._time(beside.created_at, "created_at", is_told=beside.is_told)
        expires = self._time(beside.expires_at, "expires_at", is_told=beside.is_told)
        evidence = policy.gather_evidence(
            url, Promise(), created or now, stated=expires, otherwise=now + policy.UNKNOWN_AGE_LIFETIME
        )
        deadline, decided = policy.decide_deadline(evidence, now)
        draft = Draft(
            id=self._id(),
            origin="backfill",
            prompt=beside.prompt,
            provider=None,
            model=beside.model or None,
            stores=self.stores,
            metadata={**_named(find.values), "backfilled_from": f"{name}:{find.number}"},
            created_at=created,
        )
        arrival = Arrival(
            id=self._id(),
            index=0,
            url=url,
            deadline=deadline,
            deadline_from=decided.source,
            give_up_at=max(policy.gives_up_at(evidence), now + policy.REFUSALS_APART),
            evidence=evidence,
        )
        verdict = judge(deadline, decided, now)
        return Entry(number=find.number, verdict=verdict, draft=draft, arrival=arrival, identity=url.identity)

    def _time(self, value: Json, column: str, *, is_told: bool) -> datetime | None:
        """ISO 8601 text, or epoch seconds or milliseconds. When nobody said that it is a time, what cannot be one is
        none; else raises ValueError, also for a year that nobody means."""
        if value is None or value == "":
            return None
        try:
            moment = self._moment(value)
        except (ValueError, OverflowError, OSError, TypeError) as error:
            if not is_told:
                return None
            raise ValueError(f"{column} {str(value)[:40]!r} is no time; write 2026-11-20T09:00:00+08:00") from error
        if not is_told:
            return moment if moment.year in _COINCIDENCES else None
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


_is_secret = lru_cache(maxsize=4096)(names_a_secret)


def _without_secrets(value: Json) -> Json:
    """Other columns may hold signed URLs too, and metadata is kept for ever."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return _named(value)
    return value


def _named(values: Mapping[str, Json]) -> dict[str, Json]:
    """What is called `api_key` or `Authorization` is one, whatever it looks like."""
    return {
        name: "[redacted]" if value and _is_secret(name) else _without_secrets(value) for name, value in values.items()
    }
