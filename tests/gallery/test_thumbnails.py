"""Thumbnails: an image may take its child process down, and never this one, nor the next image."""

import io
import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.core.errors import Corrupt
from archiver.gallery import Thumbnailer
from tests.doubles.pngs import png

Image = pytest.importorskip("PIL.Image", reason="NO PILLOW: thumbnails were not tried. Install it: pip install pillow")


@pytest.fixture
def thumbnailer() -> Iterator[Thumbnailer]:
    with Thumbnailer() as made:
        yield made


def child(thumbnailer: Thumbnailer) -> int:
    """The process that serves."""
    assert thumbnailer._child is not None
    return thumbnailer._child.pid


def opened(data: bytes) -> Any:
    return Image.open(io.BytesIO(data))


def drawn(size: tuple[int, int], mode: str, kind: str, **options: object) -> bytes:
    """An image of one colour."""
    made = io.BytesIO()
    Image.new(
        mode, size, {"RGB": (200, 30, 30), "RGBA": (200, 30, 30, 0), "P": 3, "L": 120, "CMYK": (0, 9, 9, 0)}[mode]
    ).save(made, kind, **options)
    return made.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of some kilobytes that is side x side pixels of nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(side * 4 + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_every_kind_becomes_a_small_webp(thumbnailer: Thumbnailer) -> None:
    """Large and small, transparent, in a palette, grey, turned by its EXIF: at most 320, upright, never enlarged."""
    for mode, kind in (
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("P", "GIF"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGBA", "WEBP"),
    ):
        small = opened(thumbnailer.shrink(drawn((800, 400), mode, kind)))
        assert (small.format, small.size) == ("WEBP", (320, 160)), (mode, kind)
    assert opened(thumbnailer.shrink(drawn((8, 4), "RGBA", "PNG"))).getpixel((0, 0))[3] == 0
    assert opened(thumbnailer.shrink(png("tiny", 16, 9))).size == (16, 9)
    turned = Image.Exif()
    turned[0x0112] = 6
    assert opened(thumbnailer.shrink(drawn((800, 400), "RGB", "JPEG", exif=turned))).size == (160, 320)


def test_what_is_no_image_is_told_and_the_next_is_served(thumbnailer: Thumbnailer) -> None:
    """Cut, empty, of another kind, or too many pixels: the same child goes on."""
    thumbnailer.shrink(png("first"))
    first = child(thumbnailer)
    whole = drawn((400, 400), "RGB", "JPEG")
    for bad in (b"", b"<html>expired</html>", whole[: len(whole) // 2], png("cut", 64, 64)[:200], bomb(12_000)):
        with pytest.raises(Corrupt):
            thumbnailer.shrink(bad)
    assert opened(thumbnailer.shrink(whole)).size == (320, 320)
    assert child(thumbnailer) == first


def test_a_child_that_dies_or_hangs_is_replaced(thumbnailer: Thumbnailer) -> None:
    """Killed by the kernel as by a limit, or stopped for ever: one image is told, the next has a new child."""
    thumbnailer.shrink(png("first"))
    first = child(thumbnailer)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(Corrupt):
        thumbnailer.shrink(png("second"))
    assert thumbnailer.shrink(png("third"))
    assert child(thumbnailer) != first
    with Thumbnailer(patience_s=0.2) as hasty:
        hasty._start()
        os.kill(child(hasty), signal.SIGSTOP)
        with pytest.raises(Corrupt):
            hasty.shrink(png("fourth"))
        assert hasty._child is None


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="this system does not show limits under /proc")
def test_the_child_has_limits_and_nothing_of_ours(thumbnailer: Thumbnailer) -> None:
    """Memory, time, files, processes: as the kernel tells them; no variable of ours, no file but its pipes."""
    thumbnailer.shrink(png("first"))
    proc = Path(f"/proc/{child(thumbnailer)}")
    limits = {line[:25].strip(): line[26:].split() for line in (proc / "limits").read_text().splitlines()[1:]}
    assert int(limits["Max address space"][1]) <= 2 * 1024**3
    assert int(limits["Max cpu time"][0]) <= 60
    for name in ("Max file size", "Max core file size", "Max processes"):
        assert limits[name][1] == "0", name
    assert int(limits["Max open files"][1]) <= 3
    assert set((proc / "environ").read_bytes().split(b"\0")) <= {b"", b"LC_CTYPE=C.UTF-8"}


def test_a_bomb_that_hides_its_size_ends_the_child_alone(thumbnailer: Thumbnailer) -> None:
    """Within the cap of pixels, and more memory than the child may have: told as one image without a thumbnail."""
    huge = drawn((9990, 9990), "RGB", "GIF")
    try:
        small = thumbnailer.shrink(huge)
    except Corrupt:
        small = None
    assert small is None or opened(small).size == (320, 320)
    assert opened(thumbnailer.shrink(png("next"))).size == (16, 16)
