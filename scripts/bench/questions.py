"""What people and programs ask of a catalogue, the easy and the nasty, each with what it may cost.

For `catalogue.py` beside it. It asks; what is written is in `catalogue.py`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from archiver.catalogue import Catalogue, Filter
from archiver.core.budget import Purse

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LISTING_MS, STATUS_MS = 200.0, 50.0
Question = tuple[str, float | None, Callable[[], object]]
FILTERS = {
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
    "an old day": Filter(since=NOW - 200 * DAY, until=NOW - 199 * DAY),
    "due within 1h": Filter(due=NOW + timedelta(hours=1)),
    "narrow size": Filter(min_size=1_000_000, max_size=1_000_100),
    "large": Filter(min_size=6_000_000),
    "dear": Filter(cost_over=51_000),
    "too dear": Filter(cost_over=900_000),
    "two common ones that never meet": Filter(job="job-3", states=("stored",), tags=("shop",), min_size=8_000_000),
    "job and provider that never meet": Filter(job="job-3", provider="provider-1"),
}
WORDS = (
    *("moon", "zeppelin", "猫", "飞艇", "月球 猫", "lighthouse moon", "00007 cat", "cat lighthouse 飞艇"),
    *("nowhere", "无人"),
)


def questions(catalogue: Catalogue) -> Iterator[Question]:
    """Name, milliseconds that it may take (None: it reads what it sums up, and takes its time), and how to ask."""
    yield from _standing(catalogue)
    yield from _lists(catalogue)
    yield from _sums(catalogue)


def _standing(catalogue: Catalogue) -> Iterator[Question]:
    purses = [Purse(scope="global", period="2026-11-20", limit_micro=1, ends=NOW + DAY)]
    yield "status", STATUS_MS, lambda: (catalogue.reports.status(NOW), catalogue.providers.waiting(NOW))
    yield "alerts", STATUS_MS, lambda: catalogue.watching.facts(NOW, purses)
    yield "busy", STATUS_MS, catalogue.reports.busy
    yield "next copy due", STATUS_MS, catalogue.images.next_due
    yield (
        "next request due",
        STATUS_MS,
        lambda: catalogue.fitness.next_due("planned", providers=["provider-1"], job=None, ids=None, now=NOW),
    )
    yield "what is wanted", STATUS_MS, lambda: catalogue.fitness.wanted("provider-1", NOW)
    yield "bytes in the spool", STATUS_MS, catalogue.fitness.spooled_bytes
    yield "hopeless", STATUS_MS, lambda: catalogue.images.hopeless(NOW)


def _lists(catalogue: Catalogue) -> Iterator[Question]:
    listings, reports, outcomes = catalogue.listings, catalogue.reports, catalogue.outcomes
    for name, wanted in FILTERS.items():
        yield f"images: {name}", LISTING_MS, lambda wanted=wanted: listings.images(wanted, limit=50)  # type: ignore[misc]
    for sort in ("deadline", "size", "cost"):
        for back in (False, True):
            yield (
                f"images by {sort}{' reversed' if back else ''}",
                LISTING_MS,
                lambda sort=sort, back=back: listings.images(Filter(), sort=sort, reverse=back, limit=50),  # type: ignore[misc]
            )
    never = Filter(job="job-3", provider="provider-1")
    yield "images by cost: rare job", LISTING_MS, lambda: listings.images(Filter(job="rare"), sort="cost", limit=50)
    yield "images by size: never meet", LISTING_MS, lambda: listings.images(never, sort="size", limit=50)
    for words in WORDS:
        yield f"search {words}", LISTING_MS, lambda words=words: listings.search(words, limit=50)  # type: ignore[misc]
        yield f"lineage {words}", LISTING_MS, lambda words=words: reports.lineage(words)  # type: ignore[misc]
    yield "lineage of a key", LISTING_MS, lambda: reports.lineage("archive/i000000777.png")
    yield "show", LISTING_MS, lambda: reports.stories("i000000777")
    yield "tree", LISTING_MS, lambda: catalogue.descent.of("i000000777")
    yield "at-risk", LISTING_MS, lambda: listings.at_risk(50)
    yield "losses", LISTING_MS, lambda: listings.losses(None, 50)
    yield "losses of a week", LISTING_MS, lambda: listings.losses(NOW - 7 * DAY, 50)
    for states in ((), ("planned",), ("unknown",), ("failed", "unknown"), ("cancelled",), ("completed",)):
        name = f"generations {' '.join(states)}".strip()
        yield name, LISTING_MS, lambda states=states: outcomes.generations(states=states, limit=50)  # type: ignore[misc]
    yield "generations of a rare job", LISTING_MS, lambda: outcomes.generations(job="rare", limit=50)
    yield "generations of no job", LISTING_MS, lambda: outcomes.generations(job="nobody", limit=50)
    yield "one generation", LISTING_MS, lambda: outcomes.generations(generation_id="g000000777", limit=1)
    yield "jobs", LISTING_MS, reports.last_ticks
    yield "providers", LISTING_MS, lambda: catalogue.providers.recent(["provider-0", "seldom", "nobody"])
    yield "batches", LISTING_MS, lambda: catalogue.batch_reports.listed(all_of_them=True)


def _sums(catalogue: Catalogue) -> Iterator[Question]:
    costs, statistics = catalogue.costs, catalogue.statistics
    yield "costs of 30 days by day", LISTING_MS, lambda: costs.by("day", NOW - 30 * DAY, NOW, UTC)
    yield "costs of everything by job", None, lambda: costs.by("job", NOW - 3650 * DAY, NOW, UTC)
    yield "refunds of 30 days", LISTING_MS, lambda: costs.unrewarded(NOW - 30 * DAY)
    yield "refunds of everything", None, lambda: costs.unrewarded(NOW - 3650 * DAY)
    yield "stats of a day", LISTING_MS, lambda: statistics.since(NOW - DAY)
    yield "stats of a week", LISTING_MS, lambda: statistics.since(NOW - 7 * DAY)
    yield "stats of 30 days", None, lambda: statistics.since(NOW - 30 * DAY)
    yield "recount of the counters", None, catalogue.counters.differences
