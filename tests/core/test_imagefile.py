"""Bytes are told apart by themselves, a cut or damaged file is never taken for a whole one, odd ones are kept."""

import mmap
import random
import struct
from pathlib import Path

import pytest

from archiver.core.errors import Corrupt
from archiver.core.imagefile import identify
from tests.data.images import (
    REAL_AVIF,
    REAL_GIF,
    REAL_WEBP,
    box,
    chunk,
    gif,
    iso,
    jpeg,
    png,
    riff,
    segment,
    webp_extended,
    webp_lossless,
    webp_lossy,
)

WHOLE = {
    "png": (png(), "image/png", "png", 5, 3),
    "jpeg": (jpeg(), "image/jpeg", "jpg", 640, 480),
    "gif": (gif(), "image/gif", "gif", 7, 9),
    "gif of a browser": (REAL_GIF, "image/gif", "gif", 1, 1),
    "webp lossy": (webp_lossy(), "image/webp", "webp", 300, 200),
    "webp of libwebp": (REAL_WEBP, "image/webp", "webp", 1, 1),
    "webp lossless": (webp_lossless(), "image/webp", "webp", 301, 201),
    "webp extended": (webp_extended(), "image/webp", "webp", 70000, 3),
    "webp tall": (webp_extended(2, 80000), "image/webp", "webp", 2, 80000),
    "avif by its second brand": (REAL_AVIF.replace(b"ftypavif", b"ftypmif1"), "image/avif", "avif", 2, 2),
    "avif": (iso(b"avif"), "image/avif", "avif", 800, 600),
    "avif of libavif": (REAL_AVIF, "image/avif", "avif", 2, 2),
    "heic": (iso(b"heic"), "image/heic", "heic", 800, 600),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_image_is_named_and_measured(name: str) -> None:
    """Type, extension and size in pixels are read from the bytes."""
    data, *expected = WHOLE[name]
    info = identify(data)
    assert [info.content_type, info.extension, info.width, info.height, info.verdict] == [*expected, "ok"]


@pytest.mark.parametrize("name", WHOLE)
def test_every_truncation_is_corrupt(name: str) -> None:
    """No prefix of an image is taken for an image, nor for a complete file of another kind."""
    data = WHOLE[name][0]
    for length in range(len(data)):
        with pytest.raises(Corrupt):
            identify(data[:length])


def test_every_flipped_bit_of_a_png_is_corrupt() -> None:
    """The checksums cover all of it, the signature is compared, and the chunk lengths cannot lie."""
    data = png()
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt):
            identify(damaged)


@pytest.mark.parametrize("name", WHOLE)
def test_damage_never_raises_anything_but_corrupt(name: str) -> None:
    """Flipped, cut, doubled and spliced bytes give an answer or Corrupt."""
    seed = 20250611
    print("seed", seed)
    rng, data = random.Random(seed), WHOLE[name][0]
    seen = {"whole": 0, "corrupt": 0}
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.3:
            at = rng.randrange(len(damaged))
            damaged[at:at] = rng.randbytes(rng.randint(1, 40))
        try:
            identify(damaged)
            seen["whole"] += 1
        except Corrupt:
            seen["corrupt"] += 1
    assert seen["corrupt"]


def test_random_bytes_are_odd_or_corrupt_and_never_an_image() -> None:
    """Noise has no format; also noise behind the first bytes of each format."""
    seed = 7
    print("seed", seed)
    rng = random.Random(seed)
    starts = [b"", *(data[:12] for data, *_ in WHOLE.values()), b"II*\0", b"<svg ", b"\xff\xfe", b"%PDF-"]
    for _ in range(5000):
        data = rng.choice(starts) + rng.randbytes(rng.randrange(200))
        try:
            info = identify(data)
        except Corrupt:
            continue
        assert info.extension == "bin", data


TEXT = {
    b"<!DOCTYPE html><html><body>secret</body></html>": "a web page came instead of an image",
    b"\xef\xbb\xbf \r\n\t<HTML><body>secret</body></HTML>": "a web page came instead of an image",
    "<html><title>secret 链接已失效</title></html>".encode("gb18030"): "a web page came instead of an image",
    "<html><body>secret</body></html>".encode("utf-16"): "a web page came instead of an image",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><secret/></Error>': "an XML document came",
    b'<!-- a <svg> in a comment --><html lang="secret"></html>': "a web page came",
    b'\n {"error": {"message": "secret"}}': "a JSON document came instead of an image",
    b'[{"secret": 1}, 2, 3]': "a JSON document came instead of an image",
    b"This content is no longer available. secret": "plain text came instead of an image",
    "secret 这个链接已经过期".encode(): "plain text came instead of an image",
}


@pytest.mark.parametrize("data", TEXT)
def test_text_in_place_of_an_image_is_corrupt_and_not_quoted(data: bytes) -> None:
    """Error pages, challenges and messages are named by kind; what they say stays out of the message."""
    with pytest.raises(Corrupt, match=TEXT[data]) as caught:
        identify(data)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 15])
def test_hardly_any_bytes_are_corrupt(length: int) -> None:
    """An empty or nearly empty body is a fault of the transfer."""
    with pytest.raises(Corrupt, match=f"{length} bytes"):
        identify(b"\x89PNG\r\n\x1a\n0123456"[:length])


def test_nothing_but_zeros_is_corrupt() -> None:
    """A space that was reserved and never filled is no file of any format."""
    with pytest.raises(Corrupt, match="zeros"):
        identify(bytes(70_000))


ODD = {
    "TIFF little": (b"II*\0" + bytes(range(40)), "unknown format: TIFF"),
    "TIFF big": (b"MM\0*" + bytes(range(40)), "unknown format: TIFF"),
    "MP4": (iso(b"isom"), "unknown format: ISO media such as MP4"),
    "PDF": (b"%PDF-1.7\n1 0 obj <<>> endobj trailer %%EOF", "unknown format: PDF"),
    "BMP": (b"BM" + struct.pack("<IIIIii", 58, 0, 54, 40, 1, 1) + bytes(32), "unknown format: BMP"),
    "JPEG XL": (b"\xff\x0a" + bytes(range(30)), "unknown format: JPEG XL"),
    "WAV": (b"RIFF" + struct.pack("<I", 28) + b"WAVEfmt " + bytes(20), "unknown format"),
    "no magic": (bytes(range(64)), "unknown format"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>\n', "svg"),
    "SVG with prolog": (
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<!--\n--><!DOCTYPE a [<!ENTITY a "b">]>\n<s:svg><a/></s:svg><!--\n-->',
        "svg",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_complete_but_odd_bytes_are_kept_as_bin(name: str) -> None:
    """What is no known image is archived as it is, with a verdict that says so."""
    data, verdict = ODD[name]
    info = identify(data)
    assert (info.content_type, info.extension, info.verdict) == ("application/octet-stream", "bin", verdict)
    assert (info.width, info.height) == (None, None)


def test_cut_svg_and_cut_mp4_are_corrupt() -> None:
    """Odd formats that state their end are held to it."""
    svg, video = ODD["SVG"][0], ODD["MP4"][0]
    for cut in range(5, len(svg.rstrip())):
        with pytest.raises(Corrupt):
            identify(svg[:cut])
    with pytest.raises(Corrupt):
        identify(video[:-1])


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp lossy", "webp lossless"])
def test_bytes_after_the_end_are_said_and_zeros_are_not(name: str) -> None:
    """Padding is harmless; anything else is archived and marked, because the image in front of it is whole."""
    data, *_ = WHOLE[name]
    assert identify(data + bytes(100_000)).verdict == "ok"
    marked = identify(data + b"\0\0more")
    assert (marked.verdict, marked.width) == ("trailing-bytes", WHOLE[name][3])


def test_second_jpeg_behind_the_first_does_not_hide_a_cut() -> None:
    """A cut inside the first picture stays a cut; a cut inside the appended one leaves the first whole."""
    assert identify(jpeg() + jpeg()[:40]).verdict == "trailing-bytes"
    with pytest.raises(Corrupt):
        identify(jpeg()[:-2] + bytes(3))


def test_damaged_jpeg_headers_are_corrupt() -> None:
    """A segment without its sign, an end before the picture, and a length that does not cover itself."""
    data = jpeg()
    table = data.index(b"\xff\xdb")
    for at, byte in ((table, 0xFE), (table + 1, 0xD9), (table + 1, 0xD0), (table + 1, 0x00)):
        with pytest.raises(Corrupt, match="structure"):
            identify(data[:at] + bytes([byte]) + data[at + 1 :])
    with pytest.raises(Corrupt, match="structure"):
        identify(data[: table + 2] + b"\0\1" + data[table + 4 :])


def test_end_marker_inside_a_jpeg_header_is_not_the_end() -> None:
    """The bytes FF D9 count only behind the header of the first scan."""
    frame = segment(0xC0, struct.pack(">BHHB", 8, 2, 3, 1))
    shell = b"\xff\xd8" + segment(0xC4, bytes(20)) + frame + segment(0xC8, bytes(20)) + segment(0xCC, bytes(20))
    with pytest.raises(Corrupt, match="cut short"):
        identify(shell + segment(0xDA, b"\xff\xd9"))
    whole = identify(shell + segment(0xDA, b"\xff\xd9") + b"\xff\xd9")
    assert (whole.width, whole.height, whole.verdict) == (3, 2, "ok")


def test_webp_without_its_last_padding_byte_is_whole() -> None:
    """Some writers leave the padding byte of the last chunk out, with or without counting it."""
    data = webp_lossy()
    assert data.endswith(b"e\0")
    uncounted = data[:4] + struct.pack("<I", len(data) - 9) + data[8:]
    assert identify(uncounted).verdict == "ok"
    assert identify(uncounted[:-1]).verdict == "ok"


def test_iso_media_boxes_of_every_length_form_are_walked() -> None:
    """A 64-bit length is followed; a picture that runs to the end of the file is whole but marked."""
    wide = struct.pack(">I4sQ", 1, b"mdat", 16 + 7) + b"picture"
    assert identify(iso(b"avif", last=wide)).verdict == "ok"
    assert identify(iso(b"avif", last=struct.pack(">I4s", 0, b"mdat") + b"picture")).verdict == "open-ended"
    with pytest.raises(Corrupt):
        identify(iso(b"avif", last=wide)[:-1])
    with pytest.raises(Corrupt):
        identify(iso(b"avif") + bytes(8))


def test_iso_media_without_stated_size_is_still_an_image() -> None:
    """The size in pixels is a courtesy."""
    info = identify(iso(b"heic", sizes=()))
    assert (info.extension, info.width, info.height) == ("heic", None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"x") + chunk(b"IEND", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) + chunk(b"IEND", b""),
        png(width=0),
        b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"\x21\xfe\x01a\0" + b"\x3b",
        gif()[:-1] + b"\0\x3b",
        webp_lossless()[:16] + b"\x0c\0\0\0" + webp_lossless()[20:],
        riff((b"VP8X", bytes(10))),
        riff((b"VP8 ", b"\x30\0\0wrong" + bytes(8))),
        jpeg(height=0),
    ],
    ids="png-header png-data png-width gif-frame gif-block webp-sum webp-frame webp-start jpeg-height".split(),
)
def test_frame_without_a_picture_is_corrupt(data: bytes) -> None:
    """A well-formed shell is no image."""
    with pytest.raises(Corrupt):
        identify(data)


@pytest.mark.parametrize("end", [b"", b"junk"])
@pytest.mark.parametrize("name", WHOLE)
def test_mapped_file_can_be_closed_after(tmp_path: Path, name: str, end: bytes) -> None:
    """No view outlives the call, not even in the traceback of an error."""
    for length in range(1, len(WHOLE[name][0]) + 1):
        (tmp_path / "image").write_bytes(WHOLE[name][0][:length] + end)
        with (tmp_path / "image").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            try:
                identify(mapped)
            except Corrupt:
                mapped.close()  # BufferError when the traceback holds a view


def test_memoryview_and_bytearray_are_read_alike() -> None:
    """Any contiguous buffer will do."""
    assert identify(memoryview(png())) == identify(bytearray(png())) == identify(png())


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + segment(0xC0, struct.pack(">BHHB", 8, 1, 1, 1)) + segment(0xDA, b"x") + b"\xff" * 5_000_000,
        b"<!-- -->" * 200_000,
        b"<!DOCTYPE a [" * 200_000,
        b"<svg>" + b"</svg " * 200_000,
        iso(b"avif", last=box(b"ftyp", b"avif" * 1_000_000)),
    ],
    ids=["jpeg of FF", "comments", "doctypes", "svg ends", "brands"],
)
def test_hostile_bytes_are_refused_in_bounded_time(data: bytes) -> None:
    """Repetitions that make a careless pattern take for ever end as Corrupt."""
    with pytest.raises(Corrupt):
        identify(data)
