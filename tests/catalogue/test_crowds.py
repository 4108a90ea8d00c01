"""What a question costs when very many images wait: in steps of SQLite, since time would tell of the machine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue, Resting
from archiver.core.tempurl import TemporaryURL
from tests.catalogue.filling import HOUR, NOW, arrival, completed, opened, raw

RESTING = Resting(hosts=["h0.example"], stores=["here"], urgent_from=NOW, urgent_until=NOW)
QUESTIONS: dict[str, Callable[[Catalogue], object]] = {
    "claim": lambda catalogue: catalogue.images.claim("w", NOW, HOUR),
    "claim while somebody rests": lambda catalogue: catalogue.images.claim("w", NOW, HOUR, resting=RESTING),
    "claim past a crowded host": lambda catalogue: catalogue.images.claim("w", NOW, HOUR, except_hosts={"h0.example"}),
    "waiting hosts": lambda catalogue: catalogue.images.waiting_hosts(),
}


def steps(folder: Path, size: int, hosts: int, question: Callable[[Catalogue], object]) -> int:
    """How many hundreds of steps a question takes that is asked of so many waiting images of so many hosts."""
    folder.mkdir()
    catalogue = opened(folder)
    urls = (TemporaryURL(f"https://h{number % hosts}.example/{number}.png") for number in range(size))
    completed(catalogue, *(arrival(number, index=number, url=url) for number, url in enumerate(urls)))
    question(catalogue)  # whatever is prepared once is prepared now
    count = [0]

    def tick() -> None:
        count[0] += 1

    raw(catalogue).set_progress_handler(tick, 100)
    assert question(catalogue)
    raw(catalogue).set_progress_handler(None, 0)
    catalogue.close()
    return count[0]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_f035_a_question_costs_no_more_when_forty_times_as_many_wait(
    tmp_path: Path, question: Callable[[Catalogue], object]
) -> None:
    """It walks along an index and stops, instead of reading and sorting all that waits."""
    assert steps(tmp_path / "many", 4_000, 8, question) <= 2 * steps(tmp_path / "few", 100, 8, question) + 10


def test_f035_a_probe_reads_the_images_of_its_host_alone(tmp_path: Path) -> None:
    def probe(catalogue: Catalogue) -> object:
        return catalogue.images.claim("w", NOW, HOUR, probe=("h3.example", 0.5))

    assert steps(tmp_path / "many", 4_000, 400, probe) <= 2 * steps(tmp_path / "few", 100, 10, probe) + 10
