"""A run of the state machine without its rules: how it begins, what is looked at after every event, how it is judged.

At the end of a run the world is healed, time passes, and the last oracle says what must have become of every charge and
every image.
"""

from datetime import timedelta

from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from archiver.catalogue import as_time
from tests.fault.invariants import Memory, View, check_all
from tests.fault.virtual_process import Process
from tests.fault.virtual_world import VirtualWorld, virtual_world

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: Within this, after the outside is well again, whatever can still be fetched must be stored: the longest pause is an
#: hour, and a first success may only be the rescue.
CATCHES_UP = 150 * MINUTE


class Judged(RuleBasedStateMachine):
    """One data folder, its processes, and the judge."""

    @initialize(seed=some.integers(0, 2**20))
    def begin(self, seed: int) -> None:
        self._context = virtual_world(seed)
        self.world: VirtualWorld = self._context.__enter__()
        self.memory = Memory()
        self.doom: int | None = None

    def process(self, number: int, dies_after: int | None = None) -> Process:
        """One of the living; a first one is started when all are dead. It dies after so many steps outside, or of the
        doom that was spoken."""
        while not self.world.processes:
            self.world.fate.left, self.doom = self.doom, None
            self.world.open_process()
        chosen = self.world.processes[number % len(self.world.processes)]
        self.world.fate.left, self.doom = dies_after or self.doom, None
        return chosen

    @invariant()
    def invariants_hold(self) -> None:
        if hasattr(self, "world"):
            check_all(self.world, self.memory)
            unexpected = [line for line in self.world.log if line["event"] == "not taken over"]
            assert unexpected == []

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.heal()
            self.judge()
        finally:
            self._context.__exit__(None, None, None)

    def work(self, *, rounds: int, apart: timedelta) -> None:
        """One healthy process works."""
        process = self.process(0)
        for _ in range(rounds):
            for port in self.world.providers.values():
                while process.ask(port):
                    pass
                while process.poll(port):
                    pass
            process.drain()
            process.pipeline.expire()
            self.world.age_files()
            self.world.time.pass_by(apart)

    def heal(self) -> None:
        """The outside is well again, everybody has died, and one process has time."""
        self.doom = None
        for process in list(self.world.processes):
            self.world.kill(process)
        self.world.source.mode = ""
        for store in self.world.stores.values():
            store.mode = ""
        self.saveable = self._saveable()
        self.work(rounds=CATCHES_UP // (15 * MINUTE), apart=15 * MINUTE)
        check_all(self.world, self.memory)
        kept = {row["id"]: row["state"] for row in self.world.rows("select id, state from images")}
        assert {kept[image_id] for image_id in self.saveable} <= {"stored"}, "it could have been had, and was not"
        ends = [as_time(row["give_up_at"]) for row in self.world.rows("select give_up_at from images")]
        self.world.time.pass_by(max([end - self.world.time() for end in ends] + [DAY]))
        self.work(rounds=6, apart=61 * MINUTE)
        self.world.time.pass_by(2 * DAY)
        self.process(0).pipeline.recover()

    def _saveable(self) -> set[str]:
        """What is safe, or whose source will serve for long enough."""
        found = set()
        for image in View.of(self.world).images:
            if image["state"] == "spooled" and image["id"] not in self.memory.rotted:
                found.add(image["id"])
            elif image["state"] == "pending":
                name, dies = self.world.source.links[image["url"]]
                serves = dies > self.world.time.true + CATCHES_UP and name not in self.world.source.deleted
                # A source that refused what it had, and a clock days ahead: together they do look like the end.
                if serves and not (self.world.time.was_wrong and name in self.world.source.refused_alive):
                    found.add(image["id"])
        return found

    def judge(self) -> None:
        """Everything has come to an end, nothing is left lying about, and every charge is accounted for."""
        check_all(self.world, self.memory)
        view = View.of(self.world)
        assert {row["state"] for row in view.generations} <= {"completed", "failed", "unknown", "cancelled"}
        assert {image["state"] for image in view.images} <= {"stored", "lost"} or self.memory.rotted
        expected = sum(len(port.made[row["id"]]) for port in self.world.providers.values() for row in view.generations
                       if row["provider"] == port.name and row["state"] == "completed")  # fmt: skip
        assert expected == sum(image["generation_id"] in self._paid(view) for image in view.images)
        left = [path.name for path in (self.world.folder / "spool").iterdir()]
        assert left == [] or self.memory.rotted, left
        lying = {path.name for path in (self.world.folder / "inbox").iterdir() if path.suffix != ".odd"}
        assert lying == set(), lying
        self.world.processes[0].pipeline.catalogue.scrub()
        for path in self.world.folder.glob("catalogue.db*"):
            assert b"secret" not in path.read_bytes() or self.memory.rotted

    @staticmethod
    def _paid(view: View) -> set[str]:
        return {row["id"] for row in view.generations if row["origin"] != "backfill"}
