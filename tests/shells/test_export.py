"""`archiver export`, from outside: the same images as lines, as a manifest that sha256sum takes, and as a gallery."""

import csv
import hashlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.doubles.provider import ImagesProvider
from tests.doubles.servers import rclone_s3
from tests.gallery.test_page import Reader
from tests.world import ARCHIVER, World, file_section, s3_section

PROMPTS = ("=a lighthouse in the fog", "一只猫坐在月球上", "</script><b>a tab\tand a\nline")
PILLOW = pytest.mark.skipif(
    importlib.util.find_spec("PIL") is None,
    reason="NO PILLOW: galleries with thumbnails were not tried. Install it: pip install pillow",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three images in a folder; the tests write beside them and change nothing."""
    folder = tmp_path_factory.mktemp("exported")
    made = World(folder / "user")
    with ImagesProvider([None, None, None]) as provider:
        made.configure(file_section("main", folder / "a store"), provider=provider, price_usd=0.04)
        for prompt in PROMPTS:
            made.ok("generate", prompt)
    return made


def pictures(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(Reader((folder / "index.html").read_text("utf-8")).texts["script"][0])
    return found


def test_lines_tell_what_images_tells(world: World) -> None:
    """The same images in the same order under the same filters; a formula stays a text."""
    listed = world.rows("images")
    lines = [json.loads(line) for line in world.ok("export", "-", "--jsonl").splitlines()]
    told = list(csv.DictReader(io.StringIO(world.ok("export", "-", "--csv"))))
    assert (
        [row["image_id"] for row in lines] == [row["image_id"] for row in told] == [row["image_id"] for row in listed]
    )
    for row, line, cells in zip(listed, lines, told, strict=True):
        for name in ("prompt", "sha256", "size", "cost_usd", "state", "model", "deadline", "tags"):
            assert line[name] == row[name], name
        assert [copy["key"] for copy in line["copies"]] == [row["key"]] == [cells["key"]]
        assert cells["store"] == "main"
        assert line["parents"] == []
        assert set(row) <= set(cells)
        assert set(row) - {"key"} <= set(line)
    assert told[-1]["prompt"] == "'" + PROMPTS[0]
    for given in (("--limit", "1"), ("--since", "1h"), ("--state", "lost")):
        wanted = [row["image_id"] for row in world.rows("images", *given)]
        assert [
            json.loads(line)["image_id"] for line in world.ok("export", "-", "--jsonl", *given).splitlines()
        ] == wanted
    oldest = world.ok("export", "-", "--jsonl", "--reverse", "--limit", "1")
    assert json.loads(oldest)["prompt"] == PROMPTS[0]


def test_where_sqlite_is_older_a_snapshot_is_read(world: World) -> None:
    """The same lines, and nothing left behind; only the answer to "is a snapshot needed" is changed here."""
    program = (
        "from archiver.catalogue import viewing; made = viewing.snapshot;"
        " viewing.readers_need_a_snapshot = lambda: True;"
        " viewing.snapshot = lambda path, target: (made(path, target), print(target, file=__import__('sys').stderr));"
        " import archiver.cli; archiver.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", "-", "--jsonl"],
        cwd=world.folder, env=world.environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == world.ok("export", "-", "--jsonl")
    target = Path(done.stderr.strip())
    assert (target.name, target.exists()) == ("catalogue.db", False)


def test_a_file_is_left_alone(world: World) -> None:
    """The suffix says the kind; an export that exists, a folder, a wrong place and a wrong wish are refused."""
    target = world.folder / "images.csv"
    world.ok("export", "images.csv")
    before = target.read_bytes()
    done = world.run("export", "images.csv", "--jsonl")
    assert (done.returncode, "--force" in done.stderr) == (2, True)
    assert target.read_bytes() == before
    world.ok("export", "images.csv", "--jsonl", "--force")
    assert target.read_bytes() != before
    for given in (("what",), ("home", "--csv"), ("no/where.csv",), ("x.csv", "--presign", "7d"),
                  ("g", "--gallery", "--presign", "8d"), ("m", "--manifest", "--store", "other")):  # fmt: skip
        done = world.run("export", *given)
        assert done.returncode == 2, given
        assert "Traceback" not in done.stderr
    assert not (world.folder / "g").exists()


def test_a_manifest_is_checked_by_sha256sum(world: World) -> None:
    """In the folder of the store; a changed file is found."""
    assert shutil.which("sha256sum"), "this test needs coreutils"
    world.ok("export", "SUMS", "--manifest")
    store = world.folder.parent / "a store"
    check = ("sha256sum", "--check", "--strict", str(world.folder / "SUMS"))
    done = subprocess.run(check, cwd=store, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count(": OK")) == (0, 3), done.stderr
    sizes = {int(line.split()[1]) for line in (world.folder / "SUMS").read_text().splitlines() if "bytes" in line}
    files = [path for path in store.rglob("*.png") if path.is_file()]
    assert sizes == {path.stat().st_size for path in files}
    shutil.copytree(store, world.folder / "copy")
    spoilt = world.folder / "copy" / files[0].relative_to(store)
    spoilt.chmod(0o600)
    spoilt.write_bytes(b"other bytes")
    done = subprocess.run(check, cwd=world.folder / "copy", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("FAILED")) == (1, 1)


def test_a_gallery_without_pillow_shows_the_originals(world: World) -> None:
    """Every image is linked by a path that leads to its very bytes, wherever the gallery's folder is."""
    world.ok("export", "deep/er/gallery", "--gallery", "--no-thumbnails", "--title", "My <archive>")
    folder = world.folder / "deep" / "er" / "gallery"
    found = pictures(folder)
    assert [one["prompt"] for one in found] == list(PROMPTS[::-1])
    for one in found:
        assert one["thumb"] is None
        address = str(one["full"])
        assert address.startswith("../")
        assert "%20" in address  # the folder of the store has a space in its name
        data = (folder / unquote(address)).read_bytes()
        assert f"{hashlib.sha256(data).hexdigest():.12}" in str(one["key"])
    assert sorted(path.name for path in folder.iterdir()) == ["index.html"]
    assert folder.stat().st_mode & 0o077 == 0


def test_without_pillow_the_way_to_it_is_told(world: World, tmp_path: Path) -> None:
    """A Python that cannot find Pillow: nothing is made, and the line that installs it is printed."""
    program = (
        "import importlib.util as u, sys; find = u.find_spec;"
        " u.find_spec = lambda name, *more: None if name in ('PIL', 'datasette') else find(name, *more);"
        " import archiver.cli; archiver.cli.main()"
    )
    for given, line in ((("export", "bare", "--gallery"), "pillow>=12,<14"), (("browse",), "datasette>=0.65.5,<1")):
        done = subprocess.run(
            [sys.executable, "-c", program, *given],
            cwd=world.folder, env=world.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, f'pip install "{line}"' in done.stderr) == (2, True), done.stderr
    assert not (world.folder / "bare").exists()


@PILLOW
def test_a_gallery_is_made_and_brought_up_to_date(world: World) -> None:
    """Thumbnails are there, small, and made only once; somebody's own folder is left alone."""
    world.ok("export", "gallery", "--gallery")
    folder = world.folder / "gallery"
    thumbs = [folder / str(one["thumb"]) for one in pictures(folder)]
    assert all(path.read_bytes()[8:12] == b"WEBP" for path in thumbs)
    thumbs[0].write_bytes(b"kept")
    done = world.run("export", "gallery", "--gallery", "--limit", "2")
    assert (done.returncode, "2 images in gallery/index.html" in done.stderr) == (0, True)
    assert thumbs[0].read_bytes() == b"kept"
    assert len(pictures(folder)) == 2
    assert world.run("export", "home", "--gallery").returncode in (0, 2)
    (world.folder / "mine").mkdir()
    (world.folder / "mine" / "index.html").write_text("my page")
    done = world.run("export", "mine", "--gallery")
    assert done.returncode == 2
    assert (world.folder / "mine" / "index.html").read_text() == "my page"


@PILLOW
def test_an_image_that_cannot_be_shown_is_told(tmp_path: Path) -> None:
    """Its bytes in the store were changed: exit code 1, its row is there, and the others have their thumbnails."""
    world = World(tmp_path / "user")
    with ImagesProvider([None, None]) as provider:
        world.configure(file_section("main", tmp_path / "store"), provider=provider)
        for prompt in ("a", "b"):
            world.ok("generate", prompt)
    first = world.rows("images", "--reverse")[0]
    spoilt = tmp_path / "store" / first["key"]
    spoilt.chmod(0o600)
    spoilt.write_bytes(b"other bytes")
    done = world.run("export", "gallery", "--gallery")
    assert done.returncode == 1
    assert first["image_id"] in done.stderr
    assert "1 images have no thumbnail" in done.stderr
    assert {one["id"]: bool(one["thumb"]) for one in pictures(world.folder / "gallery")}[first["image_id"]] is False
    assert len(pictures(world.folder / "gallery")) == 2


@PILLOW
def test_nothing_is_signed_unless_it_is_asked_for(tmp_path: Path) -> None:
    """A private bucket: no link; with --presign one that says when it dies; with public_base_url the permanent one."""
    world = World(tmp_path / "user")
    with rclone_s3(tmp_path / "s3") as server, ImagesProvider([None]) as provider:
        world.keys_of(server)
        section = s3_section("main", server)
        world.configure(section, provider=provider)
        world.ok("generate", "a fox")
        world.ok("export", "private", "--gallery")
        (one,) = pictures(world.folder / "private")
        assert (one["full"], one["dies"], bool(one["thumb"])) == (None, None, True)
        page = (world.folder / "private" / "index.html").read_text()
        assert "Signature=" not in page
        assert server.secret_key not in page
        done = world.run("export", "signed", "--gallery", "--presign", "7d")
        assert (done.returncode, "signed" in done.stderr) == (0, True)
        assert "Signature=" not in done.stdout + done.stderr
        (one,) = pictures(world.folder / "signed")
        assert "X-Amz-Signature=" in str(one["full"])
        assert str(one["dies"]) > "2026"
        world.configure(section + 'public_base_url = "https://img.example.com/x"\n', provider=provider)
        world.ok("export", "public", "--gallery", "--presign", "7d")
        (one,) = pictures(world.folder / "public")
        assert str(one["full"]).startswith("https://img.example.com/x/archive/")
        assert one["dies"] is None
        (policy,) = Reader((world.folder / "public" / "index.html").read_text()).attribute(
            "meta", "content", **{"http-equiv": "Content-Security-Policy"}
        )
        world.ok("export", "public", "--gallery")
        assert "Signature" not in policy


def test_ctrl_c_leaves_no_part(world: World) -> None:
    """A reader that goes away ends the export without a word about Python."""
    pipe = subprocess.Popen(
        [*ARCHIVER, "export", "-", "--csv"],
        cwd=world.folder, env=world.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert pipe.stdout is not None and pipe.stderr is not None
    pipe.stdout.close()
    assert "Traceback" not in pipe.stderr.read()
    pipe.stderr.close()
    pipe.wait()
    assert not [path for path in world.folder.iterdir() if path.name.startswith(".archiver-")]
