"""What is erased is gone from the disk, whatever the history of the pages that it lay in: URLs, and prompts."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue, Target
from archiver.core.tempurl import TemporaryURL
from tests.catalogue.filling import HOUR, NOW, arrival, completed, no, opened, safe, whole

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


def piece(number: int) -> str:
    """Two characters that no other prompt has: the index of prompts holds them side by side."""
    return chr(0x4E00 + 2 * number) + chr(0x4E01 + 2 * number)


def told_of(folder: Path, numbers: range) -> set[int]:
    """The numbers of all images of which the prompt, a piece of it or the key is left in any file."""
    whole_disk = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    names = ("secret{:06d}", "images/i{:06d}")
    return {
        number
        for number in numbers
        if any(name.format(number).encode() in whole_disk for name in names) or piece(number).encode() in whole_disk
    }


def fill(catalogue: Catalogue, numbers: range, chance: random.Random) -> None:
    """Images that were planned in any order, and archived or not."""
    for number in chance.sample(numbers, len(numbers)):
        prompt = f"secret{number:06d} x{piece(number)} " + "".join(chance.choices("abc 雪", k=chance.randrange(300)))
        completed(catalogue, arrival(f"{number:06d}"), number=number, prompt=prompt, metadata={"note": prompt})
        if chance.random() < 0.3:
            tickets = catalogue.images.claim("worker", NOW, HOUR, limit=chance.randrange(1, 9))
            catalogue.images.settle([safe(ticket) if chance.random() < 0.9 else no(ticket) for ticket in tickets], NOW)


def forget(catalogue: Catalogue, number: int) -> Target:
    """Everything but the end of it."""
    target = catalogue.forgetting.look(f"i{number:06d}", whole=False)
    assert target is not None and catalogue.forgetting.begin(target, "me", (), NOW)
    for store in target.stores:
        catalogue.forgetting.visited(target, store)
    return target


@pytest.mark.parametrize("seed", range(6))
def test_no_history_leaves_a_trace_of_a_forgotten_image(tmp_path: Path, seed: int) -> None:
    """Neither in a row nor in the index of prompts, which has its own way to delete."""
    print("seed", seed)
    chance = random.Random(seed)
    catalogue, numbers = opened(tmp_path), range(chance.randrange(20, 60))
    fill(catalogue, numbers, chance)
    left = set(numbers)
    for number in chance.sample(numbers, 6):
        catalogue.forgetting.finish(forget(catalogue, number), NOW)
        left.discard(number)
        assert told_of(tmp_path, numbers) == left
    assert whole(catalogue)


@pytest.mark.parametrize("seed", range(3))
def test_of_many_forgotten_images_stale_pages_keep_nothing(tmp_path: Path, seed: int) -> None:
    """Of keys, too, SQLite leaves stale bytes where it merges pages."""
    print("seed", seed)
    chance = random.Random(seed)
    catalogue, numbers = opened(tmp_path), range(150)
    fill(catalogue, numbers, chance)
    gone = chance.sample(numbers, 60)
    targets = [forget(catalogue, number) for number in gone]
    catalogue.forgetting.finish(targets[-1], NOW)
    assert told_of(tmp_path, numbers) == set(numbers) - set(gone)
