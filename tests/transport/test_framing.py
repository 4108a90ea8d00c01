"""Replies whose length is ambiguous, and names of which one address is dead: whole bytes, or an error word."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from archiver.core.errors import Corrupt, Refused, Transient
from archiver.core.imagefile import identify
from archiver.core.model import Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import AddressGuard, CurlEngine
from tests.doubles.pngs import png
from tests.transport.conftest import reply

IMAGE = png("framed")
SIZE = len(IMAGE)
_CHUNKED = b"%X\r\n" % SIZE + IMAGE + b"\r\n0\r\n"

# The head's lines, the body on the wire, and the error word; None where the whole image comes through.
FRAMES: dict[str, tuple[str, bytes, type | None]] = {
    "two lengths, the longer one first": (f"Content-Length: {SIZE}\r\nContent-Length: 90", IMAGE, Transient),
    "two lengths, the shorter one first": (f"Content-Length: 90\r\nContent-Length: {SIZE}", IMAGE, Transient),
    "two lengths in one line": (f"Content-Length: 90, {SIZE}", IMAGE, Transient),
    "a length below zero": ("Content-Length: -5", IMAGE, Transient),
    "a length with a sign": (f"Content-Length: +{SIZE}", IMAGE, Transient),
    "a length with a unit": (f"Content-Length: {SIZE}B", IMAGE, Transient),
    "a length beyond all numbers": ("Content-Length: 99999999999999999999999", IMAGE, Refused),
    "a chunk below zero": ("Transfer-Encoding: chunked", b"-32\r\n" + IMAGE, Transient),
    "a chunk without a length": ("Transfer-Encoding: chunked", b"zz\r\n" + IMAGE, Transient),
    "a coding within chunks": ("Transfer-Encoding: gzip, chunked", _CHUNKED + b"\r\n", Transient),
    # What follows can be read in one way only.
    "one length twice": (f"Content-Length: {SIZE}\r\nContent-Length: {SIZE}", IMAGE, None),
    "one length twice in one line": (f"Content-Length: {SIZE}, {SIZE}", IMAGE, None),
    "a wrong length before chunks": ("Content-Length: 90\r\nTransfer-Encoding: chunked", _CHUNKED + b"\r\n", None),
    "a wrong length behind chunks": ("Transfer-Encoding: chunked\r\nContent-Length: 90", _CHUNKED + b"\r\n", None),
    "a wrong length as a trailer": ("Transfer-Encoding: chunked", _CHUNKED + b"Content-Length: 90\r\n\r\n", None),
}


@pytest.mark.parametrize("name", FRAMES)
def test_f059_ambiguous_framing_gives_the_whole_image_or_none(raw, fetch, budget, name):
    """Nobody guesses which of two lengths was meant: a guess may be an image that ends too early."""
    lines, body, word = FRAMES[name]
    raw.scripts = [f"!HTTP/1.1 200 OK\r\n{lines}\r\n\r\n".encode() + body]
    if word is None:
        with fetch().body as found:
            assert found.data == IMAGE
    else:
        with pytest.raises(word):
            fetch()
    assert budget.taken == 0


@pytest.mark.parametrize("declared", [1, 90, SIZE // 2, SIZE - 1])
def test_f059_a_length_below_the_body_is_a_cut_image(raw, fetch, declared):
    """The bytes beyond the length belong to nobody; what is left is not taken for an image."""
    raw.scripts = [f"!HTTP/1.1 200 OK\r\nContent-Length: {declared}\r\n\r\n".encode() + IMAGE]
    with fetch().body as found:
        assert found.size == declared
        with pytest.raises(Exception, match=r"cut short|too short"):
            identify(found.view())


@pytest.mark.parametrize(
    ("query", "word"), [("?Expires=1", Corrupt), ("?x-oss-process=image/format,png&Expires=1", None)]
)
def test_the_sum_of_an_image_that_its_host_converts_is_the_sum_of_the_original(raw, fetch, query, word):
    """OSS states the CRC of what it holds, not of what it makes of it: refusing that would lose each such image."""
    raw.scripts = [reply(200, IMAGE, x_oss_hash_crc64ecma="1")]
    with pytest.raises(word) if word else nullcontext():
        fetch(raw.url(f"/a.png{query}")).body.close()


def test_f069_a_name_whose_first_address_is_dead(raw, tmp_path: Path):
    """`localhost` is ::1 and 127.0.0.1 to libcurl; nothing listens at the first, and the second brings the image."""
    tried: list[str] = []

    class Watched(AddressGuard):
        def permits(self, address: str, literal: bool, port: int | None = None) -> bool:
            tried.append(address)
            return super().permits(address, literal, port)

    raw.scripts = [reply(200, IMAGE)]
    engine = CurlEngine(Network(), Watched(["127.0.0.0/8", "::1/128"]), temp_dir=tmp_path)
    try:
        with engine.fetch(TemporaryURL(f"http://localhost:{raw.listener.port}/a.png")).body as found:
            assert found.data == IMAGE
        if "::1" not in tried:
            pytest.skip("no IPv6 here: there was one address only")
        assert tried == ["::1", "127.0.0.1"]
    finally:
        engine.close()
