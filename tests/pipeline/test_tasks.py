"""Tasks through the real pipeline: every dialect brings its images home, paid once, whatever happens on the way."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import as_text
from archiver.core.errors import Permanent
from archiver.core.model import Accepted, Answer, Completed
from archiver.core.ports import AnswerSink, Outside, Provider
from archiver.pipeline import inbox
from archiver.pipeline.crew import POLLERS, Crew
from archiver.providers import tasks
from archiver.providers.dialects import DIALECTS
from tests.doubles.tasks import FORMS, RECORDED, TaskProvider
from tests.doubles.wire import Fault
from tests.pipeline.workshop import Clock, Workshop, open_workshop


def asking(double: TaskProvider, **settings: Any) -> Callable[[Outside], dict[str, Provider]]:
    """The provider `tasks` of a double."""

    def make(outside: Outside) -> dict[str, Provider]:
        hands = replace(outside, secret=lambda _: double.api_key)
        values = {"base_url": double.endpoint, "api_key": "env:KEY", **double.settings, **settings}
        return {"tasks": tasks.connect("tasks", tasks.Settings.model_validate(values), hands)}

    return make


@contextmanager
def task_shop(folder: Path, double: TaskProvider, clock: Clock, **settings: Any) -> Iterator[Workshop]:
    with open_workshop(folder, clock=clock, askers=asking(double, **settings)) as shop:
        yield shop


def poll(shop: Workshop) -> int:
    """Poll whatever is due; how many polls that were."""
    provider, count = shop.pipeline.providers["tasks"], 0
    while (submission := shop.pipeline.next_to_collect(provider)) is not None:
        shop.pipeline.collect(provider, submission)
        count += 1
    return count


def ask_all(shop: Workshop, *prompts: str, n: int = 1) -> list[str]:
    found = shop.plan("tasks", *prompts, n=n, model=shop.pipeline.providers["tasks"].model)
    shop.ask("tasks")
    return found


def row(shop: Workshop, generation: str) -> dict[str, Any]:
    (found,) = shop.catalogue._database.rows("select * from generations where id = ?", (generation,))
    return dict(found)


def events(shop: Workshop) -> list[str]:
    return [one["kind"] for one in shop.catalogue._database.rows("select kind from events order by id")]


@pytest.mark.parametrize("dialect", FORMS)
def test_every_dialect_archives_what_it_was_asked_for(dialect: str, tmp_path: Path) -> None:
    clock, n = Clock(), 1 if dialect == "bfl" else 2
    with TaskProvider(dialect, running=2) as double, task_shop(tmp_path / "d", double, clock) as shop:
        (fox,) = ask_all(shop, "a red fox", n=n)
        assert shop.generation(fox)["state"] == "accepted"
        polls = []
        for _ in range(14):
            polls.append(poll(shop))
            clock.advance(seconds=1)
        assert polls == [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0], "first after 1 s, then every 5 s"
        assert shop.generation(fox)["state"] == "completed"
        shop.copy()
        assert shop.states() == ["stored"] * n
        copies = shop.catalogue.reports.lineage("fox")
        found = {(tmp_path / "d/near" / one["key"]).read_bytes() for one in copies}
        assert found == {double.image("a red fox", index) for index in range(n)}
        assert len(double.charges) == 1
        assert shop.files("inbox") == []


@pytest.mark.parametrize("dialect", FORMS)
def test_a_failed_task_fails_its_generation_and_stays_paid(dialect: str, tmp_path: Path) -> None:
    clock = Clock()
    with (
        TaskProvider(dialect, end="failed") as double,
        task_shop(tmp_path / "d", double, clock, price_usd="0.04") as shop,
    ):
        (fox,) = ask_all(shop, "a red fox")
        for _ in range(3):
            clock.advance(seconds=6)
            poll(shop)
        found = row(shop, fox)
        assert found["state"] == "failed"
        assert found["error"].startswith("paid, but without an image: ")
        assert found["expected_micro"] == 40_000, "it was accepted, hence charged"
        clock.advance(days=1)
        assert shop.ask("tasks") == 0 and len(double.charges) == 1


def poll_until_denied(shop: Workshop) -> None:
    """Twice, ten minutes apart: one "no such task" is not believed."""
    poll(shop)
    shop.clock.advance(minutes=10)
    poll(shop)


def test_a_gateway_that_knows_nothing_for_some_minutes_costs_no_paid_work(tmp_path: Path) -> None:
    """404 while it is being replaced, then the truth; and 404 an hour later begins to count anew."""
    clock = Clock()
    with TaskProvider("apiyi", running=0) as double, task_shop(tmp_path / "d", double, clock) as shop:
        (fox,) = ask_all(shop, "a red fox")
        for _ in range(2):
            clock.advance(hours=1)
            double.end, double.running = "vanished", 0
            for _ in range(9):
                clock.advance(minutes=1)
                assert poll(shop) == 1
                assert row(shop, fox)["state"] == "accepted"
            double.end, double.running = "done", 100
            clock.advance(minutes=5)
            poll(shop)
            assert (row(shop, fox)["state"], row(shop, fox)["denied_at"]) == ("accepted", None)
        double.running = 0
        clock.advance(minutes=1)
        poll(shop)
        assert row(shop, fox)["state"] == "completed"


@pytest.mark.parametrize("dialect", ["apiyi", "dashscope", "fal", "bfl"])
def test_a_task_that_its_provider_forgot_is_paid_without_an_image(dialect: str, tmp_path: Path) -> None:
    clock = Clock()
    with TaskProvider(dialect, running=0, end="vanished") as double, task_shop(tmp_path / "d", double, clock) as shop:
        (fox,) = ask_all(shop, "a red fox")
        clock.advance(hours=25)
        poll_until_denied(shop)
        assert (row(shop, fox)["state"], row(shop, fox)["error"][:28]) == ("failed", "paid, but without an image: ")


@pytest.mark.parametrize("dialect", FORMS)
def test_a_task_that_is_done_without_images_is_paid(dialect: str, tmp_path: Path) -> None:
    clock = Clock()
    with TaskProvider(dialect, running=0, empty=True) as double, task_shop(tmp_path / "d", double, clock) as shop:
        (fox,) = ask_all(shop, "a red fox")
        clock.advance(seconds=2)
        poll(shop)
        assert row(shop, fox)["state"] == "failed"
        assert row(shop, fox)["error"].startswith("paid, but without an image: ")
        assert shop.files("inbox") == [f"{fox}.odd"], "a person may look at it"


def test_a_task_that_is_not_known_yet_is_asked_for_again(tmp_path: Path) -> None:
    """Some relays answer 404 for a moment after they took the work."""
    clock = Clock()
    with TaskProvider("apiyi", running=0, end="vanished") as double, task_shop(tmp_path / "d", double, clock) as shop:
        (fox,) = ask_all(shop, "a red fox")
        clock.advance(seconds=2)
        assert poll(shop) == 1
        assert row(shop, fox)["state"] == "accepted" and "404" in row(shop, fox)["error"]
        double.end = "done"
        clock.advance(seconds=6)
        poll(shop)
        assert shop.generation(fox)["state"] == "completed"


def test_an_answer_that_is_complete_at_once_is_taken(tmp_path: Path) -> None:
    with TaskProvider("relay", is_sync=True) as double, task_shop(tmp_path / "d", double, Clock()) as shop:
        (fox,) = ask_all(shop, "a red fox", n=3)
        assert shop.generation(fox)["state"] == "completed"
        shop.copy()
        assert shop.states() == ["stored"] * 3
        assert [seen.method for seen in double.requests] == ["POST"]


def test_a_poll_that_says_still_running_leaves_no_trace(tmp_path: Path) -> None:
    clock = Clock()
    with (
        TaskProvider("dashscope", running=100) as double,
        task_shop(tmp_path / "d", double, clock, poll_interval="7s") as shop,
    ):
        (fox,) = ask_all(shop, "a red fox")
        clock.advance(seconds=2)
        assert poll(shop) == 1
        before = row(shop, fox)
        assert before["not_before"] == as_text(clock() + timedelta(seconds=7)) and before["polled_until"] is None
        for _ in range(3):
            clock.advance(seconds=7)
            assert poll(shop) == 1
        assert {**row(shop, fox), "not_before": None} == {**before, "not_before": None}
        assert events(shop) == []
        assert shop.files("inbox") == []


@pytest.mark.parametrize(
    "fault",
    [Fault(lost=True), Fault(reset=True), Fault(status=500), Fault(status=401), Fault(status=400), Fault(status=429)],
    ids=str,
)
def test_no_trouble_with_a_poll_ends_a_task(fault: Fault, tmp_path: Path) -> None:
    clock = Clock()
    with TaskProvider("apiyi", running=0) as double, task_shop(tmp_path / "d", double, clock) as shop:
        (fox,) = ask_all(shop, "a red fox")
        double.script(lambda request: fault if request.method == "GET" else None)
        for _ in range(3):
            clock.advance(seconds=70)
            poll(shop)
        assert shop.generation(fox)["state"] == "accepted"
        assert events(shop) == ["unreadable"], "told once"
        double.script(None)
        clock.advance(seconds=70)
        poll(shop)
        assert shop.generation(fox)["state"] == "completed"
        assert shop.files("inbox") == [f"{fox}.answer"] and len(double.charges) == 1


def test_an_answer_in_doubt_is_not_repeated(tmp_path: Path) -> None:
    """The task was made, and its handle never arrived."""
    with (
        TaskProvider("replicate", fault=[Fault(lost=True)]) as double,
        task_shop(tmp_path / "d", double, Clock()) as shop,
    ):
        (fox,) = ask_all(shop, "a red fox")
        assert shop.generation(fox)["state"] == "unknown"
        shop.clock.advance(days=1)
        assert shop.ask("tasks") == 0 and len(double.charges) == 1


def test_a_long_interval_is_kept(tmp_path: Path) -> None:
    """And a time that nobody ever waits is one of a clock that was set back."""
    clock = Clock()
    with (
        TaskProvider("apiyi", running=100) as double,
        task_shop(tmp_path / "d", double, clock, poll_interval="2h") as shop,
    ):
        ask_all(shop, "a red fox")
        clock.advance(seconds=2)
        assert [poll(shop), poll(shop)] == [1, 0]
        clock.advance(minutes=119)
        assert poll(shop) == 0
        clock.advance(minutes=1)
        assert poll(shop) == 1
        clock.advance(days=-1)
        assert [poll(shop), poll(shop)] == [1, 0]


# --- many at once ---------------------------------------------------------------------------------------------------


def test_two_hundred_tasks_need_no_two_hundred_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a poll that hangs holds up none of the others."""
    clock = Clock()
    end = threading.Event()
    healthy = tasks.Tasks.poll

    def poll_slowly(self: tasks.Tasks, handle: str, sink: AnswerSink) -> None:
        if handle == "task-000001":
            end.wait()
        healthy(self, handle, sink)

    def polling() -> int:
        return sum(thread.name.startswith("poll-tasks") for thread in threading.enumerate())

    monkeypatch.setattr(tasks.Tasks, "poll", poll_slowly)
    with (
        TaskProvider("apiyi", running=0) as double,
        task_shop(tmp_path / "d", double, clock, concurrency=4) as shop,
    ):
        shop.plan("tasks", *(f"a fox {number}" for number in range(200)))
        shop.ask("tasks")
        clock.advance(seconds=1)
        most = 0
        with Crew(shop.pipeline, copies=4) as crew:
            for round_number, _ in enumerate(crew.work(forever=True)):
                most = max(most, polling())
                if shop.states().count("stored") == 199 or round_number == 600:
                    break
            found = shop.states().count("stored")
            end.set()
        assert found == 199
        assert 0 < most <= POLLERS
        assert len(double.charges) == 200


def test_nobody_polls_what_somebody_polls(tmp_path: Path) -> None:
    """However slow it is; unless he died: then at once."""
    clock = Clock()
    with TaskProvider("apiyi", running=0) as double, task_shop(tmp_path / "d", double, clock) as shop:
        ask_all(shop, "a red fox")
        clock.advance(seconds=2)
        with task_shop(tmp_path / "d", double, clock) as other:
            taken = other.pipeline.next_to_collect(other.pipeline.providers["tasks"])
            clock.advance(seconds=100)
            shop.pipeline.recover()
            assert taken is not None and poll(shop) == 0
        shop.pipeline.recover()
        assert poll(shop) == 1


# --- fresh URLs -----------------------------------------------------------------------------------------------------


def test_a_dead_url_is_replaced_by_a_fresh_one(tmp_path: Path) -> None:
    """Both images of one task, by one poll; what is known of the new URL is written down with it."""
    clock = Clock()
    with (
        TaskProvider("dashscope", running=0, now=clock, lifetime=timedelta(minutes=10), enforce=True) as double,
        task_shop(tmp_path / "d", double, clock) as shop,
    ):
        ask_all(shop, "a red fox", n=2)
        clock.advance(seconds=2)
        poll(shop)
        assert shop.pipeline.renew() == 0, "they live"
        old = [image["deadline"] for image in shop.images()]
        clock.advance(minutes=11)
        shop.copy()
        assert shop.states() == ["pending"] * 2
        polls = sum(double.polls.values())
        assert shop.pipeline.renew() == 2
        assert sum(double.polls.values()) == polls + 1
        assert all(image["deadline"] > before for image, before in zip(shop.images(), old, strict=True))
        assert events(shop).count("renewed") == 2
        shop.copy()
        assert shop.states() == ["stored"] * 2
        assert len(double.charges) == 1


@pytest.mark.parametrize("told", [(1, 0), (1,)])
def test_a_fresh_url_is_that_of_the_same_image_wherever_it_stands(
    told: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider tells its images in another order, or only one of them: none takes the place of another."""
    clock = Clock()
    with (
        TaskProvider("dashscope", running=0, now=clock, lifetime=timedelta(minutes=10), enforce=True) as double,
        task_shop(tmp_path / "d", double, clock) as shop,
    ):
        (fox,) = ask_all(shop, "a red fox", n=2)
        clock.advance(seconds=2)
        poll(shop)
        asked = "select idx, source_identity from images where generation_id = ? order by idx"
        before = [tuple(found) for found in shop.catalogue._database.rows(asked, (fox,))]
        clock.advance(minutes=11)
        shop.copy()
        provider = shop.pipeline.providers["tasks"]
        read = provider.read

        def in_another_order(answer: Answer) -> Completed | Accepted:
            result = read(answer)
            assert isinstance(result, Completed)
            moved = tuple(replace(result.outputs[old], index=new) for new, old in enumerate(told))
            return replace(result, outputs=moved)

        monkeypatch.setattr(provider, "read", in_another_order)
        assert shop.pipeline.renew() == len(told)
        assert [tuple(found) for found in shop.catalogue._database.rows(asked, (fox,))] == before


def test_a_fresh_url_is_asked_for_seldom_and_ever_more_seldom(tmp_path: Path) -> None:
    clock = Clock()
    with (
        TaskProvider("apiyi", running=0, now=clock, lifetime=timedelta(minutes=10), enforce=True) as double,
        task_shop(tmp_path / "d", double, clock) as shop,
    ):
        ask_all(shop, "a red fox")
        clock.advance(seconds=2)
        poll(shop)
        double.end = "vanished"
        clock.advance(minutes=11)
        asked: list[int] = []
        for minute in range(120):
            seen = len(double.requests)
            assert shop.pipeline.renew() == 0
            asked += [minute] * (len(double.requests) > seen)
            clock.advance(minutes=1)
        assert asked == [0, 15, 45, 105]
        assert shop.states() == ["pending"] and events(shop) == ["not-renewed"] * 4


def test_the_same_url_again_is_no_fresh_one(tmp_path: Path) -> None:
    """Whatever deadline it would have if it were handed out today."""
    clock = Clock()
    with (
        TaskProvider("apiyi", running=0, fresh=False) as double,
        task_shop(tmp_path / "d", double, clock, lifetime="10m") as shop,
    ):
        ask_all(shop, "a red fox")
        clock.advance(seconds=2)
        poll(shop)
        (before,) = shop.images()
        clock.advance(minutes=11)
        assert shop.pipeline.renew() == 0
        assert shop.images()[0]["deadline"] == before["deadline"] and events(shop) == ["not-renewed"]


def test_who_copies_an_image_keeps_it(tmp_path: Path) -> None:
    """A claimed image is not renewed; neither is one of a provider that renews nothing."""
    clock = Clock()
    with (
        TaskProvider("apiyi", running=0, now=clock, lifetime=timedelta(minutes=10)) as double,
        task_shop(tmp_path / "d", double, clock) as shop,
    ):
        ask_all(shop, "a red fox")
        clock.advance(seconds=2)
        poll(shop)
        clock.advance(minutes=11)
        ticket = shop.pipeline.next_to_copy()
        assert ticket is not None and shop.pipeline.renew() == 0
        shop.catalogue.images.free(shop.pipeline.owner.id)
        provider = shop.pipeline.providers["tasks"]
        object.__setattr__(provider, "promise", replace(provider.promise, renews=False))
        assert shop.pipeline.renew() == 0
        object.__setattr__(provider, "promise", replace(provider.promise, renews=True))
        assert shop.pipeline.renew() == 1


def test_a_fault_of_an_adapter_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while it polls nor while it is asked for a fresh URL."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    clock = Clock()
    with (
        TaskProvider("apiyi", running=0, now=clock, lifetime=timedelta(minutes=10), enforce=True) as double,
        task_shop(tmp_path / "d", double, clock) as shop,
    ):
        (fox,) = ask_all(shop, "a red fox")
        with monkeypatch.context() as patched:
            patched.setattr(tasks.Tasks, "poll", broken)
            clock.advance(seconds=2)
            assert poll(shop) == 1
            assert shop.generation(fox)["state"] == "accepted"
        clock.advance(seconds=6)
        poll(shop)
        clock.advance(minutes=11)
        with monkeypatch.context() as patched:
            patched.setattr(tasks.Tasks, "poll", broken)
            assert shop.pipeline.renew() == 0
        clock.advance(minutes=15)
        assert shop.pipeline.renew() == 1


# --- notices, and answers that come late -----------------------------------------------------------------------------


def test_a_notice_makes_a_poll_due_at_once(tmp_path: Path) -> None:
    clock = Clock()
    with TaskProvider("apiyi", running=1) as double, task_shop(tmp_path / "d", double, clock) as shop:
        (fox,) = ask_all(shop, "a red fox")
        provider = shop.pipeline.providers["tasks"]
        clock.advance(seconds=1)
        assert poll(shop) == 1 and poll(shop) == 0
        assert shop.pipeline.polling.notice(provider, "task-000001") == fox
        assert poll(shop) == 1
        assert shop.generation(fox)["state"] == "completed"
        assert shop.pipeline.polling.notice(provider, "task-000001") == fox, "again, and nothing happens"
        assert shop.pipeline.polling.notice(provider, "task-999999") is None
        assert len(shop.images()) == 1


def test_a_notice_during_a_poll_is_not_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    with TaskProvider("apiyi", running=1) as double, task_shop(tmp_path / "d", double, clock) as shop:
        (fox,) = ask_all(shop, "a red fox")
        provider = shop.pipeline.providers["tasks"]
        clock.advance(seconds=1)
        submission = shop.pipeline.next_to_collect(provider)
        assert submission is not None
        shop.pipeline.polling.notice(provider, "task-000001")
        assert poll(shop) == 0, "two polls would write over each other's answer"
        shop.pipeline.collect(provider, submission)
        assert poll(shop) == 1
        assert shop.generation(fox)["state"] == "completed"


def failed_and_planned_again(shop: Workshop, double: TaskProvider) -> str:
    """A task that the provider denied for a while, so that an operator had it planned again."""
    (fox,) = ask_all(shop, "a red fox")
    shop.clock.advance(hours=1)
    double.end = "vanished"
    poll_until_denied(shop)
    assert shop.generation(fox)["state"] == "failed"
    double.end = "done"
    assert shop.catalogue.outcomes.retry(fox, "ask again, by an operator", shop.clock())
    return fox


def test_a_late_answer_comes_home_and_is_not_paid_for_twice(tmp_path: Path) -> None:
    with (
        TaskProvider("apiyi", running=0) as double,
        task_shop(tmp_path / "d", double, Clock(), price_usd="0.04") as shop,
    ):
        fox = failed_and_planned_again(shop, double)
        assert shop.pipeline.polling.notice(shop.pipeline.providers["tasks"], "task-000001") == fox
        assert shop.generation(fox)["state"] == "completed"
        assert shop.ask("tasks") == 0 and len(double.charges) == 1
        shop.copy()
        assert shop.states() == ["stored"]


def test_a_late_answer_that_lies_on_disk_comes_home_too(tmp_path: Path) -> None:
    """Its process had finished it, and died before it read it."""
    with TaskProvider("apiyi", running=0) as double, task_shop(tmp_path / "d", double, Clock()) as shop:
        fox = failed_and_planned_again(shop, double)
        provider = shop.pipeline.providers["tasks"]
        answer = shop.pipeline.inbox.open(fox, shop.clock)
        provider.poll("task-000001", answer)
        answer.finish()
        shop.pipeline.recover()
        assert shop.generation(fox)["state"] == "completed"
        assert shop.ask("tasks") == 0 and len(double.charges) == 1 and len(shop.images()) == 1


def test_a_task_whose_answer_came_on_a_sick_disk_is_still_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refused only the name of the answer: the outcome is unknown until somebody looks at what lies there."""
    with TaskProvider("apiyi", running=0) as double, task_shop(tmp_path / "d", double, Clock()) as shop:

        def refuses(_: Path) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as sick:
            sick.setattr(inbox, "flush", refuses)
            (fox,) = ask_all(shop, "a red fox")
        assert shop.generation(fox)["state"] == "unknown"
        shop.pipeline.recover()
        assert shop.generation(fox)["state"] == "accepted"
        shop.clock.advance(seconds=2)
        assert poll(shop) == 1
        assert len(double.charges) == 1 and len(shop.images()) == 1


def test_a_late_answer_does_not_take_the_place_of_a_request_under_way(tmp_path: Path) -> None:
    """That one has an answer of its own, which was paid for."""
    with TaskProvider("apiyi", running=0) as double, task_shop(tmp_path / "d", double, Clock()) as shop:
        fox = failed_and_planned_again(shop, double)
        provider = shop.pipeline.providers["tasks"]
        submission = shop.pipeline.next_to_submit(provider)
        assert submission is not None
        assert shop.pipeline.polling.notice(provider, "task-000001") == fox
        assert shop.generation(fox)["state"] == "submitted"
        shop.pipeline.submit(provider, submission)
        assert row(shop, fox)["handle"] == "task-000002"


def test_a_notice_of_work_that_is_gone_says_so(tmp_path: Path) -> None:
    with TaskProvider("apiyi", running=0) as double, task_shop(tmp_path / "d", double, Clock()) as shop:
        fox = failed_and_planned_again(shop, double)
        double.end = "vanished"
        with pytest.raises(Permanent):
            shop.pipeline.polling.notice(shop.pipeline.providers["tasks"], "task-000001")
        assert shop.generation(fox)["state"] == "planned"


def test_the_double_knows_every_dialect_of_the_table() -> None:
    assert set(FORMS) == set(RECORDED) == set(DIALECTS)
