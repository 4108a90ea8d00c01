"""The database itself refuses what must not be, whoever writes: exactly the moves of `core.states`, and no lie.

All statements here are raw SQL, past the house's own methods: the guards are for the day when those are wrong.
"""

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from archiver.catalogue import Catalogue
from archiver.core.states import BIRTH, MACHINES, pairs, states
from tests.catalogue.filling import DIGEST, arrival, ask, completed, opened, raw, sqlite

TABLES = {"generation": "generations", "image": "images", "copy": "copies", "batch": "batches"}
KEYS = {"generation": "id = 'gplan'", "image": "id = 'i0'", "copy": "image_id = 'i0' and store = 'here'"}
KEYS["batch"] = "id = 'b0'"
ERASED = ", ".join(
    (
        "forgotten_at = 'now', evidence = '[]'",
        *(f"{name} = null" for name in ("source", "source_host", "source_identity", "sha256", "size")),
    )
)
PROOF = f"sha256 = '{DIGEST}', key = store || '/k', proof = 'read-back', confirmed_at = 'now', lineage_key = 'record'"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """One planned generation, one batch, and one pending image with two wanted copies."""
    catalogue = opened(tmp_path_factory.mktemp("guards"))
    completed(catalogue, arrival())
    plan(catalogue)
    raw(catalogue).execute(
        "insert into batches (id, provider, state, n, created_at, handle) values ('b0', 'p', 'gathered', 1, 'now', 'h')"
    )
    yield catalogue
    catalogue.close()


@pytest.fixture
def db(shared: Catalogue) -> Iterator[Any]:
    """Its connection, inside a transaction that is taken back after the test."""
    connection = raw(shared)
    connection.execute("begin immediate")
    yield connection
    connection.execute("rollback")


def plan(catalogue: Catalogue, state: str = "planned", ident: str = "gplan") -> None:
    """A generation row in any state."""
    raw(catalogue).execute(
        "insert into generations (id, origin, prompt, stores, state, created_at)"
        " values (?, 'generate', 'p', '[]', ?, 'now')",
        (ident, state),
    )


def prove(db: Any, store: str) -> None:
    """One copy, confirmed and recorded."""
    db.execute(f"update copies set state = 'confirmed', {PROOF} where image_id = 'i0' and store = ?", (store,))


def ready_to_store(db: Any) -> None:
    """Everything that `stored` asks for."""
    db.execute("update images set sha256 = ? where id = 'i0'", (DIGEST,))
    prove(db, "here")
    prove(db, "there")


def bring(db: Any, machine: str, state: str) -> None:
    """Lead the row to a state by moves that are allowed; whoever cannot be led there fails the test."""
    ways: dict[str, list[str]] = {start: [] for start in BIRTH[machine]}
    while state not in ways:
        ways |= {
            target: [*ways[source], target]
            for source, target in sorted(pairs(machine))
            if source in ways and target not in ways
        }
    born = {"generation": "planned", "image": "pending", "copy": "wanted", "batch": "gathered"}[machine]
    path = ways[state] if state not in BIRTH[machine] or state == born else [state]
    for step in path:
        move(db, machine, step)


def move(db: Any, machine: str, target: str) -> int:
    """One move, with the proof columns that it may need."""
    more = f", {PROOF}" if machine == "copy" and target == "confirmed" else ""
    if machine == "image" and target == "forgotten":
        db.execute("delete from urls")
        more = f", {ERASED}"
    return db.execute(f"update {TABLES[machine]} set state = ?{more} where {KEYS[machine]}", (target,)).rowcount


ALL_PAIRS = [
    (machine, source, target)
    for machine in MACHINES
    for source, target in permutations([*states(machine), "nonsense"], 2)
    if source != "nonsense"
]


@pytest.mark.parametrize(("machine", "source", "target"), ALL_PAIRS)
def test_a_move_is_allowed_exactly_when_the_machine_names_it(db: Any, machine: str, source: str, target: str) -> None:
    """Every pair of states of every machine, with all proof at hand."""
    if machine == "image":
        ready_to_store(db)
    if (machine, source) == ("generation", "completed"):
        move(db, machine, "submitted")  # this row was born planned
    bring(db, machine, source)
    if (source, target) in pairs(machine):
        assert move(db, machine, target) == 1
        found = db.execute(f"select state from {TABLES[machine]} where {KEYS[machine]}").fetchone()
        assert found["state"] == target
    else:
        with pytest.raises(sqlite.IntegrityError, match="has no such transition"):
            move(db, machine, target)


@pytest.mark.parametrize(
    ("machine", "state"), [(machine, state) for machine in MACHINES for state in [*states(machine), "nonsense"]]
)
def test_a_row_is_born_exactly_in_the_states_that_the_machine_names(db: Any, machine: str, state: str) -> None:
    statement = {
        "generation": "insert into generations (id, origin, prompt, stores, state, created_at)"
        " values ('new', 'job', 'p', '[]', :state, 'now')",
        "image": "insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, created_at)"
        " values ('new', 'gplan', 0, :state, 'then', 'url', 'later', 'before')",
        "copy": "insert into copies (image_id, store, state) values ('i0', 'third', :state)",
        "batch": "insert into batches (id, provider, state, n, created_at, handle)"
        " values ('new', 'p', :state, 1, 'now', 'h')",
    }[machine]
    if state in BIRTH[machine]:
        assert db.execute(statement, {"state": state}).rowcount == 1
    else:
        with pytest.raises(sqlite.IntegrityError, match="cannot be born in this state"):
            db.execute(statement, {"state": state})


@pytest.mark.parametrize(
    "undo",
    [
        "update copies set lineage_key = null where store = 'there'",
        "update copies set state = 'missing' where store = 'there'",
        "update images set sha256 = null where id = 'i0'",
        "delete from copies",
    ],
    ids=["unrecorded", "unconfirmed", "without digest", "without copies"],
)
@pytest.mark.parametrize("source", ["pending", "spooled", "missing"])
def test_stored_without_every_proof_is_refused(db: Any, source: str, undo: str) -> None:
    """One thing is wanting; with it, the same move is allowed (see the pairs above)."""
    ready_to_store(db)
    bring(db, "image", source)
    db.execute(undo)
    with pytest.raises(sqlite.IntegrityError, match="only when every wanted copy is confirmed and recorded"):
        move(db, "image", "stored")


@pytest.mark.parametrize("column", ["sha256", "key", "proof", "confirmed_at"])
def test_confirming_a_copy_without_proof_is_refused(db: Any, column: str) -> None:
    db.execute(f"update copies set {PROOF} where store = 'here'")
    db.execute(f"update copies set {column} = null where store = 'here'")
    with pytest.raises(sqlite.IntegrityError, match="only with key, digest and proof"):
        db.execute("update copies set state = 'confirmed' where store = 'here'")


def test_a_stored_image_keeps_its_copies(db: Any) -> None:
    """To miss a copy, the image is said to be missing first; nor can a wanted copy be added to a stored image."""
    ready_to_store(db)
    move(db, "image", "stored")
    with pytest.raises(sqlite.IntegrityError, match="no unconfirmed copy"):
        move(db, "copy", "missing")
    with pytest.raises(sqlite.IntegrityError, match="no unconfirmed copy"):
        db.execute("insert into copies (image_id, store, state) values ('i0', 'third', 'wanted')")
    move(db, "image", "missing")
    assert move(db, "copy", "missing") == 1


def test_two_copies_never_share_a_key(db: Any) -> None:
    """What a key of a store holds belongs to one image."""
    ready_to_store(db)
    db.execute(
        "insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, created_at)"
        " values ('i9', 'g0', 9, 'pending', 'then', 'url', 'later', 'before')"
    )
    db.execute("insert into copies (image_id, store, state) values ('i9', 'here', 'wanted')")
    with pytest.raises(sqlite.IntegrityError, match="UNIQUE"):
        db.execute(f"update copies set state = 'confirmed', {PROOF} where image_id = 'i9'")


def test_events_are_append_only(db: Any) -> None:
    db.execute("insert into events (at, kind) values ('now', 'postponed')")
    with pytest.raises(sqlite.IntegrityError, match="append-only"):
        db.execute("update events set kind = 'fine'")
    with pytest.raises(sqlite.IntegrityError, match="append-only"):
        db.execute("delete from events")


@pytest.mark.parametrize("left", ["source", "source_identity", "revised_prompt", "error", "spool", "sha256"])
def test_a_forgotten_image_tells_nothing_and_gets_nothing_new(db: Any, left: str) -> None:
    """One thing is left, before it is forgotten or after."""
    db.execute("delete from urls")
    with pytest.raises(sqlite.IntegrityError, match="tells nothing"):
        db.execute(f"update images set state = 'forgotten', {ERASED}, {left} = 'left' where id = 'i0'")
    move(db, "image", "forgotten")
    with pytest.raises(sqlite.IntegrityError, match="tells nothing"):
        db.execute(f"update images set {left} = 'left' where id = 'i0'")
    with pytest.raises(sqlite.IntegrityError, match="no new copy"):
        db.execute("insert into copies (image_id, store, state) values ('i0', 'third', 'wanted')")
    with pytest.raises(sqlite.IntegrityError, match="no URL"):
        db.execute("insert into urls select seq, 'http://again' from images where id = 'i0'")


def test_the_door_for_old_events_is_shut_to_whoever_opens_it_by_accident(db: Any) -> None:
    """Not for long enough to be committed; and inside, only old ones go, of what has ended, and no loss."""
    events = [("2020", "postponed", None), ("2020", "lost", None), ("2030", "late", None), ("2020", "open", "i0")]
    db.executemany("insert into events (at, kind, image_id) values (?, ?, ?)", events)
    db.execute("insert into event_removals (only_row, before) values (1, '2026')")
    for kind in ("lost", "late", "open"):
        with pytest.raises(sqlite.IntegrityError, match="append-only"):
            db.execute("delete from events where kind = ?", (kind,))
    with pytest.raises(sqlite.IntegrityError, match="append-only"):
        db.execute("update events set detail = null where image_id = 'i0'")
    assert db.execute("delete from events where kind = 'postponed'").rowcount == 1
    with pytest.raises(sqlite.IntegrityError, match="FOREIGN KEY"):
        db.execute("commit")


def test_only_details_of_the_one_that_is_named_are_erased(db: Any) -> None:
    db.execute("insert into events (at, kind, image_id, detail) values ('now', 'rescued', 'i0', 'a key')")
    db.execute("insert into event_removals (only_row, image_id) values (1, 'i0')")
    for change in ("detail = 'another'", "kind = 'fine', detail = null", "at = 'then', detail = null"):
        with pytest.raises(sqlite.IntegrityError, match="append-only"):
            db.execute(f"update events set {change} where image_id = 'i0'")
    assert db.execute("update events set detail = null where image_id = 'i0'").rowcount == 1


def test_a_tick_exists_once(db: Any) -> None:
    """The row that owns the spending: neither the tick nor one of its positions comes twice."""
    db.execute("insert into ticks (job, scheduled_for, created_at) values ('daily', 'nine', 'now')")
    with pytest.raises(sqlite.IntegrityError, match="UNIQUE"):
        db.execute("insert into ticks (job, scheduled_for, created_at) values ('daily', 'nine', 'later')")
    statement = (
        "insert into generations (id, origin, job, scheduled_for, position, prompt, stores, state, created_at)"
        " values (?, 'job', 'daily', ?, 0, 'p', '[]', 'planned', 'now')"
    )
    db.execute(statement, ("first", "nine"))
    with pytest.raises(sqlite.IntegrityError, match="UNIQUE"):
        db.execute(statement, ("second", "nine"))
    with pytest.raises(sqlite.IntegrityError, match="FOREIGN KEY"):
        db.execute(statement, ("third", "ten"))


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("update generations set cost_micro = -1", "CHECK"),
        ("update generations set n = 0", "CHECK"),
        ("update generations set origin = 'elsewhere'", "CHECK"),
        ("update generations set cost_micro = 'a lot'", "cannot store TEXT"),
        ("update images set size = -1", "CHECK"),
        ("update images set deadline_from = 'hearsay'", "CHECK"),
        ("update images set deadline = null", "NOT NULL"),
        ("update images set generation_id = 'nobody'", "FOREIGN KEY"),
        ("insert into copies (image_id, store, state) values ('nobody', 'here', 'wanted')", "FOREIGN KEY"),
    ],
)
def test_nonsense_values_are_refused(db: Any, statement: str, reason: str) -> None:
    with pytest.raises(sqlite.IntegrityError, match=reason):
        db.execute(statement)


def test_index_of_prompts_follows_every_change(catalogue: Catalogue) -> None:
    """Insert, change and delete: SQLite's own check compares the index with the rows."""
    db = raw(catalogue)
    check = "insert into prompts (prompts, rank) values ('integrity-check', 1)"
    plan(catalogue, ident="one")
    plan(catalogue, ident="two")
    db.execute(check)
    db.execute("update generations set prompt = 'a heron' where id = 'one'")
    db.execute(check)
    assert ask(catalogue, "select rowid from prompts where prompts match '\"heron\"'") == [(1,)]
    db.execute("delete from generations where id = 'one'")
    db.execute(check)
    assert ask(catalogue, "select rowid from prompts where prompts match '\"heron\"'") == []
