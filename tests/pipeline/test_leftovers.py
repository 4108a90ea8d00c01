"""What the next process makes of files that a dead one left in the spool."""

import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.catalogue import Owner
from tests.doubles.provider import ImagesProvider
from tests.pipeline.workshop import Workshop, open_workshop

PROMPT = "a lighthouse"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    """One image is pending, its bytes are at the source only."""
    with ImagesProvider() as double, open_workshop(tmp_path / "data", double=double) as shop:
        shop.plan("double", PROMPT)
        shop.ask("double")
        yield shop


def leave(
    shop: Workshop, body: bytes, *, named: bytes | None = None, image_id: str | None = None, end: str = ""
) -> str:
    """Put a file into the spool, as a process that died would have."""
    digest = hashlib.sha256(body if named is None else named).hexdigest()
    name = f"{image_id or shop.images()[0]['image_id']}.{digest}{end}"
    path = shop.data_dir / "spool" / name
    path.write_bytes(body)
    return name


def test_whole_bytes_of_a_pending_image_are_adopted(shop: Workshop) -> None:
    """They are stored from the spool, without asking the source; the file goes then."""
    leave(shop, ImagesProvider.image(PROMPT, 0))
    shop.pipeline.recover()
    assert shop.states() == ["spooled"]
    (outcome,) = shop.copy()
    assert outcome.ticket.spooled is not None and not outcome.failures
    assert shop.states() == ["stored"] and shop.files("spool") == []


def test_bytes_that_are_not_what_their_name_says_are_not_adopted(shop: Workshop) -> None:
    """A torn file is left to the sweep while others may live, and goes at a start alone; so does an unfinished one."""
    body = ImagesProvider.image(PROMPT, 0)
    names = sorted([leave(shop, body[:-1], named=body), leave(shop, body, end=".part")])
    shop.pipeline.recover()
    assert shop.states() == ["pending"] and shop.files("spool") == names
    shop.pipeline.recover(at_start=True)
    assert shop.states() == ["pending"] and shop.files("spool") == []


def test_an_image_in_somebodys_hands_is_not_adopted(shop: Workshop) -> None:
    """Whoever holds the claim settles: it may have written the file just now."""
    name = leave(shop, ImagesProvider.image(PROMPT, 0))
    assert shop.catalogue.images.claim(shop.pipeline.owner.id, shop.clock(), timedelta(minutes=1))
    shop.pipeline.recover()
    assert shop.states() == ["pending"] and shop.files("spool") == [name]


def test_a_file_of_a_stored_image_goes_at_once(shop: Workshop) -> None:
    """Its process died between settling and removing it."""
    shop.copy()
    leave(shop, ImagesProvider.image(PROMPT, 0))
    shop.pipeline.recover()
    assert shop.states() == ["stored"] and shop.files("spool") == []


def test_a_file_that_no_row_names_goes_only_when_nobody_else_lives(shop: Workshop) -> None:
    """It may be an inline image that another process is about to record."""
    name = leave(shop, b"inline", image_id="unheard-of")
    other = Owner(shop.data_dir / "owners", "another")
    shop.pipeline.recover(at_start=True)
    assert shop.files("spool") == [name]
    other.close()
    shop.pipeline.recover()  # at work: it may be our own
    assert shop.files("spool") == [name]
    shop.pipeline.recover(at_start=True)
    assert shop.files("spool") == []


def test_what_is_older_than_the_catalogue_is_never_swept(shop: Workshop) -> None:
    """The catalogue was lost, and somebody ran a command before `rebuild`: these bytes may be in no bucket."""
    name = leave(shop, b"of another catalogue", image_id="unheard-of")
    before = shop.catalogue.born.timestamp() - 1
    os.utime(shop.data_dir / "spool" / name, times=(before, before))
    shop.pipeline.recover(at_start=True)
    shop.clock.advance(days=3)
    shop.pipeline.recover(at_start=True)
    assert shop.files("spool") == [name]
