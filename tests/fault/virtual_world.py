"""Processes over one data folder, in the test's own process and in virtual time.

Everything between the ports is the real thing: pipeline, catalogue, inbox, spool, owner locks. A process dies by
leaving everything as it is: its lock is dropped, as the kernel does it, and nothing is cleaned up.
"""

import io
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from archiver.catalogue import Catalogue, Draft, Owner
from archiver.core import policy
from archiver.core.model import Answer, Promise, Wish
from archiver.pipeline import Job, Pipeline
from archiver.pipeline.backfill import Backfill, Source
from archiver.pipeline.reception import Reception
from archiver.pipeline.settler import Settler
from archiver.pipeline.transfer import Carrier
from archiver.resilience import Doors, GatedStore
from archiver.schedule import parse
from tests.fault.virtual_outside import (
    DiedError,
    Fate,
    VirtualProvider,
    VirtualSource,
    VirtualStore,
    VirtualTime,
)
from tests.fault.virtual_process import MortalInbox, MortalSpool, Process


@cache
def _empty_catalogue() -> bytes:
    """A migrated catalogue without a row: making one takes longer than all that a test does with it."""
    with tempfile.TemporaryDirectory() as folder:
        Catalogue.open(Path(folder), create=True).close()
        return (Path(folder) / "catalogue.db").read_bytes()


class VirtualWorld:
    """The outside, the folder, the clock, and the processes that live."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.time = VirtualTime()
        self.fate = Fate()
        self.source = VirtualSource(self.time, self.fate)
        self.near, self.far = VirtualStore("near", self.fate), VirtualStore("far", self.fate, prefix="")
        self.stores = {"near": self.near, "far": self.far}
        hour, price = timedelta(hours=1), 40_000
        self.providers = {
            # One whose links say nothing, so that only its promise is known, and one whose links are signed.
            "plain": VirtualProvider("plain", self.source, hour, False, Promise(lifetime=hour, price_micro=price)),
            "signed": VirtualProvider(
                "signed", self.source, hour, True, Promise(lifetime=24 * hour, price_micro=price)
            ),
        }
        self.processes: list[Process] = []
        self.log: list[Any] = []
        self.luck = random.Random(seed)
        self._ids = 0
        self._aged: set[str] = set()
        for name in ("owners", "inbox", "spool"):
            (folder / name).mkdir()
        (folder / "catalogue.db").write_bytes(_empty_catalogue())
        self._observer = Catalogue.open(folder, create=False)
        # Made by the machine's clock; everything else here happens by the virtual one, which may be years earlier.
        with self._observer._database.write() as db:
            db.execute("update _sqlite_migrations set applied_at = '2000-01-01 00:00:00+00:00'")
        self.jobs = [self._job("hourly", "every 1h", "plain", 1), self._job("often", "every 20m", "signed", 2)]

    def _job(self, name: str, schedule: str, provider: str, n: int) -> Job:
        return Job(
            name=name,
            schedule=parse(schedule, "UTC"),
            schedule_text=schedule,
            catch_up="once",
            provider=provider,
            model="m",
            stores=("near", "far"),
            wishes=lambda _tick, _number: [Wish(prompt=f"{name} fox")],
            n=n,
        )

    def new_id(self) -> str:
        """Ids that sort by time."""
        self._ids += 1
        return f"id{self._ids:06d}"

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Ask the catalogue from outside."""
        return [dict(row) for row in self._observer._database.rows(statement)]

    def open_process(self) -> Process | None:
        """Start a process, which first takes over from the dead. None when it died doing so."""
        catalogue = Catalogue.open(self.folder, create=False)
        owner = Owner(self.folder / "owners", self.new_id())
        inbox, spool = MortalInbox(self.folder / "inbox"), MortalSpool(self.folder / "spool")
        inbox.fate = spool.fate = self.fate
        doors = Doors()
        stores = {
            name: GatedStore(inner=store, gates=doors.stores, now=self.time, luck=self.luck.random)
            for name, store in self.stores.items()
        }
        shared: dict[str, Any] = {"catalogue": catalogue, "inbox": inbox, "spool": spool, "now": self.time}
        luck = self.luck.random
        pipeline = Pipeline(
            owner=owner,
            doors=doors,
            providers=self.providers,
            reception=Reception(providers=self.providers, new_id=self.new_id, **shared),
            carrier=Carrier(
                fetch=self.source.fetch,
                stores=stores,
                spool=spool,
                key_template=policy.DEFAULT_KEY,
                now=self.time,
            ),
            settler=Settler(stores=stores, luck=luck, new_id=self.new_id, **shared),
            luck=luck,
            new_id=self.new_id,
            **shared,
        )
        process = Process(pipeline, inbox)
        self.processes.append(process)
        return process if self.act(process, lambda: pipeline.recover(at_start=True)) else None

    def act(self, process: Process, deed: Callable[[], object]) -> bool:
        """Let a process do something, under its fate. False when it died of it."""
        try:
            deed()
        except DiedError:
            self.kill(process)
            return False
        finally:
            self.fate.left = None
            self.age_files()
        return True

    def kill(self, process: Process) -> None:
        """What SIGKILL leaves: the lock is free, its file is there, claims and answers stay as they are."""
        self.processes.remove(process)
        process.pipeline.catalogue.close()
        process.inbox.die()
        os.close(process.pipeline.owner._file)

    def close(self, process: Process) -> None:
        """An orderly end: what is in hand is finished."""
        process.copy()
        process.drain()
        self.processes.remove(process)
        process.pipeline.catalogue.close()
        process.pipeline.owner.close()

    def age_files(self) -> None:
        """Files of the spool were written at the time of the virtual clock."""
        for path in (self.folder / "spool").iterdir():
            if path.name not in self._aged:
                self._aged.add(path.name)
                moment = self.time().timestamp()
                os.utime(path, (moment, moment))

    def generate(self, process: Process, provider: str, n: int, stores: Sequence[str]) -> str:
        """Plan one generation that belongs to no tick; its id."""
        draft = Draft(
            id=self.new_id(),
            origin="generate",
            prompt="a fox",
            provider=provider,
            model="m",
            stores=tuple(stores),
            n=n,
        )
        process.pipeline.catalogue.generations.add([draft], self.time())
        return draft.id

    def take_in(self, process: Process, address: str, stores: Sequence[str]) -> str:
        """Backfill one line; what became of it."""
        backfill = Backfill(
            catalogue=process.pipeline.catalogue,
            stores=tuple(stores),
            zone=ZoneInfo("Asia/Shanghai"),
            now=self.time,
            new_id=self.new_id,
        )
        stream = io.BytesIO(f"url,prompt\n{address},a fox\n".encode())
        report = backfill.take_in(Source(name="list.csv", path=None, stream=stream))
        assert not report.broken
        return next(iter(report.counts))

    def deliver_again(self, process: Process, provider: VirtualProvider, generation_id: str) -> bool:
        """The true answer of a paid request arrives by another way (a late webhook)."""
        body = provider.bodies[generation_id]
        answer = Answer(status=200, content_type="application/json", body=body, received_at=self.time())
        result = provider.read(answer)
        return process.pipeline.reception.complete(provider, generation_id, answer, result)  # type: ignore[arg-type]

    def end(self) -> None:
        """Close everything."""
        for process in list(self.processes):
            self.kill(process)
        self._observer.close()


@contextmanager
def virtual_world(seed: int) -> Iterator[VirtualWorld]:
    """A world in a folder of its own, in memory where the machine has such a place: flushing a disk is not in doubt."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="archiver-", dir=memory if memory.is_dir() else None))
    try:
        with structlog.testing.capture_logs() as log:
            world = VirtualWorld(folder, seed)
            world.log = log
            yield world
            world.end()
    finally:
        shutil.rmtree(folder)
