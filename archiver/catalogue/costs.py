"""What was spent on what, what reuse saved, and what was paid for without an image: read-only questions about money.

A request counts at the moment when it was last sent. What is unknown is never added as 0: a price that nobody knows is
counted, and an outcome that nobody knows is summed apart. No prompt is in an answer, and no row is read outside of the
time that is asked about.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Literal

from archiver.catalogue.database import Database, as_text, as_time
from archiver.core.budget import period
from archiver.core.model import Json

By = Literal["day", "month", "job", "provider", "model", "size"]

#: Sent, whatever became of it. What was withdrawn waits to be sent, and nothing of it was charged.
_SENT = "('submitted', 'accepted', 'completed', 'failed', 'unknown')"
_LABELS = {
    "day": "span.label",
    "month": "span.label",
    "job": "coalesce(g.job, g.origin)",
    "provider": "g.provider",
    "model": "g.model",
    "size": "g.size",
}
_SPANS = """
    (select json_extract(value, '$[0]') as label, json_extract(value, '$[1]') as since, json_extract(value, '$[2]') as
        until from json_each(:spans)) as span
"""
_COLUMNS = "generations images micro unpriced unknown unknown_micro unknown_unpriced reused saved_micro".split()
_FINISH = frozenset({"finish_reason", "finishReason", "native_finish_reason", "blockReason", "block_reason"})


class Costs:
    """Questions about money."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def first(self) -> datetime | None:
        """When the first request of all was sent."""
        (row,) = self._database.rows(
            "select min(submitted_at) as first from generations where submitted_at is not null"
        )
        return as_time(row["first"]) if row["first"] else None

    def by(self, by: By, since: datetime, until: datetime, zone: tzinfo) -> list[dict[str, Any]]:
        """One row per day or month of `zone`, job, provider, model or size of what was sent in that time.

        `cost_usd` is what is known, None when nothing of it is; `unpriced` counts those without a price. Those whose
        outcome is unknown are apart: `unknown`, `unknown_usd`, `unknown_unpriced`. `saved_usd` is what those would have
        cost that `reused` an earlier answer.
        """
        spans = [("", since, until)]
        if by in ("day", "month"):
            spans = list(_spans("day" if by == "day" else "month", self._start(since, until), until, zone))
        values = {"spans": json.dumps([(label, as_text(start), as_text(end)) for label, start, end in spans])}
        found: dict[str | None, dict[str, int]] = {}
        for statement in (_sent(_LABELS[by]), _sent_before(_LABELS[by]), _reused(_LABELS[by])):
            for row in self._database.rows(statement, values):
                sums = found.setdefault(row["label"], dict.fromkeys(_COLUMNS, 0))
                for name in _COLUMNS:
                    sums[name] += (row[name] or 0) if name in row.keys() else 0  # noqa: SIM118 - a row is no mapping
        return [{by: label, **_shown(found[label])} for label in sorted(found, key=lambda label: label or "")]

    def _start(self, since: datetime, until: datetime) -> datetime:
        """No earlier than anything that is there: years of empty days are not asked about one by one."""
        (row,) = self._database.rows(
            """
            select min(at) as first from (
                select min(submitted_at) as at from generations
                where submitted_at is not null and submitted_at >= :since
                union all select min(submitted_at) from earlier_requests where submitted_at >= :since
                union all select min(created_at) from generations where state = 'reused' and created_at >= :since)
            """,
            {"since": as_text(since)},
        )
        return as_time(row["first"]) if row["first"] else until

    def unrewarded(self, since: datetime) -> list[dict[str, Any]]:
        """Every request since then that was paid, or may have been, and brought no image or too few; oldest first.

        `what` is `no image`, `unknown` or `short`; `expected_usd` is what it was to cost, None when nobody knows.
        """
        rows = self._database.rows(
            """
            select id as generation_id,
                case state when 'failed' then 'no image' when 'unknown' then 'unknown' else 'short' end as what,
                provider, model, request_id, handle as task, submitted_at, answered_at, n, coalesce(came, 0) as images,
                coalesce(expected_micro, cost_micro) / 1e6 as expected_usd, facts, error, written_off_at
            from generations
            where (state in ('failed', 'unknown') or came < n) and submitted_at is not null and submitted_at >= :since
                and state in ('failed', 'unknown', 'completed')
                and coalesce(expected_micro, cost_micro) is not 0
            union all
            select e.generation_id, case e.state when 'failed' then 'no image' else 'unknown' end, g.provider, g.model,
                e.request_id, null, e.submitted_at, e.answered_at, g.n, 0, e.expected_micro / 1e6, '{}', e.error, null
            from earlier_requests as e join generations as g on g.id = e.generation_id
            where e.submitted_at >= :since
            order by submitted_at
            """,
            {"since": as_text(since)},
        )
        return [_claim(dict(row)) for row in rows]


def total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of rows of `Costs.by`, in the same words."""
    dollars = {"cost_usd": "micro", "unknown_usd": "unknown_micro", "saved_usd": "saved_micro"}
    sums = dict.fromkeys(_COLUMNS, 0)
    for row in rows:
        for name, value in row.items():
            if name in dollars:
                sums[dollars[name]] += round((value or 0) * 1e6)
            elif name in sums:
                sums[name] += value
    return _shown(sums)


def _spans(
    per: Literal["day", "month"], since: datetime, until: datetime, zone: tzinfo
) -> Iterator[tuple[str, datetime, datetime]]:
    """The days or months of a zone from `since` on, each with its first moment and the first one after it."""
    while since < until:
        label, ends = period(per, since, zone)
        yield label, since, min(ends, until)
        since = ends


def _sums(state: str, cost: str, images: str) -> str:
    return f"""
        count(*) as generations, sum({images}) as images,
        sum(iif({state} <> 'unknown', {cost}, 0)) as micro,
        sum({state} <> 'unknown' and {cost} is null) as unpriced,
        sum({state} = 'unknown') as unknown,
        sum(iif({state} = 'unknown', {cost}, 0)) as unknown_micro,
        sum({state} = 'unknown' and {cost} is null) as unknown_unpriced
    """


def _sent(label: str) -> str:
    return f"""
        select {label} as label, {_sums("g.state", "coalesce(g.cost_micro, g.expected_micro)", "g.came")}
        from {_SPANS} cross join generations as g indexed by generations_submitted
        where g.submitted_at is not null and g.submitted_at >= span.since and g.submitted_at < span.until
            and g.state in {_SENT}
        group by 1
    """


def _sent_before(label: str) -> str:
    """What an operator asked for again, as it was before."""
    return f"""
        select {label} as label, {_sums("e.state", "e.expected_micro", "0")}
        from {_SPANS} cross join earlier_requests as e join generations as g on g.id = e.generation_id
        where e.submitted_at >= span.since and e.submitted_at < span.until
        group by 1
    """


def _reused(label: str) -> str:
    return f"""
        select {label} as label, count(*) as reused,
            sum(coalesce(g.expected_micro, source.cost_micro, source.expected_micro)) as saved_micro
        from {_SPANS} cross join generations as g left join generations as source on source.id = g.reused_from
        where g.state = 'reused' and g.created_at >= span.since and g.created_at < span.until
        group by 1
    """


def _shown(sums: Mapping[str, int]) -> dict[str, Any]:
    """In dollars. What nobody knows the price of is no 0."""
    is_priced = sums["micro"] or not sums["unpriced"]
    is_unknown_priced = sums["unknown_micro"] or not sums["unknown_unpriced"]
    return {
        "generations": sums["generations"],
        "images": sums["images"],
        "cost_usd": sums["micro"] / 1e6 if is_priced else None,
        "unpriced": sums["unpriced"],
        "unknown": sums["unknown"],
        "unknown_usd": sums["unknown_micro"] / 1e6 if is_unknown_priced else None,
        "unknown_unpriced": sums["unknown_unpriced"],
        "reused": sums["reused"],
        "saved_usd": sums["saved_micro"] / 1e6,
    }


def _claim(row: dict[str, Any]) -> dict[str, Any]:
    """With the reason in the provider's own word, where its answer had one."""
    row["finish_reason"] = ", ".join(dict.fromkeys(_finish_reasons(json.loads(row.pop("facts"))))) or None
    return row


def _finish_reasons(facts: Json) -> Iterator[str]:
    if isinstance(facts, dict):
        for name, value in facts.items():
            if name in _FINISH and isinstance(value, str):
                yield value
            else:
                yield from _finish_reasons(value)
    elif isinstance(facts, list):
        for item in facts:
            yield from _finish_reasons(item)
