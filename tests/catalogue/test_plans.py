"""How SQLite goes about the questions that are asked all the time: through an index to what is meant, never along a
table that grows with the archive.

Every statement that a question really sends is caught and explained. An index may be walked only where it holds nothing
but what waits or failed; such a walk is named here.
"""

import re
from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import pytest

from archiver.catalogue import Catalogue, Filter, Resting
from tests.catalogue.filling import HOUR, LEASE, NOW, arrival, ask, claim_one, completed, draft, no, raw, safe

DAY = 24 * HOUR
RESTING = Resting(hosts=["h"], stores=["here"], urgent_from=NOW, urgent_until=NOW)
GROWING = ("images", "generations", "copies", "events", "i", "g", "c", "e", "other", "source", "earlier", "walk_of")
#: Partial indexes of what is rare or of what waits, walked in their order up to a limit.
WALKED = {
    *("images_due", "images_hosts", "images_claimed", "images_spool", "images_unconfirmed", "images_lost"),
    *("generations_turn", "generations_polled", "generations_doubtful", "generations_paused"),
}
HOT: dict[str, Callable[[Catalogue], object]] = {
    "claim": lambda catalogue: catalogue.images.claim("w", NOW, LEASE, limit=50),
    "claim one": lambda catalogue: catalogue.images.claim("w", NOW, LEASE),
    "claim what a person asked for": lambda catalogue: catalogue.images.claim("w", NOW, LEASE, tried_before=NOW),
    "claim of some generations": lambda catalogue: catalogue.images.claim("w", NOW, LEASE, generations=["g1"]),
    "claim past hosts": lambda catalogue: catalogue.images.claim(
        "w", NOW, LEASE, except_hosts={"h"}, resting=RESTING, limit=50
    ),
    "probe": lambda catalogue: catalogue.images.claim("w", NOW, LEASE, probe=("h", 0.5)),
    "settle": lambda catalogue: catalogue.images.settle([safe(claim_one(catalogue))], NOW),
    "postpone": lambda catalogue: catalogue.images.settle([no(claim_one(catalogue))], NOW),
    "next copy": lambda catalogue: (catalogue.images.next_due(), catalogue.images.next_due(resting=RESTING)),
    "next copy of some": lambda catalogue: catalogue.images.next_due(["g1"]),
    "waiting hosts": lambda catalogue: catalogue.images.waiting_hosts(),
    "hopeless": lambda catalogue: catalogue.images.hopeless(NOW),
    "lose": lambda catalogue: catalogue.images.lose("i3", NOW),
    "claimants": lambda catalogue: (catalogue.images.claimants(), catalogue.images.free("nobody")),
    "spool": lambda catalogue: (catalogue.images.spool_names(), catalogue.fitness.spooled_bytes()),
    "dead links": lambda catalogue: catalogue.awaiting.dead(["apiyi"], NOW, NOW, 10),
    "begin": lambda catalogue: catalogue.generations.begin_submit("apiyi", "w", NOW),
    "begin one of a job": lambda catalogue: catalogue.generations.begin_submit("apiyi", "w", NOW, job="daily"),
    "begin a chosen one": lambda catalogue: catalogue.generations.begin_submit("apiyi", "w", NOW, ids=["g1"], fit=[]),
    "wanted": lambda catalogue: (
        catalogue.fitness.wanted("apiyi", NOW),
        catalogue.fitness.wanted("apiyi", NOW, ids=["g1"]),
    ),
    "next request": lambda catalogue: [
        catalogue.fitness.next_due(state, providers=["apiyi"], job=None, ids=ids, now=NOW)
        for state in ("planned", "accepted")
        for ids in (None, ["g1"])
    ],
    "under way": lambda catalogue: (catalogue.fitness.under_way(), catalogue.generations.submitted()),
    "reuse": lambda catalogue: catalogue.reusing.reuse("apiyi", NOW),
    "last confirmed": lambda catalogue: catalogue.fitness.last_confirmed("here"),
    "poll": lambda catalogue: catalogue.awaiting.next_poll("apiyi", "w", NOW, NOW + HOUR),
    "pollers": lambda catalogue: (catalogue.awaiting.pollers(), catalogue.awaiting.free("nobody", NOW)),
    "tick": lambda catalogue: (catalogue.ticks.last("daily"), catalogue.ticks.count("daily")),
    "busy": lambda catalogue: catalogue.reports.busy(),
    "status": lambda catalogue: (catalogue.reports.status(NOW), catalogue.providers.waiting(NOW)),
    "alerts": lambda catalogue: catalogue.watching.facts(NOW),
    "providers": lambda catalogue: catalogue.providers.recent(["apiyi"]),
    "jobs": lambda catalogue: catalogue.reports.last_ticks(),
    "one image": lambda catalogue: catalogue.reports.stories("i1"),
    "one generation": lambda catalogue: catalogue.outcomes.generations(generation_id="g1", limit=1),
    "failed generations": lambda catalogue: catalogue.outcomes.generations(states=("failed", "unknown"), limit=9),
    "generations of a job": lambda catalogue: catalogue.outcomes.generations(job="daily", limit=9),
    "lineage of an id": lambda catalogue: catalogue.reports.lineage("i1"),
    "lineage of a key": lambda catalogue: catalogue.reports.lineage("images/i1.png"),
    "at risk": lambda catalogue: catalogue.listings.at_risk(9),
    "losses": lambda catalogue: (catalogue.listings.losses(None, 9), catalogue.listings.losses(NOW, 9)),
    "tree": lambda catalogue: catalogue.descent.of("i1"),
    "waiting images": lambda catalogue: catalogue.listings.images(
        Filter(due=NOW + DAY), sort="deadline", limit=9, deep=True
    ),
    "costs of a day": lambda catalogue: catalogue.costs.by("job", NOW - DAY, NOW, UTC),
    "refunds of a day": lambda catalogue: catalogue.costs.unrewarded(NOW - DAY),
    "statistics of a day": lambda catalogue: catalogue.statistics.since(NOW - DAY),
}


@pytest.fixture
def busy(catalogue: Catalogue) -> Catalogue:
    """Something in every state."""
    raw(catalogue).execute("pragma synchronous=off")
    for number in range(12):
        completed(catalogue, arrival(number), number=number, job="daily", tags=("a",))
    for ticket in catalogue.images.claim("w", NOW, LEASE, limit=4):
        catalogue.images.settle([safe(ticket)], NOW)
    for ticket in catalogue.images.claim("w", NOW, LEASE, limit=2):
        catalogue.images.settle([safe(ticket, receipts=(), spooled=ticket.image_id, error="here: down")], NOW)
    for ticket in catalogue.images.claim("w", NOW, LEASE, limit=2):
        catalogue.images.settle([no(ticket, NOW + HOUR)], NOW)
    catalogue.generations.add([draft(number, reuse=timedelta(days=1)) for number in range(20, 30)], NOW)
    for number, end in enumerate((catalogue.generations.doubt, catalogue.generations.fail)):
        taken = catalogue.generations.begin_submit("apiyi", "w", NOW)
        assert taken is not None
        end(taken.ask.generation_id, "w", str(number), NOW)
    taken = catalogue.generations.begin_submit("apiyi", "w", NOW)
    assert taken is not None
    catalogue.generations.accept(taken.ask.generation_id, "w", "handle", NOW, NOW)
    return catalogue


def steps(catalogue: Catalogue, question: Callable[[Catalogue], object]) -> list[str]:
    """The plan of every statement that a question sends."""
    db, sent = raw(catalogue), list[str]()
    db.set_trace_callback(sent.append)
    question(catalogue)
    db.set_trace_callback(None)
    asked = [one for one in sent if re.match(r"\s*(select|with|update|insert|delete)\b", one)]
    return [row[3] for statement in asked for row in db.execute(f"explain query plan {statement}").fetchall()]


def walks(plan: list[str]) -> list[str]:
    """What is read from end to end, but for what may be."""
    found = []
    for step in plan:
        match = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
        if match and match[1] in GROWING and match[2] not in WALKED:
            found.append(step)
    return found


@pytest.mark.parametrize("question", HOT, ids=list(HOT))
def test_a_question_that_is_asked_all_the_time_walks_along_no_table(busy: Catalogue, question: str) -> None:
    plan = steps(busy, HOT[question])
    assert plan or question == "jobs"
    assert walks(plan) == [], plan


@pytest.mark.parametrize(
    "statement",
    [
        "select state, count(*) from images group by state",
        "select * from generations where coalesce(provider, '') = 'apiyi'",
        "select * from copies where proof = 'x'",
        "select e.* from events as e where kind = 'postponed'",
        "select * from images where created_at > '2026' or size > 3 or error = 'x'",
    ],
)
def test_a_walk_along_a_table_is_seen(busy: Catalogue, statement: str) -> None:
    assert walks(steps(busy, lambda catalogue: ask(catalogue, statement)))


def test_every_index_that_may_be_walked_is_partial(busy: Catalogue) -> None:
    """An index of all rows would be as long as the table."""
    indexes: dict[str, Any] = dict(ask(busy, "select name, sql from sqlite_schema where type = 'index'"))
    assert [name for name in sorted(WALKED) if " where " not in " ".join(indexes[name].split())] == []


def test_a_statement_is_compiled_once_however_many_others_there_are(busy: Catalogue) -> None:
    """The driver's own cache holds 128, and when it is full it throws out the newest: it would be compiled again for
    every single row."""
    db, compiled = raw(busy), list[int]()
    for number in range(400):
        db.execute(f"select {number}").fetchall()

    def judge(action: int, *_: object) -> int:
        compiled.append(action)
        return 0

    db.set_authorizer(judge)
    for _ in range(2):
        compiled.clear()
        for name in ("next copy", "spool", "status", "alerts"):
            HOT[name](busy)
    db.set_authorizer(None)
    assert compiled == []
