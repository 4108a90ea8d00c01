"""Anything may happen in any order: the state machine of `machine.py`, at random, and against planted bugs.

`ARCHIVER_MACHINE_EXAMPLES` asks for more runs than the usual ones; `scripts/soak/machine.py` runs for minutes.
"""

import inspect
import os
import textwrap
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from archiver.catalogue import claiming, generations, images
from archiver.core import policy
from archiver.pipeline.reception import Reception
from archiver.pipeline.settler import Settler
from archiver.pipeline.transfer import Carrier
from tests.fault.machine import Machine

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
FIXED = settings(USUAL, max_examples=400, derandomize=True, print_blob=False)


def test_invariants_hold_whatever_happens() -> None:
    """A hundred random runs of forty events. A failure prints its steps; hypothesis prints how to play them again."""
    run_state_machine_as_test(Machine, settings=USUAL)


# What is planted: where, which words of the source, and what stands there instead.
BUGS: dict[str, tuple[type | ModuleType, str, str, str]] = {
    "a stale claim settles": (images, "write_settlement", " and claimed_by = :owner and claim = :claim", ""),
    "somebody else's claim is taken": (claiming, "_CLAIM", "images.claimed_until < :now", "1"),
    "a request in doubt is asked again": (policy, "after_submit", '"throttled"):', '"throttled", "ambiguous"):'),
    "a dead process's request has failed": (Reception, "take_over", "generations.doubt(", "generations.fail("),
    "a second answer is recorded again": (generations.Generations, "complete", "and state in", "or state in"),
    "a taken key is asked for again": (Carrier, "_put", "policy.alternative_key(key, fetched.sha256)", "key"),
    "the spool is emptied too soon": (Settler, "settle", "if is_stored and ", "if "),
    "patience ends at the deadline": (policy, "gives_up_at", " + GRACE", " - GRACE"),
    "a stored image keeps its URL": (images, "write_settlement", "source_url = null, ", ""),
    "a clock set back is waited for": (claiming, "_CLAIM", "images.attempted_at > :ahead", "0"),
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
