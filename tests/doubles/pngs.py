"""Small real PNG files, deterministic and distinct: every chunk has its CRC, every pixel row its filter byte.

For tests that need an image which decoders and structure checks accept. It makes nothing but opaque RGB.
"""

import hashlib
import struct
import zlib


def png(seed: str, width: int = 16, height: int = 16) -> bytes:
    """A PNG of `width` x `height` pixels whose content follows from `seed`; other seeds give other bytes."""
    rows = bytearray()
    for row in range(height):
        rows += b"\0" + hashlib.shake_256(f"{seed}/{row}".encode()).digest(3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(bytes(rows), 1)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
