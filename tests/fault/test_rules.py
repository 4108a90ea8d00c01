"""Rules that hold between rooms: no transaction across the network, no bare BEGIN, one lock for one folder, an fsync
that fails, and a store that shows objects late."""

import errno
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import SoleDaemon
from archiver.core.errors import ArchiverError, Transient, Unusable
from archiver.core.model import Network, SecretReference
from archiver.stores import s3
from archiver.transport import AddressGuard, Body, CurlEngine
from tests.contracts.conftest import outside
from tests.doubles.bare_s3 import BareS3
from tests.doubles.http1 import Request
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.wire import Fault
from tests.pipeline.workshop import Clock, open_workshop
from tests.world import ROOT


def test_f021_every_transaction_takes_its_lock_at_once() -> None:
    """A BEGIN that only reads at first is refused at its first write when somebody else writes; so there is none.

    The one savepoint is set inside a transaction that has its lock (`Rebuilding.add`): it begins none. The one plain
    BEGIN is for temporary tables (`Database.scratch`), which nobody else has.
    """
    begins = [
        (path.name, match[0].lower())
        for path in (ROOT / "archiver").rglob("*.py")
        for match in re.finditer(
            r"\"\s*(begin(?: \w+){0,2}|savepoint \w+)\s*\"", path.read_text("utf-8"), re.IGNORECASE
        )
    ]
    assert sorted(begins) == [
        ("database.py", '"begin immediate"'),
        ("database.py", '"begin"'),
        ("rebuilding.py", '"savepoint one"'),
    ]
    database = (ROOT / "archiver" / "catalogue" / "database.py").read_text("utf-8")
    assert database.partition("def scratch(")[2].partition("\n    def ")[0].count('"begin"') == 1
    rebuilding = (ROOT / "archiver" / "catalogue" / "rebuilding.py").read_text("utf-8")
    begun = r"self\._database\.write\(\) as db:\n\s+for item in told:\n\s+db\.execute\(\"savepoint one\"\)"
    assert re.search(begun, rebuilding)


def test_f022_no_transaction_is_open_while_anybody_talks_to_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request of a whole life (asking, fetching, a put refused, draining) begins outside of one."""
    seen: list[bool] = []

    def watched(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            seen.append(shop.catalogue._database.connection.in_transaction)
            return act(*arguments, **named)

        return call

    clock = Clock(datetime.now(UTC))  # the double compares the machine's time
    with (
        OssDouble() as far,
        ImagesProvider() as provider,
        open_workshop(tmp_path, far=far, double=provider, clock=clock) as shop,
    ):
        port = shop.pipeline.providers["double"]
        monkeypatch.setattr(type(port), "submit", watched(type(port).submit))
        monkeypatch.setattr(CurlEngine, "fetch", watched(CurlEngine.fetch))
        monkeypatch.setattr(CurlEngine, "send", watched(CurlEngine.send))
        far.script([Fault(status=500)])
        shop.plan("double", "a wish", stores=("near", "far"))
        shop.ask("double")
        shop.copy()
        clock.advance(minutes=5)
        shop.copy()
        shop.pipeline.recover()
        assert shop.states() == ["stored"]
    assert len(seen) >= 4
    assert not any(seen)


def test_f025_an_fsync_that_fails_anywhere_costs_no_image_and_pays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO at the first, the second, ... fsync of a life: nothing is called safe by a second fsync of the same file."""
    number, felt = 0, 1
    while felt:
        number += 1
        felt = _life_with_bad_fsync(tmp_path / str(number), number, monkeypatch)
    assert number > 4, "there are an answer, an image, and a lineage record to flush"


def _life_with_bad_fsync(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """One life in which the `number`-th fsync fails. Returns how many did."""
    calls = felt = 0
    flush = os.fsync

    def fsync(file: int) -> None:
        nonlocal calls, felt
        calls += 1
        if calls == number:
            felt += 1
            raise OSError(errno.EIO, "Input/output error")
        flush(file)

    with ImagesProvider() as provider, open_workshop(folder, double=provider) as shop:
        (generation,) = shop.plan("double", "a wish")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            try:
                shop.ask("double")
                shop.copy()
            except ArchiverError:
                assert felt, "only the fault may stop the work"
        shop.clock.advance(hours=1)
        shop.pipeline.recover()
        shop.ask("double")
        shop.copy()
        state = shop.generation(generation)["state"]
        # The first one is the answer's: whether its bytes are on the disk is not known, and never asked a second time.
        assert state == ("unknown" if number == 1 else "completed")
        if state == "unknown":
            assert shop.files("inbox") == [f"{generation}.odd"], "what was paid is kept for a person"
            assert len(provider.charges) == 1
        else:
            assert (state, shop.states(), len(provider.charges)) == ("completed", ["stored"], 1)
    return felt


def test_f030_a_folder_that_is_reached_by_a_link_has_the_same_lock(tmp_path: Path) -> None:
    """The second daemon is refused, whichever way it comes."""
    real, link = tmp_path / "data", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    first = SoleDaemon(real / "daemon.lock")
    try:
        with pytest.raises(Unusable, match="another archiver daemon"):
            SoleDaemon(link / "daemon.lock")
    finally:
        first.close()


def test_f030_a_link_to_the_file_alone_pays_nothing_twice(tmp_path: Path) -> None:
    """From another data_dir, the owner of a request under way looks dead: it is in doubt until its answer comes."""
    with ImagesProvider() as provider, open_workshop(tmp_path / "real", double=provider) as shop:
        (generation,) = shop.plan("double", "a wish")
        port = shop.pipeline.providers["double"]
        submission = shop.pipeline.next_to_submit(port)
        assert submission is not None
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "catalogue.db").symlink_to(tmp_path / "real" / "catalogue.db")
        with open_workshop(tmp_path / "other", double=provider) as other:
            other.pipeline.recover()
            assert other.generation(generation)["state"] == "unknown"
            assert other.ask("double") == 0
        shop.pipeline.submit(port, submission)
        shop.copy()
        assert (shop.generation(generation)["state"], shop.states()) == ("completed", ["stored"])
        assert len(provider.charges) == 1


def test_f085_a_store_that_shows_its_objects_late_is_asked_again(tmp_path: Path) -> None:
    """Read back too early, the object is not there: a matter of time, not a loss; the next put finds its equal."""

    def late(request: Request) -> Fault | None:
        return Fault(status=404, code="NoSuchKey") if request.method == "GET" else None

    with BareS3(fault=late) as server:
        engine = CurlEngine(Network(), AddressGuard(["127.0.0.1/32"]))
        secrets = {"env:K": server.access_key, "env:S": server.secret_key}
        settings = s3.Settings(
            url=f"s3://{server.bucket}/archive",
            endpoint=server.endpoint,
            region=server.region,
            access_key_id=SecretReference("env:K"),
            access_key_secret=SecretReference("env:S"),
        )
        store = s3.connect("main", settings, outside(tmp_path, secrets, engine))
        try:
            with pytest.raises(Transient, match="cannot be read back yet"):
                store.put_new("archive/a.png", Body.of(b"bytes"), "image/png", {})
            server.script(None)
            assert store.put_new("archive/a.png", Body.of(b"bytes"), "image/png", {}).proof == "read-back"
        finally:
            engine.close()


def test_f108_nothing_is_pickled_and_the_daemon_keeps_its_timers_in_memory() -> None:
    """A store of jobs that others can write to would run what they put there; ours are rows, read as text."""
    found = [
        (path.name, match[0])
        for path in (ROOT / "archiver").rglob("*.py")
        for match in re.finditer(r"\b(import|from) (pickle|shelve|marshal|dill)\b|jobstore\w*", path.read_text("utf-8"))
    ]
    assert found == []
    from apscheduler.jobstores.memory import MemoryJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(timezone="UTC")  # as the daemon makes it: without a word about stores
    scheduler.start(paused=True)
    try:
        assert {name: type(store) for name, store in scheduler._jobstores.items()} == {"default": MemoryJobStore}
    finally:
        scheduler.shutdown()
