"""The sandbox's pictures are whole PNGs of the size asked for, the same for ever."""

import hashlib
import struct
import zlib

import pytest

from archiver.providers.picture import draw


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, each with its checksum verified."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + data),)
        found.append((kind, data))
        at += 12 + length
    return found


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 7), (512, 512), (640, 33), (4096, 2)])
def test_a_picture_is_a_whole_png_of_its_size(width: int, height: int) -> None:
    (header, shape), (kind, packed), end = chunks(draw(b"seed", width, height))
    assert (header, kind, end) == (b"IHDR", b"IDAT", (b"IEND", b""))
    assert struct.unpack(">IIBBBBB", shape) == (width, height, 8, 2, 0, 0, 0)
    pixels = zlib.decompress(packed)
    assert len(pixels) == height * (1 + 3 * width)
    assert not any(pixels[:: 1 + 3 * width]), "each row says that it is stored without a filter"


def test_a_picture_is_mirrored_and_has_more_than_one_colour() -> None:
    rows = zlib.decompress(chunks(draw(b"seed", 16, 16))[1][1])
    row = [rows[at : at + 3] for at in range(1, 49, 3)]
    assert row == row[::-1]
    assert len(set(row)) == 2


def test_the_same_seed_draws_the_same_bytes_for_ever() -> None:
    """Later processes redraw what an earlier one promised, so the drawing is part of the format."""
    pixels = zlib.decompress(chunks(draw(b"seed", 64, 64))[1][1])
    assert hashlib.sha256(pixels).hexdigest() == "0be2b6748edc060d314bf561af83b9d197d57e85221d8c3924c629c4eef2dbb3"


def test_other_seeds_draw_other_pictures() -> None:
    assert len({draw(bytes([seed]), 64, 64) for seed in range(50)}) == 50
