"""The contract of `Store`, on every adapter and every server: what is put is there, proved, and never replaced."""

import hashlib
import random
import urllib.request
from datetime import timedelta
from typing import Any

import pytest

from archiver.core.errors import AdapterError, Gone, KeyTaken, Permanent
from archiver.transport import Body
from tests.contracts.conftest import Subject

_METADATA = {"archiver-id": "01JD00000000000000000000", "sha256": "0" * 64, "v": "1"}

AWKWARD = (
    "a b/c  d.png",
    "图像/猫 咪.png",
    "plus+and%2Bpercent%.png",
    "tilde~/quote'/double\"quote.png",
    "amp&equals=question?hash#.png",
    "emoji/🐈.png",
    "semi;colon:at@dollar$comma,(paren)[bracket]{brace}.png",
    "star*pipe|caret^backtick`.png",
    "é-composed/e\u0301-decomposed.png",
    "n" * 180 + "/" + "长" * 60 + "/" + "x" * 180 + "/" + "y" * 180 + "/" + "z" * 170 + ".png",
)


def _put(subject: Subject, key: str, data: bytes) -> Any:
    return subject.store.put_new(key, Body.of(data), "image/png", _METADATA)


def _read(subject: Subject, key: str) -> bytes:
    return b"".join(subject.store.open(key))


def _keys(subject: Subject, prefix: str) -> list[str]:
    return sorted(head.key for head in subject.store.list(prefix))


def test_what_is_put_can_be_read_and_headed(subject):
    """A put object comes back byte for byte, with its size and a receipt that says how it was proved."""
    data = random.Random(7).randbytes(300_001)
    receipt = _put(subject, "pre/fix/a.png", data)

    assert _read(subject, "pre/fix/a.png") == data
    assert (receipt.store, receipt.key, receipt.size) == ("main", "pre/fix/a.png", len(data))
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert receipt.proof == subject.proof
    head = subject.store.head("pre/fix/a.png")
    assert head is not None
    assert (head.key, head.size) == ("pre/fix/a.png", len(data))
    assert (head.etag is None) == ("etag" in subject.lacks)
    assert receipt.etag == head.etag


def test_an_empty_object_is_carried(subject):
    """Zero bytes are an object too."""
    receipt = _put(subject, "pre/fix/empty", b"")
    assert receipt.size == 0
    assert _read(subject, "pre/fix/empty") == b""


def test_equal_bytes_twice_are_success(subject):
    """A retry after a lost reply finds its own object and is content."""
    first, second = _put(subject, "pre/fix/a.png", b"same" * 100), _put(subject, "pre/fix/a.png", b"same" * 100)
    assert first.sha256 == second.sha256
    assert second.proof == (subject.proof if "conditional" in subject.lacks else "read-back")


def test_other_bytes_never_replace_an_object(subject):
    """Where the server can refuse, the first object stays; where it cannot, the lack is real."""
    _put(subject, "pre/fix/a.png", b"first")
    if "conditional" in subject.lacks:
        _put(subject, "pre/fix/a.png", b"other")
        assert _read(subject, "pre/fix/a.png") == b"other"
        return
    with pytest.raises(KeyTaken, match=r"pre/fix/a\.png"):
        _put(subject, "pre/fix/a.png", b"other")
    assert _read(subject, "pre/fix/a.png") == b"first"


@pytest.mark.parametrize("key", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_keys_are_carried(subject, key):
    """Spaces, Chinese, percent signs, query characters and long names arrive as they are."""
    _put(subject, f"pre/fix/{key}", key.encode())
    assert _read(subject, f"pre/fix/{key}") == key.encode()
    if "listing" not in subject.lacks:
        assert _keys(subject, "pre/fix/") == [f"pre/fix/{key}"]


def test_empty_and_dotted_segments_are_carried(subject):
    """`//`, `.` and `..` are plain text in a key; a server that is a file system underneath may refuse them, loudly."""
    for key in ("p//a.png", "p/./b.png", "p/../c.png", "q/..", "p/.hidden", "p///d.png"):
        if "slashes" in subject.lacks and key != "p/.hidden":
            with pytest.raises(AdapterError):
                _put(subject, key, key.encode())
            continue
        _put(subject, key, key.encode())
        assert _read(subject, key) == key.encode()


def test_keys_that_could_be_confused_stay_apart(subject):
    """A decoded, a doubled or a shortened spelling of a key is another key."""
    keys = ["?p/a", "p/a+b", "p/a b", "p/a%20b", "p/a%2Bb", "p/A+b"]
    for key in keys:
        _put(subject, key, key.encode())
    assert [_read(subject, key) for key in keys] == [key.encode() for key in keys]


def test_impossible_keys_are_refused_before_anything_is_sent(subject):
    """Empty, with NUL, too long or no Unicode: no store could hold it."""
    for key in ("", "a\0b", "x" * 1024, "lone\ud800surrogate"):
        with pytest.raises(Permanent, match="can be no key"):
            _put(subject, key, b"data")


def test_what_is_not_there(subject):
    """A missing object is None for head, Gone for open, and no error for delete."""
    assert subject.store.head("pre/fix/none.png") is None
    with pytest.raises(Gone):
        b"".join(subject.store.open("pre/fix/none.png"))
    if "deletion" not in subject.lacks:
        subject.store.delete("pre/fix/none.png")


def test_listing(subject):
    """All objects below a prefix are listed with their sizes, nothing else."""
    for number in range(5):
        _put(subject, f"pre/fix/day/{number}.png", b"x" * number)
    _put(subject, "pre/other.png", b"x")
    if "listing" in subject.lacks:
        with pytest.raises(AdapterError):
            list(subject.store.list("pre/fix/"))
        return
    found = {head.key: head.size for head in subject.store.list("pre/fix/")}
    assert found == {f"pre/fix/day/{number}.png": number for number in range(5)}
    assert list(subject.store.list("nothing/")) == []


def test_deletion(subject):
    """A deleted object is gone."""
    _put(subject, "pre/fix/a.png", b"data")
    if "deletion" in subject.lacks:
        with pytest.raises(AdapterError):
            subject.store.delete("pre/fix/a.png")
        return
    subject.store.delete("pre/fix/a.png")
    assert subject.store.head("pre/fix/a.png") is None


@pytest.mark.parametrize("key", ["pre/fix/a.png", "pre/fix/a b+c%/图.png"])
def test_a_presigned_address_opens_by_plain_get(subject, key):
    """Whoever has the address sees the object, without any library of ours."""
    _put(subject, key, b"shown")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(subject.store.presign(key, timedelta(minutes=5)), timeout=10) as reply:
        assert reply.read() == b"shown"


def test_metadata_is_kept_where_there_is_a_place(subject):
    """The object says by itself which image it is."""
    _put(subject, "pre/fix/a.png", b"data")
    head = subject.store.head("pre/fix/a.png")
    assert head is not None
    if "metadata" in subject.lacks:
        assert head.sha256 is None
    else:  # the server's own checksum goes before what we wrote beside it
        assert head.sha256 in (_METADATA["sha256"], hashlib.sha256(b"data").hexdigest())
    if subject.client is None or "metadata" in subject.lacks:
        return
    assert _metadata_by_sdk(subject, "pre/fix/a.png") == _METADATA


def _metadata_by_sdk(subject: Subject, key: str) -> dict[str, str]:
    if hasattr(subject.client, "head_object") and hasattr(subject.client, "meta"):
        found = subject.client.head_object(Bucket=subject.server.bucket, Key=key)["Metadata"]
        return {name.lower(): value for name, value in found.items()}
    headers = subject.client.head_object(key).headers
    prefix = "x-oss-meta-"
    return {name.lower()[len(prefix) :]: value for name, value in headers.items() if name.lower().startswith(prefix)}
