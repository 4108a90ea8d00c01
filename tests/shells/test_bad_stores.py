"""Stores that refuse, are unreachable or full, from outside: what was fetched is kept here until they take it.

And a data folder that two daemons want.
"""

import base64
import hashlib
import json
import os
import resource
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.source import Behaviour
from tests.doubles.wire import Fault
from tests.shells.test_bad_input import images, job, prompt_of
from tests.world import ARCHIVER, World, file_section, oss_section

BIG = os.urandom(3_000_000)
"""Bytes behind a PNG's first ones: an image that no small disk can hold."""


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


def spool(world: World) -> list[Path]:
    return sorted((world.folder / "data" / "spool").iterdir())


def test_what_no_store_takes_is_rescued_and_stored_later_without_its_source(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Unreachable, no such bucket, wrong secret, denied: one job each, and one with a healthy second store. All bytes
    are on this machine, each message says what to do; when stores are mended, `drain` needs no source."""
    says = {
        "down": "Could not connect to server",
        "missing": "NoSuchBucket (create the bucket",
        "secret": "SignatureDoesNotMatch (the access key secret is wrong",
        "denied": "AccessDenied (denied; the RAM user needs oss:PutObject",
    }
    with OssDouble() as down, OssDouble() as missing, OssDouble() as secret, OssDouble() as denied:
        doubles = {"down": down, "missing": missing, "secret": secret, "denied": denied}
        world.keys_of(down)
        text = file_section("near", tmp_path / "near") + job(["both"], name="both", stores='["near", "denied"]')
        for name, double in doubles.items():
            text += oss_section(name, double) + job([f"into {name}", f"存到 {name}"], name=name, stores=f'["{name}"]')
        world.configure(text + job(["near only"], name="near", stores='["near"]'), provider=provider)
        bucket, key = missing.bucket, secret.secret_key
        # Paid for while every store was well: nobody spends for one that has never taken anything.
        provider.image_first = (Behaviour(status=404),)
        assert world.run("run", "--once").returncode == 1
        down.down()
        missing.bucket, secret.secret_key = "renamed", "rotated"
        denied.script(lambda request: Fault(status=403, code="AccessDenied"))

        done = world.run("drain")
        assert done.returncode == 1
        assert "1 image archived, 0 lost" in done.stderr
        rows = images(world)
        assert {prompt for prompt, row in rows.items() if row["state"] == "stored"} == {"near only"}
        assert len(rows) == 10 and {row["state"] for row in rows.values()} == {"spooled", "stored"}
        for name, words in says.items():
            for prompt in (f"into {name}", f"存到 {name}"):
                assert words in rows[prompt]["error"]
                assert f"postponed {rows[prompt]['id']}: (safe on this disk) {rows[prompt]['error']}" in done.stderr
        assert says["denied"] in rows["both"]["error"]
        assert key not in done.stderr + str(rows)
        _assert_spooled(world, {prompt for prompt in rows if prompt != "near only"})
        wanted = world.sql("select store, state from copies where image_id = ? order by store", rows["both"]["id"])
        assert [tuple(row.values()) for row in wanted] == [("denied", "wanted"), ("near", "confirmed")]

        provider.source.down()
        down.up()
        missing.bucket, secret.secret_key = bucket, key
        denied.script(None)
        again = world.run("drain")
        assert again.returncode == 0, again.stderr
        assert "9 images archived, 0 lost" in again.stderr
        assert spool(world) == []
        assert world.run("status").returncode == 0
        for row in world.sql("select prompt, store, key from lineage where store <> 'near'"):
            assert doubles[row["store"]].objects[row["key"]].body == provider.image(row["prompt"], 0)
        assert len(world.sql("select * from lineage where prompt = 'both'")) == 2
    assert len(provider.charges) == 10


def _assert_spooled(world: World, prompts: set[str]) -> None:
    """Every rescued image lies in the spool, whole and private."""
    bodies = {hashlib.sha256(ImagesProvider.image(prompt, 0)).hexdigest() for prompt in prompts}
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in spool(world)} == bodies
    assert {stat.S_IMODE(path.stat().st_mode) for path in spool(world)} == {0o600}
    assert stat.S_IMODE((world.folder / "data").stat().st_mode) == 0o700


def test_a_file_store_that_cannot_be_written_is_a_matter_of_time(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """A file lies where the folder should be: nobody, not even root, can write there. The bytes wait in the spool."""
    world.configure(file_section("main", tmp_path / "archive"), provider=provider)
    provider.image_first = (Behaviour(status=404),)
    assert world.run("generate", "a cat").returncode == 1
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    (tmp_path / "archive").write_text("no folder")
    done = world.run("drain")
    assert done.returncode == 1
    (row,) = images(world).values()
    assert row["state"] == "spooled" and f"main: {tmp_path}/archive: Not a directory" in done.stderr
    (tmp_path / "archive").unlink()
    provider.source.down()
    assert "1 image archived, 0 lost" in world.run("drain").stderr
    assert spool(world) == []
    (row,) = world.rows("lineage", "cat")
    assert (tmp_path / "archive" / row["key"]).read_bytes() == provider.image("a cat", 0)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of 256 KB at `folder`."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", folder], check=True, capture_output=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def may_mount(folder: Path) -> bool:
    folder.mkdir(parents=True)
    try:
        with small_disk(folder / "try"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def big_image(provider: ImagesProvider) -> bytes:
    """Let the prompt `big` become an image of 3 MB."""
    body = ImagesProvider.image("big", 0) + BIG
    url = provider.source.add("/big.png", body)
    answer = json.dumps({"data": [{"url": url}]}).encode()
    provider.script(lambda request: Mishap(body=answer) if prompt_of(request) == "big" else None)
    return body


def test_a_full_disk_under_the_store_costs_nothing(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """The archive's disk is full, for the big image only; the small one is archived, the big one waits in the spool."""
    if not may_mount(tmp_path / "mounts"):
        pytest.skip("no right to mount a small disk; the next test fills one by the limit of a file's size")
    body = big_image(provider)
    world.configure(file_section("main", tmp_path / "archive") + job(["big", "small"]), provider=provider)
    with small_disk(tmp_path / "archive"):
        done = world.run("run", "--once")
        assert done.returncode == 1
        rows = images(world)
        assert (rows["big"]["state"], rows["small"]["state"]) == ("spooled", "stored")
        assert f"main: {tmp_path}/archive: No space left on device" in done.stderr
        assert not list((tmp_path / "archive").rglob(".part-*")), "half a file would keep the disk full"
        (kept,) = spool(world)
        assert kept.read_bytes() == body
    provider.source.down()
    assert world.run("drain").returncode == 0
    assert spool(world) == []
    (row,) = world.rows("lineage", "big")
    assert (tmp_path / "archive" / row["key"]).read_bytes() == body


def test_a_machine_without_room_keeps_the_place_of_an_image(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Neither store nor spool can be written (no file may grow above 1 MB): the image stays pending, nothing is left
    behind half, the small one is archived; with room again the URL still lives, and the image comes home."""
    body = big_image(provider)
    world.configure(file_section("main", tmp_path / "archive") + job(["big", "small"]), provider=provider)
    limit = 1_000_000
    done = subprocess.run(
        [*ARCHIVER, "run", "--once"],
        cwd=world.folder,
        env=world.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    rows = images(world)
    assert (rows["big"]["state"], rows["small"]["state"]) == ("pending", "stored")
    assert f"main: {tmp_path}/archive: File too large" in done.stderr
    assert f"cannot write {world.folder}/data/spool/" in done.stderr
    assert "1 image archived, 0 lost" in done.stderr
    assert spool(world) == [] and not list((tmp_path / "archive").rglob(".part-*"))
    assert world.run("drain").returncode == 0
    (row,) = world.rows("lineage", "big")
    assert (tmp_path / "archive" / row["key"]).read_bytes() == body
    assert [charge.prompt for charge in provider.charges].count("big") == 1


def test_a_base64_answer_that_fits_nowhere_is_not_lost(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """The answer itself cannot be written: its outcome is in doubt, what came is kept, and it is never asked again."""
    answer = json.dumps({"data": [{"b64_json": base64.b64encode(BIG).decode()}]}).encode()
    provider.script([Mishap(body=answer)])
    world.configure(file_section("main", tmp_path / "archive") + job(["big"]), provider=provider)
    done = subprocess.run(
        [*ARCHIVER, "run", "--once"],
        cwd=world.folder,
        env=world.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.returncode != 0 and "File too large" in done.stderr
    assert world.sql("select state from generations") == [{"state": "unknown"}]
    (kept,) = (world.folder / "data" / "inbox").glob("*.odd")
    assert answer.startswith(kept.read_bytes().partition(b"\n")[2]) and kept.stat().st_size > 100_000
    assert world.run("run", "--once").returncode == 0
    assert world.run("status").returncode == 1
    assert len(provider.charges) == 1


# --- two daemons ----------------------------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, with patience for a busy machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def test_a_second_daemon_on_the_same_data_is_refused(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """Exit 3 and a clear message; `run --once`, `generate` and questions work beside the first, which goes on."""
    hourly = job(["from the job"])
    world.configure(file_section("main", tmp_path / "archive") + hourly, provider=provider)
    daemon = world.start("run")
    try:
        wait_until(lambda: "stored" in (world.folder / "stderr.txt").read_text())
        second = world.run("run")
        assert second.returncode == 3
        assert f"another archiver daemon already works on {world.folder}/data" in second.stderr
        assert world.run("run", "--once").returncode == 0
        world.ok("generate", "beside it")
        assert {row["prompt"] for row in world.rows("images", "--state", "stored")} == {"from the job", "beside it"}
        assert daemon.poll() is None
    finally:
        code = world.stop(daemon)
    assert code == 0
    assert sorted(charge.prompt for charge in provider.charges) == ["beside it", "from the job"]
