"""Bytes that spool and source no longer give come back from a store that has confirmed them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.catalogue.filling import image_row
from tests.doubles.oss import OssDouble
from tests.doubles.pngs import png
from tests.doubles.provider import ImagesProvider
from tests.pipeline.workshop import Clock, Workshop, open_workshop


def flip(path: Path) -> None:
    """Change the last byte of a file, whatever its mode says."""
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@contextmanager
def one_of_two(folder: Path, **settings: Any) -> Iterator[tuple[Workshop, ImagesProvider, OssDouble]]:
    """One image in the near store; the far one was down, so its bytes are in the spool as well. Now the far one is up
    and the spool file has rotted."""
    clock = Clock(datetime.now(UTC))
    with (
        ImagesProvider(lifetime=timedelta(minutes=30), now=clock, enforce=True) as double,
        OssDouble() as far,
        open_workshop(folder, far=far, double=double, clock=clock, **settings) as shop,
    ):
        shop.plan("double", "a fox", stores=("near", "far"))
        shop.ask("double")
        far.down()
        shop.copy()
        assert shop.states() == ["spooled"]
        (name,) = shop.files("spool")
        flip(shop.data_dir / "spool" / name)
        far.up()
        yield shop, double, far


def near_file(shop: Workshop) -> Path:
    """The image's file in the near store."""
    (found,) = (shop.data_dir / "near").rglob("*.png")
    return found


def is_whole(shop: Workshop, double: ImagesProvider, far: OssDouble) -> bool:
    """Whether the image is stored, in both stores, with the bytes that the provider made, and nothing is left over."""
    rows = {row["store"]: row for row in shop.catalogue.reports.lineage("fox")}
    image = double.image("a fox", 0)
    held = [(shop.data_dir / "near" / rows["near"]["key"]).read_bytes(), far.objects[rows["far"]["key"]].body]
    return (shop.states(), held, shop.files("spool")) == (["stored"], [image, image], [])


def test_f087_a_rotten_spool_file_is_replaced_from_the_confirmed_copy_when_the_url_is_dead(tmp_path: Path) -> None:
    """First the source has its turn, at its own gate; it says no, and the near store gives the bytes."""
    with one_of_two(tmp_path / "d") as (shop, double, far):
        shop.clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["pending"]
        shop.clock.advance(hours=1)
        (outcome,) = shop.copy()
        assert [(item.word, item.store) for item in outcome.failures] == [("gone", None)]
        assert is_whole(shop, double, far)


@pytest.mark.parametrize("answer", ["whole", "unreadable", "gone"])
def test_f087_bytes_without_a_url_come_back_from_the_confirmed_copy(tmp_path: Path, answer: str) -> None:
    """They came inline; the answer is not needed for it."""
    with one_of_two(tmp_path / "d", response_format="b64_json") as (shop, double, far):
        (path,) = (shop.data_dir / "inbox").iterdir()
        if answer == "gone":
            path.unlink()
        elif answer == "unreadable":
            path.write_bytes(path.read_bytes()[:-9])
        shop.clock.advance(hours=1)
        shop.copy()
        assert is_whole(shop, double, far)


def test_f087_what_came_back_is_kept_in_the_spool_while_the_other_store_is_down(tmp_path: Path) -> None:
    """It is read out of the near store once, not with every attempt."""
    with one_of_two(tmp_path / "d") as (shop, double, far):
        far.down()
        for _ in range(2):
            shop.clock.advance(hours=1)
            shop.copy()
        assert shop.states() == ["spooled"]
        near_file(shop).rename(tmp_path / "away")
        far.up()
        shop.clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["stored"]
        (row,) = (row for row in shop.catalogue.reports.lineage("fox") if row["store"] == "far")
        assert far.objects[row["key"]].body == double.image("a fox", 0)


def test_f087_a_copy_that_has_rotted_too_is_never_put(tmp_path: Path) -> None:
    """Nobody has the bytes just now: nothing is written, nothing is forgotten; mended, they are taken."""
    with one_of_two(tmp_path / "d") as (shop, double, far):
        path = near_file(shop)
        flip(path)
        for _ in range(3):
            shop.clock.advance(hours=1)
            shop.copy()
        assert shop.states() == ["pending"]
        assert "near: the copy no longer holds the bytes that were confirmed" in shop.images()[0]["error"]
        assert not [key for key in far.objects if key.endswith(".png")]
        assert not [name for name in shop.files("spool") if name.endswith(".part")]
        flip(path)
        shop.clock.advance(hours=1)
        shop.copy()
        assert is_whole(shop, double, far)


def test_f063_an_image_that_a_store_has_is_never_lost(tmp_path: Path) -> None:
    """The source refuses for five days and the near store cannot be read: it is no loss while a copy is confirmed."""
    with one_of_two(tmp_path / "d") as (shop, double, far):
        path = near_file(shop)
        path.rename(tmp_path / "away")
        for _ in range(60):
            shop.clock.advance(hours=2)
            shop.copy()
            assert shop.pipeline.expire() == 0
        assert shop.states() == ["pending"]
        (tmp_path / "away").rename(path)
        shop.clock.advance(hours=2)
        shop.copy()
        assert is_whole(shop, double, far)


def test_f063_a_store_that_lacks_its_copy_is_no_refusal_of_the_source(tmp_path: Path) -> None:
    """The source is down; the near store says "no such object": nobody said that the image is gone."""
    with one_of_two(tmp_path / "d") as (shop, double, _):
        near_file(shop).rename(tmp_path / "away")
        double.source.down()
        for _ in range(3):
            shop.clock.advance(hours=1)
            shop.copy()
        row = image_row(shop.catalogue, shop.images()[0]["image_id"])
        assert (row["state"], row["refused_at"]) == ("pending", None)
        assert "near: there is no" in row["error"]


def test_f070_two_copies_of_one_image_never_differ(tmp_path: Path) -> None:
    """The source sends another whole image than before: what a store confirmed is the image."""
    with one_of_two(tmp_path / "d") as (shop, double, far):
        (path,) = double.source.served
        (ticket,) = shop.catalogue.images.claim("nobody", shop.clock() + timedelta(minutes=1), timedelta(minutes=1))
        assert ticket.url is not None
        double.source.add(f"{path}?{ticket.url.reveal().partition('?')[2]}", png("another fox"))
        for _ in range(2):
            shop.clock.advance(minutes=5)
            shop.copy()
        assert [seen.status for seen in double.source.requests] == [200, 200]
        assert is_whole(shop, double, far)
