"""PNG files of a wanted size, some under several names: valid to the last checksum, and incompressible, as generated
images are."""

import hashlib
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a folder holds: the sha256 of every file, by its name, and how many bytes each has."""

    folder: Path
    digests: Mapping[str, str]
    size: int

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they are to be carried; the same bytes come again only after all others came."""
        return tuple(self.digests)


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


def fill(folder: Path, count: int, size: int, distinct: int | None = None) -> Pictures:
    """Put `count` files into `folder`, all distinct or with the bytes of `distinct` in turn: a second name costs no
    memory, and a server reads it like a first one."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}.png" for number in range(count)]
    digests: dict[str, str] = {}
    bytes_each = 0
    for number, name in enumerate(names):
        first = names[number % (distinct or count)]
        if first in digests:
            os.link(folder / first, folder / name)
            digests[name] = digests[first]
            continue
        data = picture(size)
        (folder / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
        bytes_each = len(data)
    return Pictures(folder=folder, digests=digests, size=bytes_each)
