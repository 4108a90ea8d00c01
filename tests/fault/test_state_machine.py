"""Anything may happen in any order: the state machine of `machine.py`, at random, and against planted bugs.

`ARCHIVER_MACHINE_EXAMPLES` asks for more runs than the usual ones; `scripts/soak/machine.py` runs for minutes.
"""

import inspect
import os
import textwrap
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from archiver.catalogue import claiming, generations, settling
from archiver.core import policy
from archiver.pipeline.reception import Reception
from archiver.pipeline.settler import Settler
from archiver.pipeline.transfer import Carrier
from tests.fault.invariants import View, inv_01
from tests.fault.machine import Machine
from tests.fault.virtual_world import virtual_world

#: A failure is not shrunk: that takes longer than a test may, and its forty steps can be read.
USUAL = settings(
    max_examples=int(os.environ.get("ARCHIVER_MACHINE_EXAMPLES", "100")),
    stateful_step_count=40,
    deadline=None,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: The same runs each time, so that whether a planted bug is found does not depend on luck.
FIXED = settings(USUAL, max_examples=300, derandomize=True, print_blob=False)


def test_invariants_hold_whatever_happens() -> None:
    """A hundred random runs of forty events. A failure prints its steps; hypothesis prints how to play them again."""
    run_state_machine_as_test(Machine, settings=USUAL)


def test_a_poll_that_brought_everything_survives_the_death_of_its_process() -> None:
    """The answer is whole but for its name; the next poll would write over it, and may bring nothing any more."""
    with virtual_world(1) as world:
        provider, process = world.providers["signed"], world.open_process()
        assert process is not None
        provider.reply = "task"
        world.generate(process, "signed", 1, ("near",))
        process.ask(provider)
        world.time.pass_by(timedelta(minutes=3))
        world.fate.left = 5  # behind the last byte, before the file is flushed and renamed
        assert not world.act(process, lambda: process.poll(provider))
        assert len(provider.whole) == 1
        world.time.pass_by(timedelta(hours=23))
        world.source.mode = "down"
        later = world.open_process()
        assert later is not None
        later.poll(provider)
        inv_01(world, View.of(world))
        assert [row["state"] for row in world.rows("select state from generations")] == ["completed"]


def test_an_image_that_is_signed_anew_while_the_old_link_is_tried_does_not_wait_for_its_failure() -> None:
    """The old link is refused after the new one came in: that says nothing of the new one, which may die soon."""
    with virtual_world(1) as world:
        process = world.open_process()
        assert process is not None
        old = world.source.issue("a", timedelta(minutes=1), signed=True)
        world.take_in(process, old, ("near",))
        world.time.pass_by(timedelta(hours=1))
        assert process.claim() is not None
        new = world.source.issue("a", timedelta(minutes=10), signed=True)
        assert world.take_in(process, new, ("near",)) == "refreshed"
        process.copy()
        process.pipeline.settler.settle(process.outcomes)
        process.outcomes.clear()
        process.drain()
        assert [row["state"] for row in world.rows("select state from images")] == ["stored"]


# What is planted: where, which words of the source, and what stands there instead.
BUGS: dict[str, tuple[type | ModuleType, str, str, str]] = {
    "a stale claim settles": (
        settling,
        "_CLAIMED",
        "and i.claimed_by = said.value ->> 1 and i.claim = said.value ->> 2",
        "",
    ),
    "somebody else's claim is taken": (claiming, "_CLAIM", "images.claimed_until < :now", "1"),
    "a request in doubt is asked again": (policy, "after_submit", '"throttled"):', '"throttled", "ambiguous"):'),
    "a dead process's request has failed": (
        Reception,
        "take_over",
        "self.doubt(submission.provider, generation_id, owner, reason)",
        "self.catalogue.generations.fail(generation_id, owner, reason, self.now())",
    ),
    "a second answer is recorded again": (generations.Generations, "complete", "and state in", "or state in"),
    "a taken key is asked for again": (Carrier, "_put", "policy.alternative_key(key, fetched.sha256)", "key"),
    "the spool is emptied too soon": (Settler, "settle", "if is_stored and ", "if "),
    "patience ends at the deadline": (policy, "gives_up_at", " + GRACE", " - GRACE"),
    "a stored image keeps its URL": (settling, "_FORGET_URLS", "value from", "null from"),
    "the deadline is the latest evidence": (policy, "decide_deadline", "min(evidence,", "max(evidence,"),
    "no second attempt in time": (policy, "next_attempt", "luck * min(cap, base)", "luck * 90000"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is worth something: each of these mistakes breaks an invariant or the last oracle."""
    plant(monkeypatch, *BUGS[bug])
    with pytest.raises(Exception, match=r".") as found:
        run_state_machine_as_test(Machine, settings=FIXED)
    print(bug, "->", repr(found.value)[:200])


def plant(monkeypatch: pytest.MonkeyPatch, place: type | ModuleType, name: str, words: str, instead: str) -> None:
    """Change one text or function of the program for the time of a test."""
    healthy: Any = inspect.getattr_static(place, name)
    if isinstance(healthy, str):
        assert words in healthy
        monkeypatch.setattr(place, name, healthy.replace(words, instead))
        return
    source = textwrap.dedent(inspect.getsource(healthy))
    assert words in source, f"{name} does not say {words!r} any more"
    scope: dict[str, Any] = {}
    exec(compile(source.replace(words, instead), f"<sick {name}>", "exec"), healthy.__globals__, scope)
    monkeypatch.setattr(place, name, scope[name])
