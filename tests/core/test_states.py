"""The state machines have no trap, no dead branch, and no way that the diagram does not show."""

from collections import deque

import pytest

from archiver.core.states import BIRTH, COPY, GENERATION, IMAGE, MACHINES, diagram, pairs, states

NAMES = tuple(MACHINES)
# Nothing leads out of these: it was stopped before it cost anything, or it is done. What is stored can still be missed.
FINAL = {"generation": {"completed", "cancelled", "reused"}, "image": {"forgotten"}, "copy": set()}
FINAL["batch"] = {"collected", "withdrawn", "unknown"}


def reachable(machine: str, start: str) -> set[str]:
    """Every state that some chain of moves leads to."""
    seen, waiting = {start}, deque([start])
    while waiting:
        state = waiting.popleft()
        for source, target in pairs(machine):
            if source == state and target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


@pytest.mark.parametrize("machine", NAMES)
def test_every_state_can_be_reached_from_a_birth(machine: str) -> None:
    """And so can every move, because a move starts in a state."""
    found = set().union(*(reachable(machine, state) for state in BIRTH[machine]))
    assert found == set(states(machine))


@pytest.mark.parametrize("machine", NAMES)
def test_every_state_that_is_not_final_has_a_way_out(machine: str) -> None:
    leaving = {source for source, _ in pairs(machine)}
    assert set(states(machine)) - leaving == FINAL[machine]


def test_every_image_can_still_become_stored() -> None:
    """No state of an image is a trap, not even `lost`; what was forgotten is not there."""
    assert {state for state in states("image") if "stored" not in reachable("image", state)} == {"forgotten"}


def test_whatever_there_is_can_be_forgotten() -> None:
    assert IMAGE["forget"].sources == set(states("image")) - {"forgotten"}


def test_every_copy_can_still_become_confirmed() -> None:
    assert {state for state in states("copy") if "confirmed" not in reachable("copy", state)} == set()


def test_every_generation_can_still_bring_images_home_unless_it_was_cancelled() -> None:
    stuck = {state for state in states("generation") if "completed" not in reachable("generation", state)}
    assert stuck == {"cancelled", "reused"}


def test_what_was_sent_is_never_sent_again_by_itself() -> None:
    """Nothing leads back to `planned` but a withdrawal, only from `submitted`, and an operator's word."""
    back = {(name, source) for name, move in GENERATION.items() if move.target == "planned" for source in move.sources}
    assert back == {("withdraw", "submitted"), ("retry", "unknown"), ("retry", "failed")}


def test_an_image_is_lost_only_while_its_url_is_all_there_is() -> None:
    """Bytes in the spool or in a store are never given up."""
    assert IMAGE["lose"].sources == {"pending"}
    assert [name for name, move in IMAGE.items() if move.target == "lost"] == ["lose"]


def test_moves_change_the_state() -> None:
    for machine in NAMES:
        assert all(source != target for source, target in pairs(machine)), machine


def test_pairs_and_states_agree_with_the_tables() -> None:
    """A spot check by hand: the design's own lines."""
    assert pairs("copy") == {("wanted", "confirmed"), ("confirmed", "missing"), ("missing", "wanted")}
    assert states("copy") == ("confirmed", "missing", "wanted")
    assert states("image") == ("forgotten", "lost", "missing", "pending", "spooled", "stored")
    assert COPY["confirm"].sources == {"wanted"}
    assert ("failed", "completed") in pairs("generation") and ("unknown", "completed") in pairs("generation")


def test_tables_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MACHINES["generation"]["resurrect"] = IMAGE["requeue"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        IMAGE["lose"].target = "stored"  # type: ignore[misc]


@pytest.mark.parametrize("machine", NAMES)
def test_diagram_shows_every_birth_and_every_move(machine: str) -> None:
    """One line for each, and no other."""
    lines = diagram(machine).splitlines()
    assert lines[0] == "stateDiagram-v2"
    births = {f"    [*] --> {state}" for state in BIRTH[machine]}
    moves = {
        f"    {source} --> {move.target}: {name}" for name, move in MACHINES[machine].items() for source in move.sources
    }
    assert set(lines[1:]) == births | moves
    assert len(lines) == 1 + len(births) + len(moves)
