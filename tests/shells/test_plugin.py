"""A store of somebody else's: one file and one entry-point line, as README says."""

from pathlib import Path

from tests.world import ROOT, World

STORE = '''
"""A store that keeps everything in one folder, under flat names."""

import hashlib
from pathlib import Path

from archiver.core.model import ObjectHead, Receipt
from archiver.settings import Section


class Settings(Section):
    url: str


def connect(name, settings, outside):
    return Flat(name, Path(settings.url.removeprefix("flat://")))


class Flat:
    prefix = ""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        folder.mkdir(exist_ok=True)

    def put_new(self, key, body, content_type, metadata):
        target = self.folder / key.replace("/", "__")
        with body.open() as source:
            target.write_bytes(source.read())
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        return Receipt(store=self.name, key=key, sha256=digest, size=body.size, etag=None, proof="read-back")

    def head(self, key):
        target = self.folder / key.replace("/", "__")
        return ObjectHead(key=key, size=target.stat().st_size) if target.exists() else None

    def open(self, key):
        yield (self.folder / key.replace("/", "__")).read_bytes()
'''

CONFIG = """
[providers.sandbox]
kind = "sandbox"

[stores.mine]
url = "flat://{folder}"
"""


def test_a_store_is_added_with_one_file_and_one_line(tmp_path: Path) -> None:
    """A package outside of archiver declares the scheme `flat`, and images are archived in it."""
    package = tmp_path / "site"
    info = package / "archiver_flat-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "archiver_flat.py").write_text(STORE, "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: archiver-flat\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[archiver.stores]\nflat = archiver_flat\n", "utf-8")
    world = World(tmp_path / "user", {"PYTHONPATH": f"{ROOT}:{package}"})
    world.configure(CONFIG.format(folder=tmp_path / "flat"))
    rows = world.rows("generate", "a lighthouse")
    assert (tmp_path / "flat" / rows[0]["key"].replace("/", "__")).stat().st_size == rows[0]["size"]


def test_an_unknown_scheme_is_refused_by_name(tmp_path: Path) -> None:
    """Without the package, the configuration says which kinds of store there are."""
    world = World(tmp_path / "user")
    world.configure(CONFIG.format(folder=tmp_path / "flat"))
    done = world.run("generate", "a lighthouse")
    assert done.returncode == 2
    assert "stores.mine.url" in done.stderr
    assert "file, oss, s3" in done.stderr
