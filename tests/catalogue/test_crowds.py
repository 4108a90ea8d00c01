"""What a question costs when very many images wait: in steps of SQLite, since time would tell of the machine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue, Resting, as_text
from archiver.core.tempurl import TemporaryURL
from tests.catalogue.filling import HOUR, NOW, arrival, completed, draft, opened, raw

RESTING = Resting(hosts=["h0.example"], stores=["here"], urgent_from=NOW, urgent_until=NOW)
QUESTIONS: dict[str, Callable[[Catalogue], object]] = {
    "claim": lambda catalogue: catalogue.images.claim("w", NOW, HOUR),
    "claim while somebody rests": lambda catalogue: catalogue.images.claim("w", NOW, HOUR, resting=RESTING),
    "claim past a crowded host": lambda catalogue: catalogue.images.claim("w", NOW, HOUR, except_hosts={"h0.example"}),
    "waiting hosts": lambda catalogue: catalogue.images.waiting_hosts(),
}


#: What is asked when nobody's turn has come, and of what.
IDLE: dict[str, tuple[Callable[[Catalogue], object], str]] = {
    "claim": (lambda catalogue: catalogue.images.claim("w", NOW, HOUR, limit=50), "images"),
    "claim of a person": (lambda catalogue: catalogue.images.claim("w", NOW, HOUR, tried_before=NOW), "images"),
    "probe": (lambda catalogue: catalogue.images.claim("w", NOW, HOUR, probe=("h0.example", 0.5)), "images"),
    "next copy": (lambda catalogue: catalogue.images.next_due(), "images"),
    "begin": (lambda catalogue: catalogue.generations.begin_submit("apiyi", "w", NOW), "planned"),
    "wanted": (lambda catalogue: catalogue.fitness.wanted("apiyi", NOW), "planned"),
    "next request": (
        lambda catalogue: catalogue.fitness.next_due("planned", providers=["apiyi"], job=None, ids=None),
        "planned",
    ),
    "poll": (lambda catalogue: catalogue.awaiting.next_poll("apiyi", "w", NOW, NOW + HOUR), "accepted"),
    "next poll": (
        lambda catalogue: catalogue.fitness.next_due("accepted", providers=["apiyi"], job=None, ids=None),
        "accepted",
    ),
    "status": (lambda catalogue: catalogue.reports.status(NOW), "images"),
    "alerts": (lambda catalogue: catalogue.watching.facts(NOW), "images"),
}


def all_wait(catalogue: Catalogue, size: int, what: str) -> None:
    """So many that were all tried, and wait for tomorrow."""
    later = as_text(NOW + 20 * HOUR)
    if what == "images":
        raw(catalogue).execute("update images set attempted_at = ?, not_before = ?", (as_text(NOW), later))
        return
    catalogue.generations.add([draft(f"plan {number}") for number in range(size)], NOW)
    if what == "accepted":
        raw(catalogue).execute("update generations set state = 'submitted' where state = 'planned'")
        raw(catalogue).execute("update generations set state = 'accepted' where state = 'submitted'")
    raw(catalogue).execute("update generations set not_before = ? where state = ?", (later, what))


def steps(folder: Path, size: int, hosts: int, question: Callable[[Catalogue], object], idle: str | None = None) -> int:
    """How many hundreds of steps a question takes that is asked of so many waiting images of so many hosts; or when
    nothing of `idle` is due."""
    folder.mkdir()
    catalogue = opened(folder)
    raw(catalogue).execute("pragma synchronous=off")  # it is about steps
    urls = (TemporaryURL(f"https://h{number % hosts}.example/{number}.png") for number in range(size))
    if idle in (None, "images"):
        completed(catalogue, *(arrival(number, index=number, url=url) for number, url in enumerate(urls)))
    if idle:
        all_wait(catalogue, size, idle)
    question(catalogue)  # whatever is prepared once is prepared now
    count = [0]

    def tick() -> None:
        count[0] += 1

    raw(catalogue).set_progress_handler(tick, 100)
    assert question(catalogue) or idle
    raw(catalogue).set_progress_handler(None, 0)
    catalogue.close()
    return count[0]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_f035_a_question_costs_no_more_when_forty_times_as_many_wait(
    tmp_path: Path, question: Callable[[Catalogue], object]
) -> None:
    """It walks along an index and stops, instead of reading and sorting all that waits."""
    assert steps(tmp_path / "many", 4_000, 8, question) <= 2 * steps(tmp_path / "few", 100, 8, question) + 10


@pytest.mark.parametrize("name", IDLE)
def test_f035_that_nothing_is_due_is_seen_at_once(tmp_path: Path, name: str) -> None:
    """Ten times as many that wait for tomorrow are passed over without a look at each."""
    question, what = IDLE[name]
    few, many = (steps(tmp_path / str(size), size, 8, question, what) for size in (150, 1_500))
    assert many <= 2 * few + 10


def test_f035_a_probe_reads_the_images_of_its_host_alone(tmp_path: Path) -> None:
    def probe(catalogue: Catalogue) -> object:
        return catalogue.images.claim("w", NOW, HOUR, probe=("h3.example", 0.5))

    assert steps(tmp_path / "many", 4_000, 400, probe) <= 2 * steps(tmp_path / "few", 100, 10, probe) + 10
