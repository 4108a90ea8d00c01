"""What is told of more images than anybody counts, and whether the catalogues that the benchmarks build are sound."""

import runpy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Catalogue, searching
from archiver.core.alerting import MOST_COUNTED, OTHERS, conditions
from tests.catalogue.filling import ask, opened, raw, sqlite, whole

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
BUILDING: dict[str, Any] = runpy.run_path(str(BENCH / "building.py"))
#: Of the questions, and of what is built.
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SCHEMA = "select type, name, tbl_name, sql from sqlite_master order by type, name"
#: As many again as are counted, and half of them planned.
MANY = 2 * MOST_COUNTED + 1000


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Callable[[str, int], Catalogue]]:
    """What the benchmarks measure, with so many rows."""
    catalogues = []

    def build(shape: str, rows: int) -> Catalogue:
        folder = tmp_path / f"{shape}-{rows}"
        BUILDING["build"](folder, rows, shape)
        catalogues.append(Catalogue.open(folder, create=False))
        return catalogues[-1]

    yield build
    for catalogue in catalogues:
        catalogue.close()


@pytest.mark.parametrize("shape", BUILDING["SHAPES"])
def test_what_is_built_to_be_measured_is_a_sound_catalogue(
    tmp_path: Path, built: Callable[[str, int], Catalogue], shape: str
) -> None:
    """Its guards stand, its counters and its index of prompts are right, and no row refers to nothing."""
    catalogue, fresh = built(shape, 4_000), opened(tmp_path)
    assert ask(catalogue, SCHEMA) == ask(fresh, SCHEMA)
    fresh.close()
    assert catalogue.counters.differences() == []
    assert whole(catalogue)
    raw(catalogue).execute("insert into prompts (prompts, rank) values ('integrity-check', 1)")
    tags = "select value, seq from generations, json_each(tags) order by value, seq"
    assert ask(catalogue, tags) == ask(catalogue, "select tag, seq from generation_tags order by tag, seq")
    with pytest.raises(sqlite.IntegrityError, match="has no such transition"):
        raw(catalogue).execute("update generations set state = 'planned' where state = 'completed'")


def test_a_multitude_is_counted_so_far_and_that_is_said(built: Callable[[str, int], Catalogue]) -> None:
    """All links are dead, and all requests wait for one provider: no number pretends to be the whole."""
    catalogue = built("backlog", MANY)
    ask(catalogue, "update generations set provider = 'one'")
    assert catalogue.reports.status(NOW)["at_risk"] == MOST_COUNTED
    assert catalogue.providers.waiting(NOW) == {
        "one": {"generations": MOST_COUNTED, "until": "2026-11-21T09:00:00.000Z", "error": None}
    }
    facts = catalogue.watching.facts(NOW)
    assert facts.crowded == {"at-risk"}
    assert sum(failing.images for failing in facts.failing) == MOST_COUNTED
    alerts = conditions(facts, NOW, spool_max=1)
    assert {(alert.kind, alert.level) for alert in alerts} == {("at-risk", "page")}
    assert [alert.subject for alert in alerts if f"{MOST_COUNTED} images or more" in alert.text] == [OTHERS]


def test_one_less_than_a_multitude_is_counted_to_the_last(built: Callable[[str, int], Catalogue]) -> None:
    catalogue = built("backlog", MOST_COUNTED - 1)
    assert catalogue.reports.status(NOW)["at_risk"] == MOST_COUNTED - 1
    facts = catalogue.watching.facts(NOW)
    assert facts.crowded == set()
    assert sum(failing.images for failing in facts.failing) == MOST_COUNTED - 1


def test_the_first_of_very_many_are_those_that_wait_longest(built: Callable[[str, int], Catalogue]) -> None:
    """A job whose links die first is told of, however many others fail after them."""
    catalogue = built("backlog", MANY)
    ask(catalogue, "update generations set job = 'first' where seq = (select max(seq) from generations)")
    ask(
        catalogue,
        "update images set deadline = '2026-11-01T10:00:00.000Z' where seq = (select max(seq) from images)",
    )
    assert "first" in {failing.job for failing in catalogue.watching.facts(NOW).failing}


def test_recent_losses_and_odd_bytes_are_bounded_too(built: Callable[[str, int], Catalogue]) -> None:
    """A host lost everything in a night; what was lost before is not even looked at."""
    catalogue = built("backlog", MANY)
    raw(catalogue).execute("update images set state = 'lost'")
    assert catalogue.watching.facts(NOW).lost == ()
    raw(catalogue).execute(
        "insert into events (at, kind, image_id) select '2026-11-20T08:00:00.000Z', 'lost', id from images"
    )
    facts = catalogue.watching.facts(NOW)
    assert facts.crowded == {"lost"}
    assert sum(count.images for count in facts.lost) == MOST_COUNTED
    assert catalogue.watching.facts(NOW + timedelta(days=2)).lost == ()


def test_old_losses_cost_nothing(built: Callable[[str, int], Catalogue]) -> None:
    """In steps of SQLite: what was lost in years is passed over."""

    def steps(rows: int) -> int:
        catalogue, count = built("backlog", rows), [0]
        raw(catalogue).execute("update images set state = 'lost'")
        raw(catalogue).execute(
            "insert into events (at, kind, image_id) select '2026-11-02T08:00:00.000Z', 'lost', id from images"
        )
        catalogue.watching.facts(NOW)  # whatever is prepared once is prepared now

        def tick() -> None:
            count[0] += 1

        raw(catalogue).set_progress_handler(tick, 100)
        assert catalogue.watching.facts(NOW).lost == ()
        raw(catalogue).set_progress_handler(None, 0)
        return count[0]

    assert steps(2_000) <= 2 * steps(200) + 10


def test_frequent_words_that_never_meet_are_looked_for_in_the_newest(
    built: Callable[[str, int], Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third prompt is about the moon, every third about a lighthouse, and none about both. A rare word leads to
    its old prompt all the same."""
    catalogue = built("archive", 3_000)
    monkeypatch.setattr(searching, "LARGE", 2_999)
    monkeypatch.setattr(searching, "FREQUENT", 100)
    rows, looked_at = catalogue.listings.search("lighthouse moon", limit=9)
    assert rows == []
    assert looked_at == 298  # down to the hundredth with a moon
    assert catalogue.reports.lineage_of("lighthouse moon", 9) == ([], 298)
    assert catalogue.listings.search("lighthouse moon", limit=9, deep=True) == ([], None)
    (row,), looked_at = catalogue.listings.search("lighthouse zeppelin", limit=9)
    assert (row["image_id"], looked_at) == ("i000000011", None)
    fogs, looked_at = catalogue.listings.search("lighthouse fog", limit=9)
    assert ([row["image_id"] for row in fogs], looked_at) == (_fogs(catalogue, 9), None)
    fogs, looked_at = catalogue.listings.search("lighthouse fog", limit=200)
    assert ([row["image_id"] for row in fogs], looked_at) == (_fogs(catalogue, len(fogs)), 299)
    assert 90 < len(fogs) <= 100
    monkeypatch.setattr(searching, "LARGE", 3_000)
    assert catalogue.listings.search("lighthouse moon", limit=9) == ([], None)


def _fogs(catalogue: Catalogue, many: int) -> list[str]:
    """The newest images of a lighthouse."""
    statement = (
        "select images.id from images join generations on generations.id = generation_id"
        " where prompt like '%lighthouse%' order by images.seq desc limit ?"
    )
    return [name for (name,) in ask(catalogue, statement, many)]
