"""Distinct PNG files of a wanted size: valid to the last checksum, and incompressible, as generated images are."""

import os
import struct
import zlib
from pathlib import Path


def picture(size: int) -> bytes:
    """About `size` bytes of a grey PNG of random pixels."""
    side = max(1, int(size**0.5))
    data = os.urandom((side + 1) * side)
    rows = bytearray(data)
    rows[:: side + 1] = bytes(side)  # each row begins with its filter byte: none
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(bytes(rows), 0)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def fill(folder: Path, count: int, size: int) -> list[str]:
    """Put `count` pictures into `folder`. Returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}.png" for number in range(count)]
    for name in names:
        (folder / name).write_bytes(picture(size))
    return names
