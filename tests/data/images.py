"""Small images of every format, built by hand: whole by their structure, which is all that archiver reads of them."""

import base64
import struct
import zlib


def chunk(kind: bytes, content: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int = 5, height: int = 3, body: bytes = b"\0\1\2\3\4\5" * 20) -> bytes:
    """A whole PNG; the text chunk stands between header and picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"tEXt", b"Title\0x") + chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


def segment(marker: int, content: bytes) -> bytes:
    """One JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(width: int = 640, height: int = 480) -> bytes:
    """A progressive JPEG of two scans, with a thumbnail (that has its own end marker) and stuffed bytes."""
    thumbnail = b"Exif\0\0" + b"\xff\xd8\xff\xd9"
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    scan = b"\1\1\0\0\x3f\0"
    return (
        b"\xff\xd8"
        + segment(0xE1, thumbnail)
        + segment(0xDB, bytes(65))
        + b"\xff"  # a fill byte
        + segment(0xC2, frame)
        + segment(0xC4, bytes(20))
        + segment(0xDA, scan)
        + b"\x12\xff\x00\x34\xff\xd0\x56"
        + segment(0xC4, bytes(20))
        + segment(0xDA, scan)
        + b"\x78\xff\x00\x9a"
        + b"\xff\xd9"
    )


def gif(width: int = 7, height: int = 9) -> bytes:
    """A GIF with global and local palette, an extension, and a picture of two sub-blocks."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    control = b"\x21\xf9\x04\0\0\0\0\0"
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0x81) + bytes(12) + b"\2\2\x4c\1\1\x3b\0"
    return b"GIF89a" + screen + control + picture + b"\x3b"


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of the given chunks, padded to even length."""
    content = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def webp_lossy(width: int = 300, height: int = 200) -> bytes:
    """A WebP whose picture has an odd length."""
    return riff((b"VP8 ", b"\x30\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"abcde"))


def webp_lossless(width: int = 301, height: int = 201) -> bytes:
    """A lossless WebP: sizes in 14 bits each."""
    return riff((b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + b"abc"))


def webp_extended(width: int = 70000, height: int = 3) -> bytes:
    """A WebP with a canvas, a colour profile and a picture."""
    canvas = b"\x20\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return riff((b"VP8X", canvas), (b"ICCP", b"odd"), (b"VP8L", b"\x2f" + bytes(6)))


def box(kind: bytes, content: bytes) -> bytes:
    """One ISO media box."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def iso(brand: bytes, *, sizes: tuple[tuple[int, int], ...] = ((64, 64), (800, 600)), last: bytes = b"") -> bytes:
    """AVIF, HEIC or another relative, the picture being the last box."""
    properties = b"".join(box(b"ispe", struct.pack(">III", 0, *size)) for size in sizes)
    meta = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", properties)))
    return box(b"ftyp", brand + bytes(4) + b"mif1" + brand) + meta + (last or box(b"mdat", b"picture data"))


# A whole, decodable file of 2 x 2 pixels, as libavif wrote it.
REAL_AVIF = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADybWV0YQAAAAAAAAAoaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAGxpYmF2"
    "aWYAAAAADnBpdG0AAAAAAAEAAAAeaWxvYwAAAABEAAABAAEAAAABAAABGgAAAB0AAAAoaWluZgAAAAAAAQAAABppbmZlAgAAAAABAABhdjAx"
    "Q29sb3IAAAAAamlwcnAAAABLaXBjbwAAABRpc3BlAAAAAAAAAAIAAAACAAAAEHBpeGkAAAAAAwgICAAAAAxhdjFDgQ0MAAAAABNjb2xybmNs"
    "eAACAAIAAYAAAAAXaXBtYQAAAAAAAAABAAEEAQKDBAAAACVtZGF0EgAKCBgANogQEAwgMg8f8D///8WfhwB8+ErK42A="
)
REAL_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
REAL_WEBP = base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
