"""The kind `tasks` alone: what each dialect puts on the wire, how its answers are read, whose webhooks are genuine."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from archiver.core.errors import Ambiguous, Corrupt, Permanent, Throttled, Transient
from archiver.core.model import Accepted, Answer, Completed, Input
from archiver.core.ports import Notified
from archiver.providers import account, dialects, tasks
from tests.doubles.tasks import FORMS, RECORDED, WEBHOOK_SECRET, TaskProvider
from tests.doubles.wire import Fault
from tests.providers.paid import KEY, START, Clock, Kept, ask, outside, paid, sends

URL = "https://img.example.com/a.png?Expires=1893456000&Signature=abc"


def settings(dialect: str, base_url: str = "https://api.example.com", **values: Any) -> tasks.Settings:
    model = {"model": "m-1", "api_key": "env:KEY"}
    if dialect == "generic":
        model |= {"submit_path": "jobs", "poll_path": "jobs/{id}"}
    return tasks.Settings.model_validate({"dialect": dialect, "base_url": base_url, **model, **values})


def provider(dialect: str, folder: Path = Path("/nowhere"), base_url: str = "https://api.example.com", **values: Any):
    return tasks.connect("one", settings(dialect, base_url, **values), outside(folder))


def at_double(double: TaskProvider, folder: Path, **values: Any) -> tasks.Tasks:
    given = {"base_url": double.endpoint, "api_key": "env:KEY", **double.settings, **values}
    return tasks.connect("one", tasks.Settings.model_validate(given), outside(folder, secret=double.api_key))


def answer(document: Any, status: int = 200, **headers: str) -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Answer(status=status, content_type="application/json", body=body, received_at=START, headers=headers)


def read(dialect: str, document: Any, status: int = 200, **headers: str) -> Completed | Accepted:
    return provider(dialect).read(answer(document, status, **headers))


def urls(result: Completed | Accepted) -> list[str]:
    assert isinstance(result, Completed)
    return [output.url.reveal() for output in result.outputs if output.url]


def recorded(dialect: str, name: str) -> Any:
    text = json.dumps(RECORDED[dialect][name])
    return json.loads(text.replace("{url}", URL).replace("{id}", "t-1").replace("{base}", "https://api.example.com"))


# --- requests -------------------------------------------------------------------------------------------------------

INPUT = Input(sha256="0" * 64, content_type="image/png", data=b"png")
URI = "data:image/png;base64,cG5n"
BODIES: dict[str, dict[str, Any]] = {
    "apiyi": {"prompt": "a red fox", "model": "m-1", "n": 2, "size": "1024x768", "response_format": "url", "seed": 7},
    "dashscope": {
        "model": "m-1",
        "input": {"prompt": "a red fox"},
        "parameters": {"size": "1024*768", "n": 2, "seed": 7},
    },
    "replicate": {
        "model": "m-1",
        "webhook_events_filter": ["completed"],
        "input": {"prompt": "a red fox", "num_outputs": 2, "width": 1024, "height": 768, "seed": 7},
    },
    "fal": {"prompt": "a red fox", "num_images": 2, "image_size": {"width": 1024, "height": 768}, "seed": 7},
    "sub2api": {"prompt": "a red fox", "model": "m-1", "n": 2, "size": "1024x768", "seed": 7},
    "relay": {"prompt": "a red fox", "model": "m-1", "n": 2, "size": "1024x768", "seed": 7},
    "generic": {"prompt": "a red fox", "model": "m-1", "n": 2, "size": "1024x768", "seed": 7},
}


@pytest.mark.parametrize("dialect", BODIES)
def test_the_body_is_what_the_dialect_documents(dialect: str, tmp_path: Path) -> None:
    with paid(sends(200, {"task_id": "t"})) as endpoint:
        asked = ask(n=2, size="1024x768", parameters={"seed": 7})
        provider(dialect, tmp_path, endpoint.base_url).submit(asked, Kept())
    (request,) = endpoint.ledger
    assert json.loads(request.body) == BODIES[dialect]
    assert request.headers["idempotency-key"] == "01JNGENERATION"


def test_the_dialects_say_the_rest_in_their_own_words(tmp_path: Path) -> None:
    """Headers, versions of Replicate, a size that is a word, webhooks, inputs, the model in a path."""
    with paid(sends(200, {"id": "t"})) as endpoint:

        def sent(dialect: str, given: dict[str, Any] | None = None, **changes: Any) -> tuple[Any, Any]:
            one = provider(dialect, tmp_path, endpoint.base_url, **(given or {}))
            one.submit(ask(**changes), Kept())
            return endpoint.ledger[-1], json.loads(endpoint.ledger[-1].body)

        request, body = sent("bfl", model="flux-pro-1.1", size="1024x768", inputs=(INPUT,))
        assert (request.target, request.headers["x-key"]) == ("/v1/flux-pro-1.1", KEY)
        assert "authorization" not in request.headers
        assert body == {"prompt": "a red fox", "width": 1024, "height": 768, "input_image": URI}
        request, body = sent("fal", model="fal-ai/flux/dev", size="landscape_4_3", inputs=(INPUT, INPUT))
        assert (request.target, request.headers["authorization"]) == ("/fal-ai/flux/dev", f"Key {KEY}")
        assert body["image_size"] == "landscape_4_3" and body["image_urls"] == [URI, URI]
        _, body = sent("replicate", {"webhook_url": "https://me.example/hook"}, model="owner/name:abc", size="16:9")
        assert body["version"] == "owner/name:abc" and "model" not in body
        assert body["input"] == {"prompt": "a red fox", "aspect_ratio": "16:9"}
        assert body["webhook"] == "https://me.example/hook"
        request, body = sent("dashscope", inputs=(INPUT,))
        assert request.headers["x-dashscope-async"] == "enable"
        assert body["input"]["images"] == [URI] and body["parameters"]["n"] == 1
        _, body = sent("apiyi", {"webhook_url": "https://me.example/hook"})
        assert body["webhook_url"] == "https://me.example/hook"
        _, body = sent("generic", {"request_at": {"prompt": "job.text", "parameters": "job"}}, parameters={"steps": 4})
        assert body == {"job": {"steps": 4, "text": "a red fox"}, "model": "m-1", "n": 1}


@pytest.mark.parametrize(
    ("dialect", "changes"),
    [
        ("bfl", {"n": 2}),
        ("bfl", {"inputs": (INPUT, INPUT)}),
        ("apiyi", {"inputs": (INPUT,)}),
        ("dashscope", {"parameters": {"n": 1}, "model": "m"}),
    ],
)
def test_what_a_dialect_cannot_say_is_refused_before_it_is_paid_for(
    dialect: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    values = {"request_at": {"prompt": "parameters.n.prompt"}} if dialect == "dashscope" else {}
    with paid() as endpoint, pytest.raises(Permanent):
        provider(dialect, tmp_path, endpoint.base_url, **values).submit(ask(**changes), Kept())
    assert endpoint.ledger == []


def test_a_submit_that_says_nothing_is_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (account.CONNECT_S, account.SUBMIT_S, account.POLL_S) == (10, 30, 10)
    monkeypatch.setattr(tasks, "SUBMIT_S", 0.3)
    with paid() as endpoint:
        endpoint.behave = endpoint.silent
        with pytest.raises(Ambiguous):
            provider("apiyi", tmp_path, endpoint.base_url).submit(ask(), Kept())
    assert len(endpoint.ledger) == 1


# --- polls ----------------------------------------------------------------------------------------------------------


def test_the_second_address_is_asked_when_the_first_knows_nothing(tmp_path: Path) -> None:
    with TaskProvider("apiyi", running=0, only_status=True) as double:
        one = at_double(double, tmp_path)
        one.submit(ask(), Kept())
        sink = Kept()
        one.poll("task-000001", sink)
        assert isinstance(one.read(sink.answer()), Completed)
        assert [seen.key for seen in double.requests[1:]] == ["/v1/tasks/task-000001", "/tasks/task-000001/status"]


@pytest.mark.parametrize("dialect", FORMS)
def test_an_answer_still_running_names_the_same_handle(dialect: str, tmp_path: Path) -> None:
    """Also where the answer itself names none."""
    with TaskProvider(dialect, running=1) as double:
        one = at_double(double, tmp_path)
        sink = Kept()
        one.submit(ask(model=double.settings["model"]), sink)
        accepted = one.read(sink.answer())
        assert isinstance(accepted, Accepted)
        polled = Kept()
        one.poll(accepted.handle, polled)
        assert one.read(polled.answer()) == accepted


@pytest.mark.parametrize("dialect", ["fal", "bfl"])
def test_a_result_elsewhere_waits_for_its_address(dialect: str, tmp_path: Path) -> None:
    """The key goes nowhere else, and the work is not given up: it is paid for."""
    with TaskProvider(dialect) as double, TaskProvider(dialect) as elsewhere:
        one = at_double(double, tmp_path)
        handle = f"{elsewhere.endpoint}/v1/get_result?id=1"
        with pytest.raises(Transient, match="base_url"):
            one.poll(handle, Kept())
        assert elsewhere.requests == []
        both = at_double(double, tmp_path, base_url=[double.endpoint, elsewhere.endpoint])
        with pytest.raises(Permanent):
            both.poll(handle, Kept())
        assert len(elsewhere.requests) == 1


@pytest.mark.parametrize("dialect", ["fal", "bfl"])
@pytest.mark.parametrize("handle", ["https://[bad/x", "http://[::1", "file:///etc/passwd", "no-address"])
def test_a_handle_that_is_no_address_is_no_task(dialect: str, handle: str, tmp_path: Path) -> None:
    with TaskProvider(dialect) as double, pytest.raises(Permanent, match="knows no such task"):
        at_double(double, tmp_path).poll(handle, Kept())


def test_a_result_address_that_is_none_is_not_followed(tmp_path: Path) -> None:
    status: dict[str, object] = {"status": "COMPLETED", "response_url": "https://[bad/r"}
    with paid(sends(200, status)) as endpoint, pytest.raises(Permanent, match="elsewhere"):
        provider("fal", tmp_path, endpoint.base_url).poll(f"{endpoint.base_url}/status", Kept())


def test_a_result_address_elsewhere_is_not_followed(tmp_path: Path) -> None:
    status: dict[str, object] = {"status": "COMPLETED", "response_url": "https://evil.example/r"}
    with paid(sends(200, status)) as endpoint, pytest.raises(Permanent, match="elsewhere"):
        provider("fal", tmp_path, endpoint.base_url).poll(f"{endpoint.base_url}/status", Kept())


def test_work_of_the_second_key_is_found(tmp_path: Path) -> None:
    """A task belongs to the key that asked for it; another one is told 404."""
    with TaskProvider("sub2api", running=0) as double:
        hands = outside(tmp_path)
        secrets = {"env:OLD": "sk-gone", "env:KEY": double.api_key}
        hands = replace(hands, secret=lambda reference: secrets[str(reference)])
        given = {"base_url": double.endpoint, "api_key": ["env:OLD", "env:KEY"], **double.settings}
        one = tasks.connect("one", tasks.Settings.model_validate(given), hands)
        one.submit(ask(), Kept())
        fresh = tasks.connect("one", tasks.Settings.model_validate(given), hands)
        sink = Kept()
        fresh.poll("task-000001", sink)
        assert isinstance(fresh.read(sink.answer()), Completed)


def test_a_key_that_cannot_be_read_ends_no_task(tmp_path: Path) -> None:
    one = tasks.connect("one", settings("apiyi"), outside(tmp_path, secret=None))
    with pytest.raises(Transient):
        one.poll("task-1", Kept())


@pytest.mark.parametrize(
    ("fault", "word"), [(Fault(status=429), Throttled), (Fault(status=500), Transient), (Fault(lost=True), Transient)]
)
def test_a_poll_is_free(fault: Fault, word: type[Exception], tmp_path: Path) -> None:
    with TaskProvider("apiyi", running=0, fault=lambda _: fault) as double, pytest.raises(word):
        at_double(double, tmp_path).poll("task-1", Kept())


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", FORMS)
def test_recorded_answers_are_understood(dialect: str) -> None:
    one = provider(dialect)
    if dialect == "generic":
        with TaskProvider("generic") as double:
            one = tasks.connect(
                "one", tasks.Settings(base_url=("https://x.example",), **double.settings), outside(Path())
            )
    found = one.read(answer(recorded(dialect, "done")))
    assert urls(found) == [URL]
    assert isinstance(one.read(answer(recorded(dialect, "submit"))), Accepted)
    running = one.read(answer(recorded(dialect, "running"), location="t-1"))
    assert isinstance(running, Accepted)
    with pytest.raises(Permanent, match=r"inappropriate|failed|NSFW|content|Moderated|moderated|style"):
        one.read(answer(recorded(dialect, "failed"), 422 if dialect == "fal" else 200))


def test_every_place_of_a_result_is_found() -> None:
    """api-shapes section 12, as far as tasks give them."""
    shapes: list[tuple[str, Any]] = [
        ("dashscope", {"output": {"task_status": "SUCCEEDED", "image_url": URL}}),
        (
            "dashscope",
            {"output": {"task_status": "SUCCEEDED", "choices": [{"message": {"content": [{"image": URL}]}}]}},
        ),
        ("replicate", {"id": "p", "status": "succeeded", "output": URL}),
        ("replicate", {"id": "p", "status": "succeeded", "output": {"image": URL, "seed": 3}}),
        ("replicate", {"id": "p", "status": "succeeded", "output": {"images": [URL]}}),
        ("relay", {"id": "t", "status": "completed", "result": {"data": [{"url": URL}]}}),
        ("relay", {"data": [{"url": URL}]}),
        ("relay", {"id": "t", "status": "succeeded", "output": [URL]}),
        ("fal", {"image": {"url": URL, "width": 3}}),
        ("apiyi", {"task_id": "t", "status": "COMPLETED", "data": [{"url": URL}]}),
    ]
    for dialect, document in shapes:
        assert urls(read(dialect, document)) == [URL], document


def test_a_part_that_failed_keeps_the_places_of_the_others() -> None:
    results = [{"code": "DataInspectionFailed", "message": "no"}, {"url": URL}]
    found = read("dashscope", {"request_id": "r-1", "output": {"task_status": "SUCCEEDED", "results": results}})
    assert isinstance(found, Completed)
    assert [output.index for output in found.outputs] == [1]
    assert found.request_id == "r-1"
    assert found.facts["output"] == {
        "task_status": "SUCCEEDED",
        "results": [{"code": "DataInspectionFailed", "message": "no"}, {"url": "[left out]"}],
    }


def test_what_a_task_has_while_it_runs_is_no_result() -> None:
    """Replicate tells drafts while it works; an unknown word means: not yet."""
    assert read("replicate", {"id": "p", "status": "processing", "output": [URL]}) == Accepted(handle="p")
    assert read("apiyi", {"task_id": "t", "status": "polishing"}) == Accepted(handle="t")


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"status": "completed", "result": {"data": []}}, Permanent),
        ({"status": "completed"}, Permanent),
        ({"status": "completed", "result": {"data": [{"url": "no url"}]}}, Permanent),
        ({"error": {"message": "quota"}}, Permanent),
        ({"status": "failed", "error": {"any": "thing"}}, Permanent),
        ({"status": "processing"}, Corrupt),
        ({}, Corrupt),
        (b"<html>", Corrupt),
    ],
    ids=str,
)
def test_an_answer_without_images_says_why(document: Any, word: type[Exception]) -> None:
    with pytest.raises(word):
        read("apiyi", document)


@pytest.mark.parametrize("depth", range(600, 1000, 20))
def test_deep_answers_break_nothing(depth: int) -> None:
    deep = b'{"id":"p","status":"succeeded","output":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises((Permanent, Corrupt)):
        read("replicate", deep)


def test_paths_find_what_they_say() -> None:
    document: Any = {"a": [{"b": [1, 2]}, {"b": [3]}, {"c": 0}, 5], "d": {"e": None}}
    assert dialects.find(document, "a[].b[]") == [1, 2, 3]
    assert dialects.find(document, "d.e") == dialects.find(document, "a.b") == []
    assert dialects.text_at({"n": 7, "t": " x "}, ("z", "t", "n")) == "x"


# --- settings -------------------------------------------------------------------------------------------------------


def test_the_promise_tells_the_interval_and_that_results_are_told_again() -> None:
    promise = provider("apiyi", poll_interval="2s", lifetime="1h").promise
    assert (promise.poll_interval, promise.renews, promise.lifetime) == (
        timedelta(seconds=2),
        True,
        timedelta(hours=1),
    )
    assert provider("apiyi").promise.poll_interval == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("dialect", "values"),
    [
        ("generic", {"submit_path": None}),
        ("generic", {"poll_path": "jobs"}),
        ("fal", {"webhook_url": "https://me.example/hook"}),
        ("apiyi", {"webhook_url": "me.example"}),
        ("apiyi", {"poll_interval": "0s"}),
        ("klingon", {}),
        ("apiyi", {"webhook_secret": "whsec_abc"}),
    ],
)
def test_settings_that_cannot_work_are_refused(dialect: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(dialect, **values)


# --- webhooks -------------------------------------------------------------------------------------------------------


def test_an_unsigned_webhook_is_a_hint(tmp_path: Path) -> None:
    with TaskProvider("apiyi") as double:
        one = at_double(double, tmp_path)
        assert isinstance(one, Notified)
        assert one.verify_webhook(*double.webhook("t-9")) == "t-9"
        for body in (b"", b"<html>", b"[]", b'{"task_id": null}', b"\xff"):
            assert one.verify_webhook({}, body) is None


Spoil = Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]]


def changed(**headers: str | None) -> Spoil:
    def spoil(given: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        merged = {**given, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return {name: value for name, value in merged.items() if value is not None}, body

    return spoil


SPOILED: dict[str, Spoil] = {
    "no id": changed(webhook_id=None),
    "another id": changed(webhook_id="msg_other"),
    "a dot in the id": changed(webhook_id="a.b"),
    "no time": changed(webhook_timestamp=None),
    "another time": changed(webhook_timestamp=str(int(START.timestamp()) + 1)),
    "no number for a time": changed(webhook_timestamp="now"),
    "no signature": changed(webhook_signature=None),
    "a signature without a comma": changed(webhook_signature="v1"),
    "the signature of somebody else": changed(webhook_signature="v1,AAAA"),
    "another body": lambda headers, body: (headers, body + b" "),
}


def test_a_signed_webhook_is_genuine_for_five_minutes(tmp_path: Path) -> None:
    clock = Clock()
    with TaskProvider("replicate", now=clock) as double:
        given = {"base_url": double.endpoint, "webhook_secret": "env:KEY", **double.settings}
        hands = outside(tmp_path, now=clock, secret=WEBHOOK_SECRET)
        one = tasks.connect("one", tasks.Settings.model_validate(given), hands)
        headers, body = double.webhook("t-9")
        assert one.verify_webhook(headers, body) == "t-9"
        assert one.verify_webhook({name.title(): value for name, value in headers.items()}, body) == "t-9"
        for name, spoil in SPOILED.items():
            assert one.verify_webhook(*spoil(dict(headers), body)) is None, name
        for minutes, right in ((4.9, "t-9"), (5.1, None), (-4.9, "t-9"), (-5.1, None)):
            clock.moment = START + timedelta(minutes=minutes)
            assert one.verify_webhook(headers, body) == right, minutes


def test_where_the_provider_signs_an_unsigned_webhook_is_nobodys(tmp_path: Path) -> None:
    with TaskProvider("replicate") as double:
        one = at_double(double, tmp_path)
        assert one.verify_webhook(*double.webhook("t-9")) is None, "there is no secret to verify it with"
        signed = tasks.Settings.model_validate(
            {"base_url": double.endpoint, "webhook_secret": "env:KEY", **double.settings, "dialect": "apiyi"}
        )
        strict = tasks.connect("one", signed, outside(tmp_path, secret=WEBHOOK_SECRET))
        assert strict.verify_webhook({}, b'{"task_id": "t-9"}') is None, "a secret is configured, so it decides"
