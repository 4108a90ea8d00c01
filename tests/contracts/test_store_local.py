"""What only a folder can get wrong: names, permissions, durability, crashes half-way, a file system without links."""

import errno
import os
import resource
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.core.errors import KeyTaken, Permanent, Transient
from archiver.stores import local
from archiver.stores.local import LocalStore
from archiver.transport import Body
from tests.contracts.conftest import outside


@pytest.fixture
def root(tmp_path):
    return tmp_path / "archive"


@pytest.fixture
def store(root):
    return LocalStore("disk", root)


def _put(store, key, data=b"data"):
    return store.put_new(key, Body.of(data), "image/png", {})


def _files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_plain_key_is_a_plain_path(store, root):
    """Whoever opens the folder finds the images where the key says."""
    _put(store, "photos/2026/11/20/cat.png")
    assert _files(root) == ["photos/2026/11/20/cat.png"]
    assert (root / "photos/2026/11/20/cat.png").read_bytes() == b"data"


def test_files_and_folders_are_private(store, root):
    """Images belong to their user alone."""
    _put(store, "a/b/c.png")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, root / "a", root / "a/b")} == {0o700}
    assert stat.S_IMODE((root / "a/b/c.png").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "key", ["../out", "/etc/passwd", "a/../../out", "..", ".", "a/./b", "//x", "a\nb", ".part-x", "%2E%2E/x"]
)
def test_no_key_leaves_the_folder(store, root, tmp_path, key):
    """Every segment becomes a plain name below the root, and comes back as the same key."""
    _put(store, key)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
    assert [head.key for head in store.list("")] == [key]
    assert len(_files(root)) == 1


_KEYS = st.text(st.characters(blacklist_characters="\0", codec="utf-8"), min_size=1, max_size=340)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_KEYS)
def test_any_key_comes_back_from_the_listing(tmp_path_factory, key):
    """Encoding loses nothing, whatever Unicode brings."""
    if len(key.encode()) > 1023:
        key = key[:200]
    store = LocalStore("disk", tmp_path_factory.mktemp("any"))
    _put(store, key)
    assert [head.key for head in store.list("")] == [key]
    assert b"".join(store.open(key)) == b"data"


def test_long_segments_do_not_collide(store):
    """A name that had to be folded stays apart from its own beginnings."""
    keys = ["n" * length for length in (199, 200, 201, 400, 401, 900)]
    for key in keys:
        _put(store, key, key.encode())
    assert {head.key: head.size for head in store.list("")} == {key: len(key) for key in keys}


def test_what_a_crash_leaves_is_no_object(store, root):
    """An unfinished file is neither listed nor in the way."""
    _put(store, "a/b.png")
    (root / "a" / ".part-crashed").write_bytes(b"half")
    assert [head.key for head in store.list("")] == ["a/b.png"]


@pytest.mark.parametrize("already", [b"", b"other"])
def test_without_hard_links_nothing_is_overwritten_either(store, root, monkeypatch, already):
    """Some network file systems have none; the empty claim of a crash is replaced, other bytes are not."""

    def no_links(*_args, **_named):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    assert _put(store, "a.png").proof == "read-back"
    assert _put(store, "a.png").size == 4
    (root / "b.png").write_bytes(already)
    if already:
        with pytest.raises(KeyTaken):
            _put(store, "b.png")
    else:
        _put(store, "b.png")
    assert (root / "b.png").read_bytes() == (already or b"data")
    assert _files(root) == ["a.png", "b.png"]


def test_a_full_disk_is_transient_and_leaves_nothing(store, root):
    """The message names the folder; the half-written file is gone."""
    _put(store, "there.png")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(Transient, match=f"disk: {root}: File too large"):
            _put(store, "big.png", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _files(root) == ["there.png"]


def test_a_folder_that_cannot_be_made_is_permanent(tmp_path):
    """A file where the folder should be: only a person can help."""
    (tmp_path / "file").write_bytes(b"")
    store = LocalStore("disk", tmp_path / "file" / "archive")
    with pytest.raises(Permanent, match="Not a directory"):
        _put(store, "a.png")
    assert store.head("a.png") is None


def test_a_key_below_another_key_is_permanent(store):
    """A folder cannot hold an object and objects below it under one name; archiver's own keys never ask for that."""
    _put(store, "a")
    with pytest.raises(Permanent):
        _put(store, "a/b")
    assert store.head("a/b") is None


def test_bytes_that_rot_are_found_by_comparison(store, root):
    """An equal put over a damaged object is no success."""
    _put(store, "a.png")
    (root / "a.png").write_bytes(b"dat\0")
    with pytest.raises(KeyTaken):
        _put(store, "a.png")


def test_the_address_is_a_file_uri(store, root):
    """A browser on this machine opens it."""
    _put(store, "a b/图.png")
    assert store.presign("a b/图.png", timedelta(hours=1)) == (root / "a b/图.png").as_uri()


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("file:///srv/images", "/srv/images"),
        ("file:///srv/my%20images/", "/srv/my images"),
        ("file://localhost/x", "/x"),
    ],
)
def test_the_url_names_the_folder(engine, url, root):
    """Percent signs are decoded, as in every file URL."""
    store = local.connect("disk", local.Settings(url=url), outside(Path(), {}, engine))
    assert store.presign("k", timedelta()) == Path(root, "k").as_uri()


@pytest.mark.parametrize("url", ["file://relative", "file://host/share", "/srv", "s3://bucket", "file:///a?b"])
def test_a_url_that_names_no_folder_is_refused(url):
    """With a hint what to write."""
    with pytest.raises(ValueError, match="file:///absolute/path"):
        local.Settings(url=url)
