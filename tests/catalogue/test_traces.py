"""What is erased is gone from the disk, whatever the history of the pages that it lay in."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue
from archiver.core.tempurl import TemporaryURL
from tests.catalogue.filling import HOUR, NOW, arrival, completed, no, opened, safe

HISTORIES = range(40)


def marked(number: int, chance: random.Random) -> TemporaryURL:
    """A signed URL of any length, in which its number can be found again."""
    return TemporaryURL(f"https://host.example/{number}.png?Signature=mark{number:06d}{'x' * chance.randrange(300)}")


def found(folder: Path) -> set[int]:
    """The numbers of all URLs of which a byte sequence is left in any file."""
    return {
        int(number)
        for path in folder.iterdir()
        if path.is_file()
        for number in re.findall(rb"Signature=mark(\d{6})", path.read_bytes())
    }


def live(catalogue: Catalogue, folder: Path, seed: int) -> None:
    """A random history; after each scrub, only what is still waiting may be found."""
    chance = random.Random(seed)
    waiting: set[int] = set()
    born = 0
    for _ in range(chance.randrange(5, 30)):
        batch = range(born, born + chance.randrange(1, 12))
        born = batch.stop
        urls = [
            arrival(f"{seed}-{number}", index=place, url=marked(number, chance)) for place, number in enumerate(batch)
        ]
        completed(catalogue, *urls, number=f"{seed}-{batch.start}")
        waiting |= set(batch)
        tickets = catalogue.images.claim("worker", NOW, HOUR, limit=chance.randrange(1, 20))
        settlements = []
        for ticket in tickets:
            assert ticket.url is not None
            number = int(ticket.image_id.rpartition("-")[2])
            if chance.random() < 0.6:
                settlements.append(safe(ticket))
                waiting.discard(number)
            else:
                settlements.append(replace(no(ticket), error="e" * chance.randrange(200)))
        catalogue.images.settle(settlements, NOW)
        if chance.random() < 0.3:
            catalogue.scrub()
            assert found(folder) == waiting
    while tickets := catalogue.images.claim("worker", NOW, HOUR, limit=7):
        catalogue.images.settle([safe(ticket) for ticket in tickets], NOW)
    catalogue.scrub()
    assert found(folder) == set()


@pytest.mark.parametrize("seed", HISTORIES)
def test_no_history_leaves_a_trace_of_an_erased_url(tmp_path: Path, seed: int) -> None:
    """SQLite leaves stale bytes in pages that it splits or merges, with `secure_delete` too."""
    print("seed", seed)
    live(opened(tmp_path), tmp_path, seed)


def test_of_very_many_waiting_urls_none_is_lost_by_a_scrub(tmp_path: Path) -> None:
    """They are not rewritten; what was erased goes with the last one of its page."""
    catalogue = opened(tmp_path)
    chance = random.Random(1)
    completed(catalogue, *(arrival(number, index=number, url=marked(number, chance)) for number in range(1500)))
    for _ in range(2):
        catalogue.scrub()
        assert found(tmp_path) == set(range(1500))
    tickets = catalogue.images.claim("worker", NOW, HOUR, limit=1500)
    assert [ticket.url is not None for ticket in tickets] == [True] * 1500
    catalogue.images.settle([safe(ticket) for ticket in tickets], NOW)
    catalogue.scrub()
    assert found(tmp_path) == set()
