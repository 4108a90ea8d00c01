"""A folder of real-looking exports: exactly the planted URLs come into the catalogue, once each, with their prompts."""

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from archiver.catalogue import Catalogue
from archiver.catalogue.database import as_text
from archiver.pipeline.backfill import Backfill, Ledger, Report, Source
from tests.backfill import exports
from tests.backfill.planting import NOW


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    (tmp_path / "data").mkdir()
    opened = Catalogue.open(tmp_path / "data", create=True)
    yield opened
    opened.close()


def backfill(catalogue: Catalogue | None, **settings: object) -> Backfill:
    """The way in, at `NOW`, in Shanghai."""
    numbers = count()
    made = Backfill(
        catalogue=catalogue,
        stores=("main",),
        zone=ZoneInfo("Asia/Shanghai"),
        now=lambda: NOW,
        new_id=lambda: f"id{next(numbers):08}",
    )
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def take_in(into: Backfill, path: Path) -> Report:
    """Take in a file as the command does."""
    query = exports.QUERY if path.suffix == ".db" else None
    with path.open("rb") as stream:
        return into.take_in(Source(name=path.name, path=path, stream=stream, query=query))


def taken(catalogue: Catalogue) -> list[dict[str, str]]:
    """Every image with its exact URL, prompt, time and place."""
    rows = catalogue._database.rows(
        "select u.url, g.prompt, g.created_at, g.metadata ->> 'backfilled_from' as place"
        " from images as i join generations as g on g.id = i.generation_id join urls as u on u.seq = i.seq"
    )
    return [dict(row) for row in rows]


@pytest.mark.parametrize("order", ["by name", "backwards"])
def test_a_folder_of_exports_yields_what_was_planted(catalogue: Catalogue, tmp_path: Path, order: str) -> None:
    """A thousand images in twelve files of ten formats: each once, byte for byte, with its prompt, time and place; and
    nothing else, whatever stands beside them."""
    seed = random.randrange(10**6)
    print("seed", seed)
    planted = {item.url: item for item in exports.make(tmp_path / "exports", seed, 1000)}
    assert len(planted) == 1000
    into = backfill(catalogue, ledger=Ledger(tmp_path / "report.jsonl"))
    broken = []
    for path in sorted((tmp_path / "exports").iterdir(), reverse=order == "backwards"):
        broken += [(path.name, line.number) for line in take_in(into, path).broken]
    assert broken == [("g-app.log", 1)], "only the line in Latin-1"
    rows = taken(catalogue)
    assert {row["url"] for row in rows} - planted.keys() == set(), "a false find"
    assert planted.keys() - {row["url"] for row in rows} == set(), "a URL that was not found"
    assert len(rows) == 1000
    wrong = {row["url"]: row for row in rows if row["prompt"] != planted[row["url"]].prompt}
    assert wrong == {}
    told = [row for row in rows if row["place"].startswith(("a-", "c-", "e-", "g-", "mj", "conv", "lobe"))]
    assert len(told) > 500
    assert [row for row in told if row["created_at"][:16] != as_text(planted[row["url"]].made)[:16]] == []
    assert all(row["place"].partition(":")[2].isdigit() for row in rows)
    assert into.triage.counts["repeated"] > 70, "what stands in several files or entries counts once"
    into.ledger.finish(catalogue)  # type: ignore[union-attr] # it was given
    report = (tmp_path / "report.jsonl").read_text("utf-8")
    assert "Signature=" not in report and "sig=" not in report and "hm=" not in report
    assert report.count('"state": "pending"') == 1000


def test_places_are_lines_as_an_editor_counts_them(catalogue: Catalogue, tmp_path: Path) -> None:
    """Where a row says that it comes from, its URL stands, in CSV, logs, Markdown and indented JSON."""
    seed = random.randrange(10**6)
    print("seed", seed)
    exports.make(tmp_path / "exports", seed, 220)
    into = backfill(catalogue)
    for name in ("a-sheet.csv", "c-app.jsonl", "d-answers.json", "f-notes.md", "g-app.log", "lobe-chat.json"):
        path = tmp_path / "exports" / name
        take_in(into, path)
    rows = taken(catalogue)
    assert len(rows) == 120
    for row in rows:
        name, _, number = row["place"].partition(":")
        lines = (tmp_path / "exports" / name).read_bytes().split(b"\n")
        last = row["url"].partition("?")[0].rpartition("/")[2].encode()
        assert last in lines[int(number) - 1], row["place"]


def test_a_dry_run_counts_the_same_and_writes_nothing(catalogue: Catalogue, tmp_path: Path) -> None:
    """Triage by evidence and by the catalogue, with nothing taken in; every class adds up."""
    seed = random.randrange(10**6)
    print("seed", seed)
    planted = exports.make(tmp_path / "exports", seed, 330)
    trial, real = backfill(catalogue, is_trial=True), backfill(catalogue)
    for into in (trial, real):
        for path in sorted((tmp_path / "exports").iterdir()):
            take_in(into, path)
        if into is trial:
            assert taken(catalogue) == []
    assert trial.triage.counts == real.triage.counts
    assert trial.triage.to_copy == len(planted) == 330
    assert {"rescuable", "dead", "unknown", "no image"} <= {name for name, n in trial.triage.counts.items() if n}
    again = backfill(catalogue, is_trial=True)
    take_in(again, tmp_path / "exports" / "a-sheet.csv")
    assert again.triage.counts == {"waiting": 30}


def test_since_limit_and_hosts(catalogue: Catalogue, tmp_path: Path) -> None:
    """What says to be older is passed over, as are other hosts; a limit counts what is not known yet, so that slices
    go on where the last one ended."""
    planted = exports.make(tmp_path / "exports", 5, 330)
    path = tmp_path / "exports" / "a-sheet.csv"

    def run(**settings: object) -> Backfill:
        into = backfill(catalogue, **settings)
        take_in(into, path)
        return into

    since = NOW - timedelta(hours=5)
    young = {item.url for item in planted[:30] if item.made.replace(second=0) >= since}
    judged = run(is_trial=True, since=since).triage
    assert judged.to_copy == len(young) and judged.counts["older"] == 30 - len(young)
    on_host = sum(".aliyuncs.com/" in item.url for item in planted[:30])
    assert run(is_trial=True, hosts=("*.aliyuncs.com",)).triage.to_copy == on_host == 3
    for size in (7, 14, 21, 28, 30, 30):
        run(limit=7)
        assert len(taken(catalogue)) == size
