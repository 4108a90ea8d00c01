"""Draws the sandbox's pictures: a real PNG out of a seed, with nothing but the standard library.

The same seed and size give the same bytes for ever, so that nothing need be kept. It refuses to look good at the price
of time: a picture is a mirrored pattern of cells over a gradient, built row by row from a few runs of equal pixels.
"""

import hashlib
import struct
import zlib

_CELLS = 8  # per side; the left half is mirrored to the right
_Colour = tuple[int, int, int]


def draw(seed: bytes, width: int, height: int) -> bytes:
    """A PNG of `width` x `height` pixels (each at least 1), 8-bit RGB, in the colours and pattern of `seed`."""
    digest = hashlib.sha256(seed).digest()
    sky, ground, ink, shade = ((digest[i], digest[i + 1], digest[i + 2]) for i in (0, 3, 6, 9))
    cells = digest[12 : 12 + _CELLS]
    edges = [column * width // _CELLS for column in range(_CELLS + 1)]
    packer = zlib.compressobj(1)
    packed = []
    for y in range(height):
        back, front = _mix(sky, ground, y, height), _mix(ink, shade, y, height)
        row = _pattern(cells[y * _CELLS // height])
        packed.append(packer.compress(b"\0"))  # this row is stored without a filter
        runs = (bytes(front if row[i] else back) * (edges[i + 1] - edges[i]) for i in range(_CELLS))
        packed.append(packer.compress(b"".join(runs)))
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"".join(packed)) + _chunk(b"IEND", b"")


def _mix(first: _Colour, last: _Colour, step: int, steps: int) -> _Colour:
    red, green, blue = (a + (b - a) * step // steps for a, b in zip(first, last, strict=True))
    return red, green, blue


def _pattern(bits: int) -> list[bool]:
    half = [bool(bits >> i & 1) for i in range(_CELLS // 2)]
    return half + half[::-1]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
