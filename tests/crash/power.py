"""The power goes: one recorded run, cut off at many moments, and what the next process makes of the disk that is left.

The run is the real command line below strace (`straced`), and `loss` says what a power loss may leave of its disk. At
each cut the outside is put back to what it had seen by then. Before anything restarts, what was said or sent to the
outside must be found on the disk; then the real command line takes over, and the oracle judges as after any death.
"""

import hashlib
import random
import re
import shutil
import signal
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from tests.crash.disk import Disk
from tests.crash.harness import RUN, Runner, Scene, run_below, scene
from tests.crash.loss import Fate, Tree, after_loss, alive, flat
from tests.crash.oracle import doubtful, rows
from tests.crash.straced import NEVER, Call, below, calls
from tests.doubles.oss import StoredObject
from tests.doubles.provider import Charge
from tests.doubles.wire import Seen

SETUPS = ("two", "inline", "failing")
"""See `points.Point`: a folder as a store beside OSS; answers that carry the images; images rescued to the spool."""

_MOST_BLURRED = 5
_HEAD = re.compile(rb"(GET|HEAD|PUT|POST) (\S+) HTTP/1\.1\r\n")
_KEY = re.compile(rb"\r\nidempotency-key: *(\S+)\r\n", re.IGNORECASE)
_ARCHIVED = re.compile(r"^(\d+) images? archived", re.MULTILINE)
_SAFE = re.compile(r"^postponed (\w+): \(safe on this disk\)", re.MULTILINE)


@dataclass(slots=True)
class Sent:
    """One HTTP request: what its first bytes were, and the moment before its last ones left."""

    head: bytes
    moment: int


@dataclass(slots=True)
class Tape:
    """A recorded run: the disk, and by moment what others may know of it."""

    disk: Disk
    sent: list[Sent] = field(default_factory=list)
    said: list[tuple[int, str]] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=dict)
    trail: list[tuple[int, int, str]] = field(default_factory=list)
    doubts: set[str] = field(default_factory=set)
    last_start: int = 0
    end: int = 0
    _requests: dict[str, Sent] = field(default_factory=dict)
    _read: dict[int, str] = field(default_factory=dict)

    def take(self, call: Call) -> None:
        """Take in the next call."""
        self.disk.do(call)
        self.end = max(self.end, call.begin, call.end if call.end < NEVER else 0) + 1
        if call.name == "sendto":
            self._send(call)
        elif call.name == "write" and call.place().name in ("stdout.txt", "stderr.txt"):
            self.said.append((call.begin, call.text(1).decode()))
        if call.name == "openat" and (path := call.paths()[0]).suffix == ".answer":
            self._read[call.thread] = path.stem
        elif call.name in ("write", "pwrite64", "sendto") and call.thread in self._read:
            # "On disk before anything else is done with it": this is the first other thing.
            self.answered.setdefault(self._read.pop(call.thread), call.begin)
        if call.name not in ("openat", "lseek", "mmap"):
            path = call.place() if call.arguments[0][0] != '"' else call.paths()[-1]
            self.trail.append((call.begin, call.end, f"{call.name} {path.name}"))

    def _send(self, call: Call) -> None:
        connection, data = call.arguments[0], call.text(1)
        if _HEAD.match(data):
            self._requests[connection] = Sent(data, call.begin)
            self.sent.append(self._requests[connection])
        elif connection in self._requests:
            self._requests[connection].moment = call.begin

    def asked(self, moment: int) -> set[str]:
        """The generations that the provider may have been asked for by then."""
        return {
            key[1].decode() for one in self.sent if one.moment < moment and (key := _KEY.search(one.head)) is not None
        }

    def put(self, moment: int) -> list[str]:
        """The paths that a store may have been sent an object for by then."""
        heads = [match for one in self.sent if one.moment < moment and (match := _HEAD.match(one.head)) is not None]
        return [unquote(head[2].decode().partition("?")[0]) for head in heads if head[1] == b"PUT"]

    def told(self, moment: int) -> str:
        """All that a person may have read by then."""
        return "".join(text for begin, text in self.said if begin < moment)

    def acknowledged(self, moment: int) -> set[str]:
        """The generations whose answers had been worked with by then."""
        return {key for key, begin in self.answered.items() if begin < moment}

    def around(self, moment: int) -> str:
        """What went on at a moment, for a person."""
        now = [what for begin, end, what in self.trail if begin < moment <= end < NEVER]
        before = [what for _, end, what in self.trail if end < moment]
        return f"during {now or 'nothing'}, after {before[-3:]}"


@dataclass(slots=True)
class Outside:
    """What the provider and the store had in the end: the past is a part of it."""

    charges: list[Charge]
    requests: list[Seen]
    objects: Mapping[str, StoredObject]

    @classmethod
    def of(cls, stage: Scene) -> "Outside":
        """As it is now."""
        return cls(list(stage.provider.charges), list(stage.provider.requests), dict(stage.oss.objects))

    def put_back(self, stage: Scene, tape: Tape, moment: int) -> None:
        """Let the doubles know what they knew at a moment, and no more."""
        asked = tape.asked(moment)
        known = [one.headers.get("idempotency-key") in asked for one in self.requests]
        stage.provider.requests[:] = [one for one, is_known in zip(self.requests, known, strict=True) if is_known]
        stage.provider.charges[:] = [one for one, is_known in zip(self.charges, known, strict=True) if is_known]
        paths = tape.put(moment)
        stage.oss.objects.clear()
        stage.oss.objects.update(
            {key: held for key, held in self.objects.items() if any(path.endswith(f"/{key}") for path in paths)}
        )


class Blurred(Exception):
    """A process died while other threads were about to change these files, and strace did not see whether they did."""


def record(stage: Scene, log: Path, deaths: Sequence[str]) -> Tape:
    """Run all that is due from nothing, below strace; before, one process dies at each of the places `deaths`. Raises
    AssertionError when the work was not done, or not seen as it was; Blurred when only a death is to blame for that."""
    for name in ("stdout.txt", "stderr.txt"):
        (stage.world.folder / name).touch()
    top = stage.world.folder.parent
    tape = Tape(Disk(top))
    for place in (*deaths, None):
        tape.last_start = tape.end
        code = run_below(*below(log))(stage.world, RUN, place)
        assert code in ((0, 1) if place is None else (-signal.SIGKILL,)), f"exit code {code}: {stage.said()}"
        for call in calls(log, tape.end):
            tape.take(call)
        tape.doubts |= doubtful(stage.world)
    seen, real = flat(alive(tape.disk)), flat(_read(top))
    wrong = {name for name in seen.keys() | real.keys() if seen.get(name) != real.get(name)}
    wrong = {name for name in wrong if not name.endswith((".txt", "-shm")) and "/home/" not in name}
    if wrong and deaths:
        raise Blurred(wrong)
    assert wrong == set(), f"the recording is not what happened: {wrong}"
    keys = {request.headers["idempotency-key"] for request in stage.provider.requests}
    assert keys <= tape.asked(tape.end), "requests went unseen"
    assert deaths or keys == tape.acknowledged(tape.end), "answers went unseen"
    assert deaths or _ARCHIVED.search(tape.told(tape.end)), f"the last word went unseen: {tape.said}"
    return tape


@dataclass(slots=True)
class Losses:
    """The power losses so far: how many by model, and how many were followed by a restart."""

    models: Counter[str] = field(default_factory=Counter)
    restarts: int = 0

    def add(self, other: "Losses") -> None:
        """Count another's too."""
        self.models += other.models
        self.restarts += other.restarts


def lose_power(
    setup: str, cuts: int, seed: int, run: Runner, *, restart_every: int = 1, deaths: Sequence[str] = ()
) -> Losses:
    """Record one run, after `deaths` (see `record`), and cut it off at so many moments, half of them around a sync.

    Raises AssertionError with what is needed to understand a violation. Threads make each recording another one, so
    that a seed repeats it only nearly.
    """
    for _ in range(_MOST_BLURRED):
        with suppress(Blurred):
            return _lose_power(setup, cuts, seed, run, restart_every, deaths)
    raise AssertionError(f"no recording is clear: {setup}, {deaths}")


def _lose_power(setup: str, cuts: int, seed: int, run: Runner, restart_every: int, deaths: Sequence[str]) -> Losses:
    chance = random.Random(seed)
    found = Losses()
    with tempfile.TemporaryDirectory() as logs, scene(setup, run) as stage:
        tape = record(stage, Path(logs) / "log", deaths)
        outside = Outside.of(stage)
        # With deaths, what came before the last process is the same as without.
        syncs, others = ([one for one in moments if one > tape.last_start] for moments in tape.disk.moments())
        for number in range(cuts):
            moments = syncs if number % 2 else others
            taking_over = bool(deaths) and chance.random() < 0.5  # which comes first
            moment = moments[int(len(moments) * chance.random() ** (3 if taking_over else 1))]
            fate = Fate.draw(chance)
            try:
                _materialise(stage, after_loss(tape.disk, moment, fate))
                outside.put_back(stage, tape, moment)
                _look(stage, tape, moment)
                if number % restart_every == 0:
                    stage.finish()
            except (AssertionError, sqlite3.DatabaseError) as error:
                where = f"setup {setup}, {deaths}, seed {seed}, cut {number}, {fate}, {tape.around(moment)}"
                raise AssertionError(f"{error}\n{where}") from error
            found.models[fate.model] += 1
            found.restarts += number % restart_every == 0
    return found


def _materialise(stage: Scene, left: Tree) -> None:
    """Make the data folder and the folder store what they are after the loss."""
    top = stage.world.folder.parent
    user = left["user"]
    assert isinstance(user, dict)
    for path, tree in ((stage.world.folder / "data", user.get("data")), (top / "near", left.get("near"))):
        if path.exists():
            shutil.rmtree(path)
        if isinstance(tree, dict):
            _write(path, tree)
    for name in ("stdout.txt", "stderr.txt"):
        (stage.world.folder / name).write_bytes(b"")


def _read(folder: Path) -> Tree:
    return {path.name: _read(path) if path.is_dir() else path.read_bytes() for path in folder.iterdir()}


def _write(folder: Path, tree: Tree) -> None:
    folder.mkdir(mode=0o700)
    for name, held in tree.items():
        if isinstance(held, dict):
            _write(folder / name, held)
        else:
            (folder / name).write_bytes(held)


def _look(stage: Scene, tape: Tape, moment: int) -> None:
    """What the outside has seen of us is on the disk, before anybody recovers anything."""
    data = stage.world.folder / "data"
    data.mkdir(exist_ok=True)
    (data / "inbox").mkdir(exist_ok=True)
    checked = [row["integrity_check"] for row in rows(data, "pragma integrity_check")]
    assert checked == ["ok"], f"the catalogue is damaged: {checked}"
    states = {row["id"]: row["state"] for row in rows(data, "select id, state from generations")}
    forgotten = {one for one in tape.asked(moment) if states.get(one, "planned") == "planned"}
    assert forgotten == set(), f"asked for, and not known to be: {forgotten}"
    stage.doubts = doubtful(stage.world) | (tape.doubts & {one for one in states if states[one] == "unknown"})
    lost = tape.acknowledged(moment) & (stage.doubts | (tape.asked(moment) - states.keys()))
    assert lost == set(), f"answers that were worked with, and are gone: {lost}"
    images = {row["id"]: row for row in rows(data, "select * from images")}
    for image_id, row in images.items():
        if row["state"] == "spooled":
            path = data / "spool" / row["spool"]
            assert path.exists() and _sha256(path.read_bytes()) == row["sha256"], f"not in the spool: {image_id}"
    _look_into_stores(stage, data)
    told = tape.told(moment)
    archived = sum(row["state"] == "stored" for row in images.values())
    assert archived >= sum(map(int, _ARCHIVED.findall(told))), f"{archived} are stored, and it said: {told}"
    kept = {image_id for image_id, row in images.items() if row["state"] in ("spooled", "stored")}
    assert kept >= set(_SAFE.findall(told)), f"not safe, though it was said: {told}"


def _look_into_stores(stage: Scene, data: Path) -> None:
    """Whatever is called confirmed is there, with the digest that the row says, and told of by its lineage record."""
    held = {name: contents() for name, contents in stage.stores.items()}
    for row in rows(data, "select * from copies where state = 'confirmed'"):
        there = held[row["store"]]
        assert row["key"] in there, f"confirmed, and not in {row['store']}: {row['key']}"
        assert _sha256(there[row["key"]]) == row["sha256"], f"other bytes in {row['store']}: {row['key']}"
        record_of = there.get(row["lineage_key"], b"").decode("utf-8", "replace")
        assert row["image_id"] in record_of, f"no lineage record in {row['store']} for {row['key']}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
