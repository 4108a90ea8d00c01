"""Owners: alive while the process lives, dead the moment it is killed, and one daemon for a folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue, Owner, SoleDaemon
from archiver.core.errors import Unusable
from tests.catalogue.filling import LEASE, NOW, arrival, completed, opened

ROOT = Path(__file__).parents[2]
LIVE = "import sys, pathlib; from archiver.catalogue import Owner, SoleDaemon; folder = pathlib.Path(sys.argv[1])\n"


@contextmanager
def running(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has said that it is ready, and waits. It is killed at the end, if it still lives."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{LIVE}{program}\nprint('ready', flush=True)\nsys.stdin.read()", str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        close_fds=False,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_an_owner_is_alive_until_it_is_killed(tmp_path: Path) -> None:
    """A real process and a real SIGKILL; its file is removed when it is found dead."""
    with Owner(tmp_path, "me") as me, running("owner = Owner(folder, 'other')", tmp_path) as process:
        assert me.is_alive("other")
        assert me.is_alive("other")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "other").exists()
        assert not me.is_alive("other")
        assert not (tmp_path / "other").exists()
        assert not me.is_alive("other")


def test_an_owner_that_closes_is_gone(tmp_path: Path) -> None:
    """And leaves no file."""
    other = Owner(tmp_path, "other")
    with Owner(tmp_path, "me") as me:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["me", "other"]
        other.close()
        assert not me.is_alive("other")
    assert list(tmp_path.iterdir()) == []


def test_an_owner_knows_itself_and_nobody_it_never_heard_of(tmp_path: Path) -> None:
    with Owner(tmp_path, "me") as me:
        assert me.is_alive("me")
        assert not me.is_alive("nobody")


def test_two_owners_of_one_process_are_two(tmp_path: Path) -> None:
    """A lock belongs to the owner, not to the process: asking about one does not free it."""
    with Owner(tmp_path, "one") as one, Owner(tmp_path, "two") as two:
        assert one.is_alive("two") and two.is_alive("one")
        assert one.is_alive("two")


def test_the_files_of_the_dead_are_buried(tmp_path: Path) -> None:
    """Of the living none."""
    (tmp_path / "long gone").touch()
    with Owner(tmp_path, "me") as me, Owner(tmp_path, "other"):
        me.bury()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["me", "other"]


def test_a_program_that_we_start_does_not_keep_us_alive(tmp_path: Path) -> None:
    """It inherits what is not closed for it, but never the lock; the file is private."""
    other = Owner(tmp_path, "other")
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o600
    with Owner(tmp_path, "me") as me, running("", tmp_path):
        assert me.is_alive("other")
        os.close(other._file)  # as at the end of a process
        assert not me.is_alive("other")


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot lock"):
        Owner(tmp_path / "nowhere", "me")


def test_claims_of_a_killed_process_are_taken_over_at_once(tmp_path: Path) -> None:
    """Long before their lease is over."""
    catalogue = opened(tmp_path)
    (tmp_path / "owners").mkdir()
    completed(catalogue, *(arrival(number, index=number) for number in range(3)))
    program = (
        "from tests.catalogue.filling import opened, LEASE, NOW\n"
        "owner = Owner(folder / 'owners', 'doomed')\n"
        "tickets = opened(folder).images.claim(owner.id, NOW, LEASE, limit=2)"
    )
    with Owner(tmp_path / "owners", "me") as me, running(program, tmp_path) as process:
        assert catalogue.images.claimants() == ["doomed"]
        assert take_over(catalogue, me) == 0
        assert [ticket.image_id for ticket in catalogue.images.claim("me", NOW, LEASE, limit=9)] == ["i2"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert take_over(catalogue, me) == 2
        assert [ticket.image_id for ticket in catalogue.images.claim("me", NOW, LEASE, limit=9)] == ["i0", "i1"]
    catalogue.close()


def take_over(catalogue: Catalogue, me: Owner) -> int:
    """Free what the dead had claimed."""
    return sum(catalogue.images.free(owner) for owner in catalogue.images.claimants() if not me.is_alive(owner))


def test_one_daemon_for_a_folder(tmp_path: Path) -> None:
    """The second is told what to do; after a SIGKILL of the first, another one may start."""
    path = tmp_path / "daemon.lock"
    with running("lock = SoleDaemon(folder / 'daemon.lock')", tmp_path) as process:
        with pytest.raises(Unusable, match="another archiver daemon already works"):
            SoleDaemon(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        lock = SoleDaemon(path)
        with pytest.raises(Unusable, match="another archiver daemon"):
            SoleDaemon(path)
        lock.close()
        SoleDaemon(path).close()
