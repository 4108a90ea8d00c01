"""Damaged bodies by the thousand: what may happen to an image between its host and us, and what we promise to notice.

Structure alone cannot see everything: a flipped bit in the compressed data of a JPEG, GIF, WebP or AVIF leaves a file
that is whole by all its marks. `NOTICED` says what structure is promised to notice; the rest must be refused as soon as
the source states a checksum. Bodies are large enough that chance does not cut at the seams of a format.
"""

import base64
import hashlib
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fastcrc import crc64

from archiver.core.errors import Corrupt
from archiver.core.imagefile import identify
from archiver.core.model import Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import AddressGuard, CurlEngine
from tests.data.images import box, iso, riff, segment
from tests.doubles.pngs import png
from tests.doubles.source import Behaviour, ImageSource

_PAGES = (
    b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad gateway</body></html>\n" * 20,
    b'{"error": {"code": "AccessDenied", "message": "Request has expired."}}',
)


def _jpeg(noise: bytes) -> bytes:
    frame = struct.pack(">BHHB", 8, 480, 640, 1) + b"\1\x11\0"
    scan = noise.replace(b"\xff", b"\xff\0")
    head = segment(0xDB, bytes(65)) + segment(0xC0, frame) + segment(0xC4, bytes(20))
    return b"\xff\xd8" + head + segment(0xDA, b"\1\1\0\0\x3f\0") + scan + b"\xff\xd9"


def _gif(noise: bytes) -> bytes:
    blocks = b"".join(bytes([len(noise[at : at + 255])]) + noise[at : at + 255] for at in range(0, len(noise), 255))
    return b"GIF89a" + struct.pack("<HHBBB", 64, 48, 0x80, 0, 0) + bytes(6) + b"\x2c" + bytes(4) + struct.pack(
        "<HHB", 64, 48, 0
    ) + b"\x08" + blocks + b"\0\x3b"  # fmt: skip


def whole(chance: random.Random) -> dict[str, bytes]:
    """One large image of each format; other bytes with each call."""
    noise = chance.randbytes(6000)
    return {
        "png": png(noise.hex()[:32], 64, 48),
        "jpeg": _jpeg(noise),
        "gif": _gif(noise),
        "webp": riff((b"VP8 ", b"\x30\0\0\x9d\x01\x2a" + struct.pack("<HH", 64, 48) + noise)),
        "webp lossless": riff((b"VP8L", b"\x2f" + struct.pack("<I", 63 | 47 << 14) + noise)),
        "avif": iso(b"avif", last=box(b"mdat", noise)),
        "heic": iso(b"heic", last=box(b"mdat", noise)),
    }


def _block(chance: random.Random, data: bytes) -> tuple[int, int]:
    size = chance.randint(1, len(data) // 4)
    start = chance.randrange(len(data) - size)
    return start, start + size


def _cut(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def _zeroed(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    start, end = _block(chance, data)
    return data[:start] + bytes(end - start) + data[end:]


def _swapped(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    size = chance.randint(1, len(data) // 3)
    first = chance.randrange(len(data) - 2 * size)
    second = chance.randrange(first + size, len(data) - size + 1)
    parts = data[:first], data[second : second + size], data[first + size : second], data[first : first + size]
    return b"".join(parts) + data[second + size :]


def _doubled(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    start, end = _block(chance, data)
    return data[:end] + data[start:]


def _dropped(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    start, end = _block(chance, data)
    return data[:start] + data[end:]


def _flipped(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    bit = chance.randrange(len(data) * 8)
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def _page_before(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    return chance.choice(_PAGES) + data


def _page_inside(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    page = chance.choice(_PAGES)
    at = chance.randrange(1, len(data))
    if at + len(page) == len(data):  # what fits exactly is a block of other bytes, not a page that broke in
        at -= 1
    return data[:at] + page


def _page_behind(chance: random.Random, data: bytes, _other: bytes) -> bytes:
    return data + chance.choice(_PAGES)


def _spliced(chance: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: chance.randrange(16, len(data))] + other[chance.randrange(16, len(other)) :]


DAMAGES: dict[str, Callable[[random.Random, bytes, bytes], bytes]] = {
    "cut": _cut,
    "block of zeros": _zeroed,
    "blocks swapped": _swapped,
    "block doubled": _doubled,
    "block dropped": _dropped,
    "bit flipped": _flipped,
    "page before": _page_before,
    "page inside": _page_inside,
    "page behind": _page_behind,
    "spliced": _spliced,
}

_ALWAYS = {"cut", "page before", "page inside", "page behind"}
_SIZED = _ALWAYS | {"block doubled", "block dropped"}
NOTICED: dict[str, set[str]] = {
    "png": set(DAMAGES),
    "jpeg": _ALWAYS,
    "gif": _ALWAYS,
    "webp": _ALWAYS | {"block dropped"},  # a byte too many may push out the zero that pads the end
    "webp lossless": _ALWAYS | {"block dropped"},
    "avif": _SIZED,
    "heic": _SIZED,
}
"""What is never taken for a faultless image, by format. It is refused, so that the source is asked again, or marked:
kept as it is, with a verdict and an alert (all of it came, and more or other than an image). A cut is always refused.
"""


@dataclass(frozen=True, slots=True)
class Damaged:
    """One body: what it was, what happened to it."""

    kind: str
    damage: str
    original: bytes = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def is_promised(self) -> bool:
        """Whether its structure must give it away."""
        return self.damage in NOTICED[self.kind]


def bodies(seed: int, number: int) -> Iterator[Damaged]:
    """So many damaged bodies, each format and each damage in turn."""
    chance = random.Random(seed)
    cells = [(kind, damage) for kind in NOTICED for damage in DAMAGES]
    made = 0
    while made < number:
        originals, others = whole(chance), whole(chance)
        for kind, damage in cells[: number - made]:
            original = originals[kind]
            other = others[kind if chance.random() < 0.7 else chance.choice(list(NOTICED))]
            data = original
            while data == original:  # blocks of equal bytes, swapped
                data = DAMAGES[damage](chance, original, other)
            yield Damaged(kind, damage, original, data)
            made += 1


def word(data: bytes) -> str:
    """What is made of it without a checksum: `refused`, `marked` (archived with a verdict, and told of), `accepted`."""
    try:
        return "accepted" if identify(data).verdict == "ok" else "marked"
    except Corrupt:
        return "refused"


CHECKSUMS: tuple[Callable[[bytes], dict[str, str]], ...] = (
    lambda data: {"Content-MD5": base64.b64encode(hashlib.md5(data).digest()).decode()},
    lambda data: {"x-oss-hash-crc64ecma": str(crc64.xz(data))},
)


_FRAMINGS: tuple[Literal["length", "close", "chunked"], ...] = ("length", "close", "chunked")


@contextmanager
def counter(temp_dir: Path) -> Iterator[Callable[[Damaged, int], bool]]:
    """A real host and a real fetch: whether a body comes through though the host states the checksum of the original.

    The number chooses checksum and framing in turn.
    """
    engine = CurlEngine(Network(), AddressGuard(["127.0.0.1/32"]), temp_dir=temp_dir)
    with ImageSource() as host:

        def is_fetched(body: Damaged, number: int) -> bool:
            headers = CHECKSUMS[number % len(CHECKSUMS)](body.original)
            url = host.add(
                "/a.img", body.original, Behaviour(body=body.data, framing=_FRAMINGS[number % 3], headers=headers)
            )
            try:
                engine.fetch(TemporaryURL(url)).body.close()
            except Corrupt:
                return False
            return True

        try:
            yield is_fetched
        finally:
            engine.close()


@dataclass(slots=True)
class Count:
    """What came of all bodies; `by_word` counts by what structure said of them, `wrong` names what must not be."""

    by_word: Counter[str] = field(default_factory=Counter)
    unseen: Counter[str] = field(default_factory=Counter)
    fetched: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, number: int, body: Damaged, is_fetched: Callable[[Damaged, int], bool] | None) -> None:
        """Judge one body by structure, and by the source's checksum when there is a way to fetch it."""
        said = word(body.data)
        self.by_word[said] += 1
        if said == "marked" and body.damage == "cut":
            self.wrong.append(f"#{number}: {body.kind}, {body.damage}: kept as odd, though not all of it came")
        if said == "accepted":
            if body.is_promised:
                self.wrong.append(f"#{number}: {body.kind}, {body.damage}: taken for a whole image")
            self.unseen[f"{body.kind}, {body.damage}"] += 1
        if is_fetched is not None:
            self.fetched += 1
            if is_fetched(body, number):
                self.wrong.append(f"#{number}: {body.kind}, {body.damage}: fetched against the source's checksum")
