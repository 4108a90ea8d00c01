"""Numbers that triggers keep are what a recount says: after any history, a migration, a rebuild, and raw SQL."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from sqlite_utils import Database

from archiver.catalogue import Arrival, Catalogue, Difference, as_text
from archiver.catalogue.counters import RECOUNT
from archiver.catalogue.migrations import migrations
from tests.catalogue.filling import (
    FILE,
    HOUR,
    LEASE,
    NOW,
    PNG,
    arrival,
    ask,
    claim_one,
    completed,
    draft,
    no,
    opened,
    raw,
    safe,
    sqlite,
)
from tests.fault.machine import Machine

KEPT = f"""
    select * from (select name, key, value, size from counters where value <> 0 except select * from ({RECOUNT}))
    union all select * from (select * from ({RECOUNT}) where value <> 0 except select * from counters)
"""
RUNS = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Counted(Machine):
    """Whatever happens to a data folder, also to processes that die in the middle of it."""

    @invariant()
    def counters_say_what_a_recount_says(self) -> None:
        if hasattr(self, "world"):
            assert self.world.rows(KEPT) == []


def test_counters_hold_whatever_happens() -> None:
    """The random runs of the state machine. A failure prints its steps, and how to play them again."""
    run_state_machine_as_test(Counted, settings=RUNS)


def _inline(number: int) -> Arrival:
    return arrival(number, url=None, spool=f"i{number}.{number}", sha256=f"{number:064x}", size=number, info=PNG)


def _ask(catalogue: Catalogue, number: int, now: datetime, chance: random.Random) -> None:
    born = _inline(number) if chance.random() < 0.3 else arrival(number)
    completed(catalogue, born, number=number)


def _plan(catalogue: Catalogue, number: int, now: datetime, chance: random.Random) -> None:
    job = f"job-{chance.randrange(3)}"
    catalogue.ticks.plan(job, now, [draft(number, job=job, origin="job", position=0)], now)


def _doubt(catalogue: Catalogue, number: int, now: datetime, chance: random.Random) -> None:
    if taken := catalogue.generations.begin_submit("apiyi", "me", now):
        end = chance.choice([catalogue.generations.doubt, catalogue.generations.fail])
        end(taken.ask.generation_id, "me", "500", now)


def _work(catalogue: Catalogue, number: int, now: datetime, chance: random.Random) -> None:
    settled = []
    for ticket in catalogue.images.claim("worker", now, LEASE, limit=chance.randrange(1, 5)):
        spooled = None if ticket.spooled else f"{ticket.image_id}.part"
        half = safe(ticket, receipts=safe(ticket).receipts[:1], spooled=spooled, error="there: down", not_before=now)
        settled.append(chance.choice([safe(ticket), half, no(ticket, now + HOUR)]))
    catalogue.images.settle(settled, now)


def _lose(catalogue: Catalogue, number: int, now: datetime, chance: random.Random) -> None:
    for (image_id,) in ask(catalogue, "select id from images where state = 'pending' limit 1"):
        catalogue.images.lose(image_id, now)


def _miss(catalogue: Catalogue, number: int, now: datetime, chance: random.Random) -> None:
    for (image_id,) in ask(catalogue, "select id from images where state = 'stored' limit 1"):
        ask(catalogue, "update images set state = 'missing' where id = ?", image_id)
        ask(catalogue, "update copies set state = 'missing' where image_id = ? and store = 'here'", image_id)


STEPS: tuple[Callable[[Catalogue, int, datetime, random.Random], None], ...] = (
    _ask,
    _ask,
    _plan,
    _doubt,
    _work,
    _work,
    _lose,
    _miss,
)


@pytest.mark.parametrize("seed", [pytest.param(random.randrange(2**32), id=f"history {number}") for number in range(5)])
def test_counters_follow_a_random_walk_over_days(catalogue: Catalogue, seed: int) -> None:
    print("seed", seed)
    raw(catalogue).execute("pragma synchronous=off")  # it is not about power cuts
    chance, now = random.Random(seed), NOW
    for number in range(120):
        now += timedelta(minutes=chance.randrange(90))
        chance.choice(STEPS)(catalogue, number, now, chance)
    assert catalogue.counters.differences() == []
    assert {name for (name,) in ask(catalogue, "select distinct name from counters")} == {
        *("images", "generations", "copies", "ticks", "spool", "archived")
    }
    for hours in (0.3, 1, 23.7, 24, 500):
        since = now - hours * HOUR
        counted = ask(
            catalogue,
            "select count(*), coalesce(sum(size), 0) from images where archived_at >= ?",
            as_text(since),
        )
        assert [catalogue.counters.archived_since(since)] == counted


def test_rows_that_go_are_counted_no_more(catalogue: Catalogue) -> None:
    """Raw SQL, past every guard of the house: deleted, ignored, replaced, moved to another name."""
    completed(catalogue, arrival(), number=0)
    catalogue.images.settle([safe(claim_one(catalogue))], NOW)
    catalogue.ticks.plan("daily", NOW, [], NOW)
    catalogue.ticks.plan("daily", NOW, [], NOW)
    assert catalogue.counters.of("copies") == {"here": 1, "there": 1}
    assert (catalogue.ticks.count("daily"), catalogue.ticks.count("hourly")) == (1, 0)
    db = raw(catalogue)
    db.execute("update copies set store = 'elsewhere' where store = 'there'")
    db.execute("update ticks set job = 'hourly'")
    db.execute("update images set size = 100, archived_at = '2020-01-01T00:00:00.000Z'")
    assert catalogue.counters.differences() == []
    assert catalogue.counters.one("archived", "2020-01-01T00") == (1, 100)
    for table in ("copies", "urls", "images", "generations", "ticks"):
        db.execute(f"delete from {table}")
    assert catalogue.counters.differences() == []
    assert ask(catalogue, "select sum(value), sum(size) from counters") == [(0, 0)]


def test_a_change_that_is_taken_back_was_never_counted(catalogue: Catalogue) -> None:
    with pytest.raises(RuntimeError), catalogue._database.write() as db:
        db.execute("insert into ticks values ('daily', 'nine', 'now')")
        raise RuntimeError
    assert catalogue.ticks.count("daily") == 0


def test_a_counter_that_lies_is_found_and_mended(catalogue: Catalogue) -> None:
    completed(catalogue, arrival(), number=0)
    raw(catalogue).execute("update counters set value = 7 where name = 'images'")
    raw(catalogue).execute("insert into counters values ('copies', 'nowhere', 3, 0)")
    raw(catalogue).execute("insert into counters values ('archived', 'never', 0, 9)")
    raw(catalogue).execute("delete from counters where name = 'generations'")
    wrong = [
        Difference(name="archived", key="never", kept=0, counted=0, kept_bytes=9),
        Difference(name="copies", key="nowhere", kept=3, counted=0),
        Difference(name="generations", key="completed", kept=0, counted=1),
        Difference(name="images", key="pending", kept=7, counted=1),
    ]
    assert catalogue.counters.differences() == wrong
    assert catalogue.counters.mend() == wrong
    assert catalogue.counters.differences() == []
    assert catalogue.reports.status(NOW)["images"] == {"pending": 1}


def test_what_was_there_before_counters_is_counted(tmp_path: Path) -> None:
    """A catalogue of the release before, with rows in every state that a counter knows."""
    connection = sqlite.connect(tmp_path / FILE, isolation_level=None)
    migrations.apply(Database(connection), stop_before="m008_counters")
    connection.execute("pragma application_id=1095910216")
    for number in range(6):
        connection.execute(
            "insert into generations (id, origin, prompt, stores, state, created_at)"
            " values (?, 'generate', 'p', '[]', 'planned', '2026-11-20T09:00:00.000Z')",
            (f"g{number}",),
        )
        connection.execute(
            "insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, created_at, size)"
            " values (?, ?, 0, ?, '2026-11-21T09:00:00.000Z', 'url', '2026-11-22T09:00:00.000Z',"
            " '2026-11-20T09:00:00.000Z', 10)",
            (f"i{number}", f"g{number}", "spooled" if number % 2 else "pending"),
        )
        connection.execute("insert into copies (image_id, store, state) values (?, 'here', 'wanted')", (f"i{number}",))
    connection.execute("update generations set state = 'submitted' where seq > 2")
    connection.execute("insert into ticks values ('daily', 'nine', 'now')")
    connection.execute(
        "update copies set state = 'confirmed', key = image_id, sha256 = 'x', proof = 'x', confirmed_at = 'x',"
        " lineage_key = 'x' where image_id < 'i4'"
    )
    connection.execute(
        "update images set state = 'stored', sha256 = 'x', archived_at = '2026-11-20T09:30:00.000Z' where id < 'i4'"
    )
    connection.close()
    catalogue = opened(tmp_path)
    assert catalogue.counters.differences() == []
    assert catalogue.counters.of("images") == {"pending": 1, "spooled": 1, "stored": 4}
    assert catalogue.counters.of("generations") == {"planned": 2, "submitted": 4}
    assert catalogue.counters.of("copies") == {"here": 4}
    assert (catalogue.fitness.spooled_bytes(), catalogue.ticks.count("daily")) == (10, 1)
    assert catalogue.counters.archived_since(NOW) == (4, 40)
    catalogue.close()
