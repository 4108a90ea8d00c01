"""Bodies: held once, digests right wherever the bytes lie, the byte budget exact, and nothing left behind."""

import hashlib
import random
import tracemalloc

import pytest

from archiver.core.errors import Transient
from archiver.transport.body import Body, BodyWriter, ByteBudget

_VECTOR = b"123456789"


def _written(budget, tmp_path, pieces, announce=None):
    writer = BodyWriter(budget, tmp_path / "temp")
    if announce is not None:
        writer.announce(announce)
    for piece in pieces:
        writer.write(piece)
    body = writer.finish()
    writer.close()
    return body


@pytest.mark.parametrize("limit", [10, 10**9], ids=["file", "memory"])
def test_digests_and_bytes_are_right_in_memory_and_in_a_file(tmp_path, limit):
    """Every digest and every way to read gives the same, wherever the body lies."""
    data = random.Random(1).randbytes(3_000_001)
    pieces = [data[at : at + 65_537] for at in range(0, len(data), 65_537)]
    with _written(ByteBudget(limit), tmp_path, pieces) as body:
        assert (body.data is None) == (limit == 10)
        assert body.size == len(data)
        assert body.sha256 == hashlib.sha256(data).hexdigest()
        assert body.md5() == hashlib.md5(data).hexdigest()
        assert body.view() == data
        with body.open() as first, body.open() as second:
            assert first.read(10) == data[:10]
            assert second.read() == data
            assert first.read() == data[10:]
            assert first.seek(5) == 5
            assert first.read(5) == data[5:10]


@pytest.mark.parametrize("limit", [1, 10**9], ids=["file", "memory"])
def test_crc64_is_that_of_the_published_vector(tmp_path, limit):
    """CRC-64/XZ of `123456789`, from the catalogue of CRC algorithms."""
    with _written(ByteBudget(limit), tmp_path, [_VECTOR]) as body:
        assert body.crc64 == 0x995DC9BBDF1939FA


@pytest.mark.parametrize("limit", [0, 10**9], ids=["no room", "room"])
def test_an_empty_body(tmp_path, limit):
    """No bytes have digests too."""
    with _written(ByteBudget(limit), tmp_path, []) as body:
        assert (body.size, body.sha256, body.crc64) == (0, hashlib.sha256().hexdigest(), 0)
        assert bytes(body.view()) == b""


def test_the_budget_is_taken_and_returned_exactly(tmp_path):
    """Room is held from announcement to close, once, whatever happens in between."""
    budget = ByteBudget(3000)
    first = _written(budget, tmp_path, [b"x" * 2000], announce=2000)
    assert budget.taken == 2000
    second = _written(budget, tmp_path, [b"y" * 1001], announce=1001)
    assert second.data is None
    assert budget.taken == 2000
    third = _written(budget, tmp_path, [b"z" * 500, b"z" * 500])
    assert third.data == b"z" * 1000
    assert budget.taken == 3000
    for body in (first, second, third):
        body.close()
        body.close()
    assert budget.taken == 0


def test_a_body_that_outgrows_the_budget_moves_to_a_file(tmp_path):
    """It never waits for room, and gives back what it held."""
    budget = ByteBudget(1000)
    writer = BodyWriter(budget, tmp_path)
    writer.write(b"a" * 900)
    assert budget.taken == 900
    writer.write(b"b" * 200)
    assert budget.taken == 0
    with writer.finish() as body:
        assert bytes(body.view()) == b"a" * 900 + b"b" * 200
    assert list(tmp_path.iterdir()) == []


def test_a_dropped_writer_returns_its_room(tmp_path):
    """A fetch that fails half-way costs nothing afterwards."""
    budget = ByteBudget(5000)
    writer = BodyWriter(budget, tmp_path)
    writer.announce(4000)
    writer.write(b"x" * 10)
    writer.close()
    writer.close()
    assert budget.taken == 0


def test_a_folder_that_takes_nothing_is_transient(tmp_path):
    """The message names the folder."""
    (tmp_path / "file").write_bytes(b"")
    writer = BodyWriter(ByteBudget(1), tmp_path / "file" / "below")
    with pytest.raises(Transient, match="file/below"):
        writer.write(b"too much")


def test_a_closed_body_refuses_to_be_read():
    """Sending nothing under the digest of something would be worse than an error."""
    body = Body.of(b"data")
    body.close()
    for use in (body.open, body.view, lambda: body.data):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert body.sha256 == hashlib.sha256(b"data").hexdigest()


def test_a_body_from_a_file_leaves_the_file(tmp_path):
    """A rescued image is sent from where it lies."""
    path = tmp_path / "image"
    path.write_bytes(b"image" * 1000)
    with Body.from_file(path) as body:
        assert (body.size, body.sha256) == (5000, hashlib.sha256(b"image" * 1000).hexdigest())
        with body.open() as file:
            assert file.read() == b"image" * 1000
    assert path.exists()
    with pytest.raises(FileNotFoundError):
        Body.from_file(tmp_path / "none")


def test_bytes_are_held_once(tmp_path):
    """Finishing, viewing, hashing and opening a body copy nothing."""
    writer = BodyWriter(ByteBudget(), tmp_path)
    writer.announce(20_000_000)
    for _ in range(200):
        writer.write(bytes(100_000))
    tracemalloc.start()
    try:
        body = writer.finish()
        body.md5()
        assert body.crc64 > 0
        with body.open() as file:
            assert file.read(1) == b"\0"
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Shrinking the buffer to size is counted as one new block of the body's size, in place; a copy would be a second.
    assert grown < 30_000_000
    body.close()
