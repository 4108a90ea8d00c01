"""`archiver doctor` about this machine: folders, file systems, catalogue files, versions."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue.health import Library, has_wal_fix
from archiver.doctor import folders, machine
from archiver.wiring.examining import Machine
from tests.doubles.provider import ImagesProvider
from tests.shells.doctored import doctor, verdicts
from tests.world import World, file_section


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


# --- data folder and catalogue ---------------------------------------------------------------------------------------


@pytest.fixture
def archived(world: World, provider: ImagesProvider, tmp_path: Path) -> World:
    world.configure(file_section("main", tmp_path / "archive"), provider=provider)
    world.ok("generate", "a cat")
    return world


def catalogue_of(world: World) -> Path:
    return world.folder / "data" / "catalogue.db"


def test_a_catalogue_that_is_damaged_foreign_newer_or_older(archived: World) -> None:
    path = catalogue_of(archived)
    whole = path.read_bytes()

    def changed(*statements: str) -> None:
        path.write_bytes(whole)
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    assert doctor(archived, "--deep")["catalogue", "damage"]["text"] == "none found by the integrity check"
    columns = "(migration_set, name, applied_at)"
    changed(f"insert into _sqlite_migrations {columns} values ('archiver', 'm999_future', '2030-01-01')")
    row = doctor(archived, code=3)["catalogue", "schema"]
    assert "m999_future" in row["text"] and row["advice"] == "upgrade this archiver"
    changed("delete from _sqlite_migrations where name = 'm007_listings'")
    assert doctor(archived)["catalogue", "schema"]["verdict"] == "warn"
    changed("pragma application_id = 7")
    assert "no catalogue of archiver's" in doctor(archived, code=3)["catalogue", "file"]["text"]
    path.write_bytes(whole[: len(whole) // 2])
    found = doctor(archived, code=3)
    assert "bad" in verdicts(found, "catalogue").values()
    path.write_bytes(b"no database at all" * 1000)
    row = doctor(archived, code=3)["catalogue", "file"]
    assert "file is not a database" in row["text"] and "archiver restore" in row["advice"]


def test_a_catalogue_that_has_two_names(archived: World, tmp_path: Path) -> None:
    path = catalogue_of(archived)
    (tmp_path / "second.db").hardlink_to(path)
    assert "2 names" in doctor(archived, code=1)["catalogue", "link"]["text"]
    (tmp_path / "second.db").unlink()
    path.rename(tmp_path / "real.db")
    path.symlink_to(tmp_path / "real.db")
    row = doctor(archived, code=1)["catalogue", "link"]
    assert "symbolic link" in row["text"] and row["advice"] == f"set [archiver] data_dir to {tmp_path}"


def test_a_folder_that_others_can_read_or_nobody_can_use(archived: World) -> None:
    data = archived.folder / "data"
    assert doctor(archived)["data_dir", "permissions"]["verdict"] == "ok"
    catalogue_of(archived).chmod(0o644)
    row = doctor(archived)["data_dir", "permissions"]
    assert row["verdict"] == "warn" and row["advice"] == f"chmod -R go-rwx {data}"
    data.rename(archived.folder / "aside")
    data.write_text("no folder")
    assert "is no folder" in doctor(archived, code=3)["data_dir", "permissions"]["text"]


def test_a_disk_without_room(world: World, tmp_path: Path) -> None:
    world.configure(file_section("main", tmp_path / "archive"))
    world.environment["ARCHIVER_ARCHIVER__MIN_FREE"] = "900000GB"
    row = doctor(world, code=3)["data_dir", "free space"]
    assert row["verdict"] == "bad" and "min_free" in row["advice"]


MOUNTS = r"""
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /srv/nas rw,relatime shared:7 - nfs4 nas:/export rw
31 30 8:2 / /srv/nas/local rw - xfs /dev/sdb1 rw
32 22 0:41 / /srv/with\040space rw - cifs //pc/share rw
33 22 0:42 / /tmp rw - tmpfs tmpfs rw
34 22 0:43 / /host rw master:1 - virtiofs host rw
35 22 0:44 / /srv/nasal rw - btrfs /dev/sdc rw
36 33 8:5 / /tmp rw - ext4 /dev/sdd rw
a broken line
"""


@pytest.mark.parametrize(
    ("path", "kind", "verdict"),
    [
        ("/home/me/data", "ext4", "ok"),
        ("/srv/nas", "nfs4", "bad"),
        ("/srv/nas/data", "nfs4", "bad"),
        ("/srv/nas/local/data", "xfs", "ok"),
        ("/srv/with space/data", "cifs", "bad"),
        ("/host/data", "virtiofs", "warn"),
        ("/srv/nasal/data", "btrfs", "ok"),
        ("/srv/nasty/data", "ext4", "ok"),
        ("/tmp/data", "ext4", "ok"),
    ],
)
def test_file_systems_are_told_apart(path: str, kind: str, verdict: str) -> None:
    assert folders.filesystem(Path(path), MOUNTS) == kind
    text = MOUNTS.replace(" / / rw,relatime - ext4", f" / / rw,relatime - {kind}") if kind != "ext4" else MOUNTS
    here = "\n".join(line for line in text.splitlines() if line.startswith("22 "))
    (finding,) = folders.disk(Path("/"), here)
    assert (finding.verdict, kind in finding.text) == (verdict, True)


def test_where_no_mounts_are_told_nothing_is_claimed() -> None:
    (finding,) = folders.disk(Path("/"), "")
    assert "does not tell" in finding.text
    (finding,) = folders.disk(Path("/"), "1 0 0:1 / / rw - overlay overlay rw")
    assert finding.verdict == "warn" and "container" in finding.text


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "is_fixed"),
    [
        ((3, 40, 1), False),
        ((3, 44, 6), True),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
    ],
)
def test_an_sqlite_with_the_wal_reset_bug_is_loud(version: tuple[int, ...], is_fixed: bool) -> None:
    assert has_wal_fix(version) == is_fixed
    (finding,) = machine.sqlite(Library(module="sqlite3", version=version))
    assert finding.verdict == ("ok" if is_fixed else "warn")
    assert ("TRUNCATE" in finding.text and "pysqlite3" in finding.advice) != is_fixed


def about(**changed: Any) -> Machine:
    facts: dict[str, Any] = {
        "python": (3, 12, 1),
        "libraries": {"boto3": ("1.40.2", "<2,>=1.40")},
        "unwanted": (),
        "open_files": 1024,
        "mounts": "",
        "user": os.geteuid(),
    }
    return Machine(**{**facts, **changed})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ["ok", "ok"]),
        ({"python": (3, 10, 9)}, ["bad", "ok"]),
        ({"libraries": {"boto3": (None, ">=1.40")}}, ["ok", "bad"]),
        ({"libraries": {"boto3": ("1.9.0", "<2,>=1.40")}}, ["ok", "warn"]),
        ({"libraries": {"boto3": ("2.0", "<2,>=1.40")}}, ["ok", "warn"]),
        ({"libraries": {"pysqlite3": (None, ">=0.6.1")}}, ["ok", "warn"]),
        ({"unwanted": ("crcmod-plus",)}, ["ok", "ok", "warn"]),
    ],
)
def test_versions(changed: dict[str, Any], expected: list[str]) -> None:
    assert [finding.verdict for finding in machine.versions(about(**changed))] == expected


def test_too_few_open_files_are_a_warning() -> None:
    verdict = [next(machine.open_files(about(open_files=n), 16, 16)).verdict for n in (1024, 64, -1)]
    assert verdict == ["ok", "warn", "ok"]
