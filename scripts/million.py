"""How long questions take in a catalogue of a million images, built straight in SQL.

It prints milliseconds, the median of five, as JSON on stdout; it exits with 1 when a listing takes over 200 ms or
status over 50 ms. It refuses to say anything about writing.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from archiver.catalogue import Catalogue, Filter

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
LISTING_MS, STATUS_MS = 200.0, 50.0
#: A new row every 20 seconds, the last of them now; one generation in forty failed and has no image.
_STEPS = """
create temp table numbers (value integer primary key, born text not null);
insert into numbers with recursive counted (value) as
    (select 1 union all select value + 1 from counted where value < :rows)
    select value, strftime('%Y-%m-%dT%H:%M:%fZ', '2026-11-20 09:00:00', printf('%+d seconds', (value - :rows) * 20))
    from counted;
insert into generations (id, origin, job, prompt, provider, model, tags, stores, state, attempts, created_at)
    select printf('g%09d', value), iif(value % 50, 'job', 'generate'),
        iif(value % 50, iif(value % 100000 = 7, 'rare', 'job-' || (value % 9)), null),
        'a ' || printf('%05d', value * 7919 % 100000) || case value % 3
            when 0 then ' cat on the moon' when 1 then ' 一只猫坐在月球上' else ' lighthouse in the fog' end
            || iif(value % 100000 = 11, ' with a zeppelin 飞艇', ''),
        iif(value % 200000 = 3, 'seldom', 'provider-' || (value % 3)), 'model-' || (value % 4),
        iif(value % 100000 = 5, '["odd","shop"]', iif(value % 2, '["shop"]', '[]')), '["main"]', 'planned', 1, born
    from numbers;
insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, attempts, created_at)
    select printf('i%09d', value), printf('g%09d', value), 0, 'pending',
        strftime('%Y-%m-%dT%H:%M:%fZ', born, '+1 day'), 'url', '2027-01-01T00:00:00.000Z', 1, born
    from numbers where value % 40 <> 1;
insert into copies (image_id, store, state) select id, 'main', 'wanted' from images;
update generations set state = 'submitted', submitted_at = created_at;
update generations set state = iif(seq % 40 = 1, 'failed', 'completed'), came = 1,
    answered_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at, printf('%+d seconds', 20 + seq % 97)),
    cost_micro = 40000 + seq % 13 * 1000, error = iif(seq % 40 = 1, 'double answered 500: oops', null);
update copies set state = 'confirmed', key = 'archive/' || image_id || '.png', sha256 = image_id, size = 68,
    proof = 'read-back', confirmed_at = '2026-11-20T09:00:00.000Z', lineage_key = '_lineage/1.jsonl'
    where image_id <= printf('i%09d', :rows - 1000);
update images set state = 'stored', sha256 = id, size = 1000000 + seq * 7919 % 7000000, content_type = 'image/png',
    archived_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at, printf('%+d seconds', 130 + seq % 17))
    where id <= printf('i%09d', :rows - 1000);
update images set state = 'lost', error = 'gone' where state = 'pending' and seq % 10 = 0
"""


def fill(catalogue: Catalogue, rows: int) -> None:
    """A million rows in a minute or two: past the house's own methods, but through its guards."""
    database: Any = vars(catalogue)["_database"]
    with database.write() as db:
        for statement in _STEPS.split(";\n"):
            db.execute(statement, {"rows": rows})


def questions(catalogue: Catalogue) -> dict[str, Callable[[], object]]:
    """Every listing, the easy and the nasty."""
    listings = catalogue.listings
    filters = {
        "all": Filter(),
        "state stored": Filter(states=("stored",)),
        "state lost": Filter(states=("lost",)),
        "waiting": Filter(states=("pending", "spooled")),
        "job": Filter(job="job-3"),
        "rare job": Filter(job="rare"),
        "no such job": Filter(job="nobody"),
        "provider": Filter(provider="provider-1"),
        "rare provider": Filter(provider="seldom"),
        "model": Filter(model="model-2"),
        "model that the provider never had": Filter(provider="provider-1", model="model-9"),
        "store": Filter(store="main"),
        "no such store": Filter(store="other"),
        "tag": Filter(tags=("shop",)),
        "rare tag": Filter(tags=("odd", "shop")),
        "an old day": Filter(since=NOW - timedelta(days=200), until=NOW - timedelta(days=199)),
        "due within 1h": Filter(due=NOW + timedelta(hours=1)),
        "narrow size": Filter(min_size=1_000_000, max_size=1_000_100),
        "large": Filter(min_size=6_000_000),
        "dear": Filter(cost_over=51_000),
        "too dear": Filter(cost_over=900_000),
        "two common ones that never meet": Filter(job="job-3", states=("stored",), tags=("shop",), min_size=8_000_000),
        "job and provider that never meet": Filter(job="job-3", provider="provider-1"),
    }
    found: dict[str, Callable[[], object]] = {
        f"images: {name}": lambda wanted=wanted: listings.images(wanted, limit=50)  # type: ignore[misc]
        for name, wanted in filters.items()
    }
    for sort in ("deadline", "size", "cost"):
        for reverse in (False, True):
            found[f"images by {sort}{' reversed' if reverse else ''}"] = (
                lambda sort=sort, reverse=reverse: listings.images(Filter(), sort=sort, reverse=reverse, limit=50)  # type: ignore[misc]
            )
    found["images by cost: rare job"] = lambda: listings.images(Filter(job="rare"), sort="cost", limit=50)
    found["images by size: never meet"] = lambda: listings.images(
        Filter(job="job-3", provider="provider-1"), sort="size", limit=50
    )
    for words in (
        "moon",
        "zeppelin",
        "猫",
        "飞艇",
        "月球 猫",
        "lighthouse moon",
        "00007 cat",
        "cat lighthouse 飞艇",
        "nowhere",
    ):
        found[f"search {words}"] = lambda words=words: listings.search(words, limit=50)  # type: ignore[misc]
    found["at-risk"] = lambda: listings.at_risk(50)
    found["losses"] = lambda: listings.losses(None, 50)
    found["losses of a week"] = lambda: listings.losses(NOW - timedelta(days=7), 50)
    found["tree"] = lambda: catalogue.descent.of("i000000777")
    found["status"] = lambda: catalogue.reports.status(NOW)
    found["stats of 30 days"] = lambda: catalogue.statistics.since(NOW - timedelta(days=30))
    found["stats of everything"] = lambda: catalogue.statistics.since(NOW - timedelta(days=3650))
    return found


def main() -> int:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_030_000, help="Generations; one in forty has no image.")
    parser.add_argument("--keep", type=Path, help="Build it in this folder, or use what is there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        catalogue = Catalogue.open(options.keep or Path(scratch), create=True)
        if not catalogue.listings.images(Filter(), limit=1)[0]:
            begun = time.perf_counter()
            fill(catalogue, options.rows)
            print(f"filled in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        figures = {name: round(_ms(ask), 1) for name, ask in questions(catalogue).items()}
        catalogue.close()
    slow = [
        name
        for name, ms in figures.items()
        if not name.startswith("stats") and ms > (STATUS_MS if name == "status" else LISTING_MS)
    ]
    print(json.dumps({"ok": not slow, "slow": slow, "ms": figures}, ensure_ascii=False, indent=1))
    return int(bool(slow))


def _ms(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        ask()
        times.append((time.perf_counter() - begun) * 1000)
    return median(times)


if __name__ == "__main__":
    sys.exit(main())
