"""The power goes at sampled moments of a whole run, and the next start loses nothing and pays nothing twice.

Set CRASH_SEED for another sample near to one that failed, POWER_CUTS for a larger one (per recorded run; one in six is
followed by a restart). `scripts/soak/power.py` runs thousands.
"""

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.crash.disk import Disk
from tests.crash.loss import MODELS, Fate, Model, after_loss, flat
from tests.crash.nursery import Nursery
from tests.crash.points import POINTS, Point
from tests.crash.power import SETUPS, Losses, lose_power
from tests.crash.straced import Call, why_not

CUTS = int(os.environ.get("POWER_CUTS", "60"))
RESTART_EVERY = 6
AT_A_TIME = 2
_NAMES = ("CP04 answer not flushed to the disk", "CP05 answer renamed", "CP11 rescued file renamed")
_MADE = "before archiver.stores.local:_sync_folder #6 in archiver.stores.local:LocalStore._make_folder"
DEATHS = (*(point for point in POINTS if point.name in _NAMES), Point("folder of a store made", _MADE, "two"))
"""Where a process is killed while what it wrote can be read, and is not safe."""


@pytest.fixture(scope="module")
def losses(nursery: Nursery) -> Iterator[dict[str, "Future[Losses]"]]:
    """All recorded runs with their cuts, under way."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    seed = int(os.environ.get("CRASH_SEED", time.time_ns() % 1_000_000))
    print(f"CRASH_SEED={seed}")
    go = partial(lose_power, seed=seed, run=nursery.run, restart_every=RESTART_EVERY)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        plain = {setup: pool.submit(go, setup, CUTS) for setup in SETUPS}
        yield plain | {one.name: pool.submit(go, one.setup, CUTS // 2, deaths=[one.at]) for one in DEATHS}


@pytest.mark.parametrize("setup", SETUPS)
def test_f014_what_was_promised_outlives_a_power_loss(losses: dict[str, "Future[Losses]"], setup: str) -> None:
    """What others had seen is on the disk at every cut, and after a restart ledger, stores and catalogue agree."""
    print(losses[setup].result())


@pytest.mark.parametrize("point", DEATHS, ids=str)
def test_f014_what_the_dead_left_is_not_taken_for_safe(losses: dict[str, "Future[Losses]"], point: Point) -> None:
    """A process was killed, the next one took over, and only then the power goes: what the dead had not synced could be
    read, and had to be synced before anything was built on it."""
    print(losses[point.name].result())


# --- the model itself ------------------------------------------------------------------------------------------------


def _call(name: str, moment: int, *arguments: str, result: int = 0) -> Call:
    return Call(1, name, arguments, result, moment, moment + 1)


def _text(text: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def _handle(path: Path) -> str:
    return f"3<{_text(str(path))[1:-1]}>"


def _written(top: Path, *, synced: bool, folder_synced: bool) -> Disk:
    """A disk on which one file was written under another name and renamed; it is over at moment 100."""
    disk, part, final = Disk(top), top / "a.part", top / "a"
    flags = "O_WRONLY|O_CREAT|O_TRUNC"
    disk.do(_call("openat", 10, "AT_FDCWD", _text(str(part)), flags, "0600", result=3))
    disk.do(_call("write", 20, _handle(part), _text("x" * 600), "600", result=600))
    if synced:
        disk.do(_call("fsync", 30, _handle(part)))
    disk.do(_call("rename", 40, _text(str(part)), _text(str(final))))
    if folder_synced:
        disk.do(_call("fsync", 50, _handle(top)))
    return disk


def _lefts(disk: Disk, model: Model, moment: int = 100) -> set[tuple[tuple[str, bytes], ...]]:
    """All that two hundred power losses leave."""
    chance = random.Random(0)
    fates = [Fate(model, 0.0 if model == "least" else 0.5, 512, chance) for _ in range(200)]
    return {tuple(sorted(flat(after_loss(disk, moment, fate)).items())) for fate in fates}


@pytest.mark.parametrize("model", MODELS)
def test_f014_a_model_keeps_what_was_synced(tmp_path: Path, model: Model) -> None:
    """File and folder were synced: there is one outcome."""
    whole = {(("a", b"x" * 600),)}
    assert _lefts(_written(tmp_path, synced=True, folder_synced=True), model) == whole


def test_f014_a_model_loses_what_was_not_synced(tmp_path: Path) -> None:
    """Bytes and names are lost by themselves, and in pieces; a sync that had not returned has done nothing."""
    bytes_lost = _lefts(_written(tmp_path, synced=False, folder_synced=True), "anything")
    torn = {(), (0, 88), (512, 0), (512, 88)}
    assert {left[0][1].count(b"x") for left in bytes_lost} == {sum(one) for one in torn}
    assert all([name for name, _ in left] == ["a"] for left in bytes_lost)
    name_lost = _lefts(_written(tmp_path, synced=True, folder_synced=False), "folders")
    assert name_lost == {(), (("a.part", b"x" * 600),), (("a", b"x" * 600),)}
    assert _lefts(_written(tmp_path, synced=True, folder_synced=False), "least") == {()}
    assert _lefts(_written(tmp_path, synced=True, folder_synced=True), "least", moment=51) == {()}


def test_f014_a_call_that_is_not_modelled_is_refused(tmp_path: Path) -> None:
    """Whatever changes a file unseen would make every verdict worthless."""
    disk = Disk(tmp_path)
    with pytest.raises(ValueError, match="not modelled"):
        disk.do(_call("truncate", 10, _text(str(tmp_path / "a")), "0"))
    with pytest.raises(ValueError, match="not modelled"):
        disk.do(_call("fallocate", 10, _handle(tmp_path / "a"), "0", "0", "4096"))
