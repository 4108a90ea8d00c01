"""Asking: a generation is asked for by one process, and its answer is recorded once."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue, as_text
from archiver.catalogue.rows import Submission
from archiver.core.states import GENERATION
from tests.catalogue import racing
from tests.catalogue.filling import DIGEST, HOUR, NOW, PNG, arrival, ask, draft, image_row, kinds, opened, sqlite


def state(catalogue: Catalogue, ident: str = "g0") -> str:
    """Where a generation stands."""
    return str(ask(catalogue, "select state from generations where id = ?", ident)[0][0])


def take(catalogue: Catalogue, owner: str = "me", **options: object) -> Submission:
    """The next generation to ask for; there must be one."""
    submission = catalogue.generations.begin_submit("apiyi", owner, NOW, **options)  # type: ignore[arg-type]
    assert submission is not None
    return submission


def doing(catalogue: Catalogue, owner: str, now_state: str) -> dict[str, Callable[[], bool]]:
    """Every move that the owner of a generation may make."""
    moves = catalogue.generations
    return {
        "withdraw": lambda: moves.withdraw("g0", owner, NOW, f"from {now_state}", NOW),
        "fail": lambda: moves.fail("g0", owner, f"from {now_state}", NOW),
        "doubt": lambda: moves.doubt("g0", owner, f"from {now_state}", NOW),
        "accept": lambda: moves.accept("g0", owner, "task-1", NOW, NOW),
    }


def test_submission_says_all_that_a_provider_needs(catalogue: Catalogue) -> None:
    """And the row is committed as submitted before anybody is asked."""
    catalogue.generations.add([draft(prompt="狐狸", size="1024x1024", n=3, created_at=NOW - HOUR)], NOW)
    submission = take(catalogue)
    asked = submission.ask
    assert (asked.generation_id, asked.prompt, asked.model) == ("g0", "狐狸", "nano")
    assert (asked.size, asked.n) == ("1024x1024", 3)
    assert (submission.provider, submission.attempts, submission.job) == ("apiyi", 1, None)
    assert submission.created_at == NOW - HOUR
    assert ask(catalogue, "select state, owner, submitted_at from generations") == [("submitted", "me", as_text(NOW))]
    assert [owner for _, owner in catalogue.generations.submitted()] == ["me"]


def test_each_generation_is_taken_by_one_process(race: racing.Race, tmp_path: Path) -> None:
    """Eight processes and 100 generations: 100 requests."""
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft(number) for number in range(100)], NOW)
    taken = race.run(racing.submit_all, tmp_path)
    assert sorted(ident for idents in taken for ident in idents) == sorted(f"g{number}" for number in range(100))
    assert ask(catalogue, "select distinct state, attempts from generations") == [("submitted", 1)]
    catalogue.close()


def test_each_generation_is_taken_by_one_thread(catalogue: Catalogue) -> None:
    """Eight threads that share the catalogue of one process."""
    catalogue.generations.add([draft(number) for number in range(40)], NOW)
    start, taken = threading.Barrier(8), []

    def work() -> None:
        start.wait(timeout=60)
        while submission := catalogue.generations.begin_submit("apiyi", "me", NOW):
            taken.append(submission.ask.generation_id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"g{number}" for number in range(40))


def test_higher_priority_goes_first_and_equals_in_their_order(catalogue: Catalogue) -> None:
    drafts = [draft(number, priority=priority) for number, priority in enumerate([0, 5, -1, 5])]
    catalogue.generations.add(drafts, NOW)
    assert [take(catalogue).ask.generation_id for _ in drafts] == ["g1", "g3", "g0", "g2"]


def test_scope_is_provider_job_and_ids(catalogue: Catalogue) -> None:
    """`run --once --job` and `generate` ask for their own generations only."""
    begin = catalogue.generations.begin_submit
    catalogue.generations.add([draft(0), draft(1, job="daily"), draft(2), draft(3, provider="other")], NOW)
    assert begin("nobody", "me", NOW) is None
    assert begin("apiyi", "me", NOW, ids=[]) is None
    assert begin("apiyi", "me", NOW, job="daily", ids=["g0"]) is None
    assert take(catalogue, job="daily").ask.generation_id == "g1"
    assert begin("apiyi", "me", NOW, job="daily") is None
    assert take(catalogue, ids=["g2", "g3"]).ask.generation_id == "g2"
    assert begin("apiyi", "me", NOW, ids=["g2", "g3"]) is None
    assert take(catalogue).ask.generation_id == "g0"


def test_withdrawn_generation_waits_for_its_time(catalogue: Catalogue) -> None:
    """Not a moment earlier; then it is asked for again, and counted."""
    catalogue.generations.add([draft()], NOW)
    take(catalogue)
    later = NOW + timedelta(seconds=7)
    due = {"providers": ["apiyi"], "job": None, "ids": None}
    assert catalogue.fitness.next_due("planned", **due) is None  # type: ignore[arg-type]
    assert catalogue.generations.withdraw("g0", "me", later, "429", NOW)
    assert catalogue.fitness.next_due("planned", **due) == later  # type: ignore[arg-type]
    begin = catalogue.generations.begin_submit
    assert begin("apiyi", "me", later - timedelta(milliseconds=1)) is None
    again = begin("apiyi", "me", later)
    assert again is not None and again.attempts == 2
    assert kinds(catalogue) == ["planned"]


def test_next_due_looks_only_where_it_is_told(catalogue: Catalogue) -> None:
    catalogue.generations.add([draft(0, job="daily", created_at=NOW - HOUR), draft(1, provider="other")], NOW)
    due = catalogue.fitness.next_due
    assert due("planned", providers=["apiyi", "other"], job=None, ids=None) == NOW - HOUR
    assert due("planned", providers=["other"], job=None, ids=None) == NOW
    assert due("planned", providers=["other"], job="daily", ids=None) is None
    assert due("planned", providers=["apiyi"], job=None, ids=["g1"]) is None
    assert due("accepted", providers=["apiyi"], job=None, ids=None) is None


@pytest.mark.parametrize("move", ["withdraw", "fail", "doubt", "accept"])
def test_a_move_needs_its_owner_and_its_state(catalogue: Catalogue, move: str) -> None:
    """A stranger changes nothing; the owner moves once, and writes one event unless all goes well."""
    catalogue.generations.add([draft()], NOW)
    assert not doing(catalogue, "me", "planned")[move]()
    take(catalogue)
    assert not doing(catalogue, "stranger", "submitted")[move]()
    assert state(catalogue) == "submitted"
    assert doing(catalogue, "me", "submitted")[move]()
    target = {"withdraw": "planned", "fail": "failed", "doubt": "unknown", "accept": "accepted"}[move]
    assert state(catalogue) == target
    assert not doing(catalogue, "me", target)[move]()
    assert kinds(catalogue) == ([] if move == "accept" else [target])


def test_cancel_stops_only_what_was_not_asked_for(catalogue: Catalogue) -> None:
    """And it cannot be asked for any more."""
    catalogue.generations.add([draft(number) for number in range(3)], NOW)
    take(catalogue, ids=["g0"])
    assert catalogue.generations.cancel(["g0", "g1", "nobody"], NOW) == 1
    assert [state(catalogue, f"g{number}") for number in range(3)] == ["submitted", "cancelled", "planned"]
    assert take(catalogue).ask.generation_id == "g2"
    assert catalogue.generations.begin_submit("apiyi", "me", NOW) is None
    assert kinds(catalogue) == ["cancelled"]


def test_accepted_work_is_polled_by_one_process_at_a_time(catalogue: Catalogue) -> None:
    """It carries its handle, and it is not due again before `again`; whoever polls may say that it failed."""
    catalogue.generations.add([draft()], NOW)
    take(catalogue)
    poll, again = catalogue.awaiting.next_poll, NOW + timedelta(seconds=6)
    assert poll("apiyi", "you", NOW, again) is None
    assert catalogue.generations.accept("g0", "me", "task-1", NOW + timedelta(seconds=1), NOW)
    assert poll("apiyi", "you", NOW, again) is None
    found = poll("apiyi", "you", NOW + timedelta(seconds=1), again)
    assert found is not None and found.handle == "task-1"
    assert poll("apiyi", "me", NOW + timedelta(seconds=5), again) is None
    assert poll("other", "me", again, again + HOUR) is None
    assert not catalogue.generations.fail("g0", "me", "404", NOW)
    assert catalogue.generations.fail("g0", "you", "404", NOW)


def answer(catalogue: Catalogue, *numbers: int, ident: str = "g0") -> bool:
    """An answer with these images."""
    arrivals = [arrival(number, index=number) for number in numbers]
    return catalogue.generations.complete(
        ident, arrivals, answered_at=NOW, now=NOW, request_id="req-1", cost_micro=240_000
    )


def is_awaited(catalogue: Catalogue) -> bool:
    standing = catalogue.generations.standing("g0")
    return standing is not None and standing.state in GENERATION["complete"].sources


def test_an_answer_is_recorded_once(catalogue: Catalogue) -> None:
    """Ingesting again, or another answer later, is False and changes nothing at all."""
    catalogue.generations.add([draft(n=2)], NOW)
    take(catalogue)
    assert is_awaited(catalogue)
    assert answer(catalogue, 0, 1)
    assert not is_awaited(catalogue)
    before = dump(catalogue)
    assert not answer(catalogue, 0, 1)
    assert not answer(catalogue, 2)
    assert not answer(catalogue, 0, ident="nobody")
    assert dump(catalogue) == before
    assert ask(catalogue, "select state, request_id, cost_micro, owner from generations") == [
        ("completed", "req-1", 240_000, None)
    ]
    found = ask(catalogue, "select id, idx, state from images order by id")
    assert found == [("i0", 0, "pending"), ("i1", 1, "pending")]
    assert ask(catalogue, "select image_id, store, state from copies order by 1, 2") == [
        (image, store, "wanted") for image in ("i0", "i1") for store in ("here", "there")
    ]
    assert kinds(catalogue) == []


def dump(catalogue: Catalogue) -> list[list[tuple[object, ...]]]:
    """Every row of every table."""
    return [ask(catalogue, f"select * from {name}") for name in ("generations", "images", "copies", "events", "ticks")]


@pytest.mark.parametrize("move", ["doubt", "fail", "accept"])
def test_a_late_answer_still_brings_the_images_home(catalogue: Catalogue, move: str) -> None:
    """From `unknown`, `failed` and `accepted`, whoever has it."""
    catalogue.generations.add([draft()], NOW)
    take(catalogue)
    assert doing(catalogue, "me", "submitted")[move]()
    assert is_awaited(catalogue)
    assert answer(catalogue, 0)
    assert state(catalogue) == "completed"
    assert ask(catalogue, "select error from generations") == [(None,)]
    assert image_row(catalogue)["state"] == "pending"


def test_nobody_completes_what_was_never_asked_for(catalogue: Catalogue) -> None:
    catalogue.generations.add([draft()], NOW)
    assert not answer(catalogue, 0)
    catalogue.generations.cancel(["g0"], NOW)
    assert not answer(catalogue, 0)
    assert dump(catalogue)[1] == []


def test_too_few_images_are_noted(catalogue: Catalogue) -> None:
    """What came is recorded."""
    catalogue.generations.add([draft(n=3)], NOW)
    take(catalogue)
    assert answer(catalogue, 0, 1)
    assert ask(catalogue, "select kind, generation_id, detail from events") == [("short", "g0", "2 of 3 images came")]
    assert len(dump(catalogue)[1]) == 2


def test_an_answer_enters_as_a_whole_or_not_at_all(catalogue: Catalogue) -> None:
    """The third image cannot be written: none is, and the generation still waits for its answer."""
    catalogue.generations.add([draft(n=3)], NOW)
    take(catalogue)
    with pytest.raises(sqlite.IntegrityError):
        answer(catalogue, 0, 1, 1)
    assert dump(catalogue)[1:3] == [[], []]
    assert is_awaited(catalogue)
    assert answer(catalogue, 0, 1, 2)


def test_inline_images_are_born_in_the_spool(catalogue: Catalogue) -> None:
    """Their bytes are known and safe from any expiry."""
    catalogue.generations.add([draft()], NOW)
    take(catalogue)
    inline = arrival(url=None, spool="i0.png", sha256=DIGEST, size=68, info=PNG, deadline_from="inline")
    assert catalogue.generations.complete("g0", [inline], answered_at=NOW, now=NOW)
    row = image_row(catalogue)
    assert (row["state"], row["spool"], row["sha256"], row["size"]) == ("spooled", "i0.png", DIGEST, 68)
    assert (row["content_type"], row["width"], row["height"], row["verdict"]) == ("image/png", 8, 6, "ok")
    assert row["url"] is row["source"] is row["source_identity"] is None
    assert row["fetched_at"] == as_text(NOW)
    assert catalogue.images.spool_names() == {"i0.png"}
