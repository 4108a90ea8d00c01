"""The kind `sandbox`: what it answers, and how its URLs live and die."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from archiver.core.errors import AdapterError, Permanent, Transient
from archiver.core.model import Accepted, Answer, Ask, Completed, Promise
from archiver.core.tempurl import TemporaryURL, expiry
from archiver.providers import sandbox
from tests.providers.paid import START, Clock, Kept, ask, outside
from tests.providers.sandbox_support import fetch

Opened = Callable[..., AbstractContextManager[sandbox.Sandbox]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Opened:
    """Makes sandboxes in one state folder, and closes them."""

    @contextmanager
    def make(name: str = "demo", **values: object) -> Iterator[sandbox.Sandbox]:
        made = sandbox.connect(name, sandbox.Settings.model_validate(values), outside(tmp_path / "state", clock))
        try:
            yield made
        finally:
            made.close()

    return make


def completed(made: sandbox.Sandbox, wanted: Ask | None = None) -> Completed:
    sink = Kept()
    made.submit(wanted or ask(), sink)
    result = made.read(sink.answer())
    assert isinstance(result, Completed)
    return result


def urls(made: sandbox.Sandbox, wanted: Ask | None = None) -> list[TemporaryURL]:
    return [output.url for output in completed(made, wanted).outputs if output.url]


def width_and_height(png: bytes) -> tuple[int, int]:
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


@pytest.mark.parametrize(
    ("size", "pixels"),
    [
        *[(None, (512, 512)), ("", (512, 512)), ("auto", (512, 512)), ("640x33", (640, 33)), ("4096X1", (4096, 1))],
        *[("1K", (1024, 1024)), ("2k", (2048, 2048)), ("4K", (4096, 4096))],
    ],
)
def test_a_url_gives_a_png_of_the_size_asked_for(opened: Opened, size: str | None, pixels: tuple[int, int]) -> None:
    with opened() as made:
        (url,) = urls(made, ask(size=size))
        status, content_type, body = fetch(url)
    assert (status, content_type) == (200, "image/png")
    assert width_and_height(body) == pixels


@pytest.mark.parametrize("size", ["big", "0x5", "4097x1", "1x4097", "5", "-1x5", "8K", "512x512x512"])
def test_a_size_that_cannot_be_drawn_is_refused(opened: Opened, size: str) -> None:
    with opened() as made, pytest.raises(Permanent, match="size must be"):
        made.submit(ask(size=size), Kept())


@pytest.mark.parametrize("n", [0, 11, -1])
def test_a_number_of_images_that_no_provider_makes_is_refused(opened: Opened, n: int) -> None:
    with opened() as made, pytest.raises(Permanent, match="n must be 1 to 10"):
        made.submit(ask(n=n), Kept())


def test_pictures_differ_by_prompt_and_position_and_by_nothing_else(opened: Opened) -> None:
    with opened() as made:
        first = [fetch(url)[2] for url in urls(made, ask(n=10))]
        again = [fetch(url)[2] for url in urls(made, ask(n=10, generation_id="another"))]
        other = [fetch(url)[2] for url in urls(made, ask(n=10, prompt="a blue fox"))]
    assert first == again
    assert len({*first, *other}) == 20


def test_bytes_come_inline_when_asked_for_and_no_server_starts(opened: Opened, tmp_path: Path) -> None:
    with opened(response_format="b64_json") as inline:
        inside = [output.data for output in completed(inline, ask(n=2)).outputs]
        assert not (tmp_path / "state").exists()
    with opened() as made:
        assert [fetch(url)[2] for url in urls(made, ask(n=2))] == inside


def test_the_answer_has_the_shape_of_the_openai_dialect(opened: Opened) -> None:
    sink = Kept()
    with opened() as made:
        made.submit(ask(), sink)
    document = json.loads(sink.body)
    assert sink.begun == [(200, "application/json")]
    assert sorted(document) == ["created", "data"]
    assert document["created"] == int(START.timestamp())
    assert [sorted(item) for item in document["data"]] == [["url"]]


# The life of a URL


def test_a_url_states_its_own_death_as_oss_does(opened: Opened) -> None:
    with opened(lifetime="10m") as made:
        (url,) = urls(made)
    (stated,) = expiry(url, START)
    assert stated.at == START + timedelta(minutes=10)
    assert {"OSSAccessKeyId", "Expires", "Signature"} == {
        pair.partition("=")[0] for pair in url.reveal().partition("?")[2].split("&")
    }


def test_a_url_lives_until_its_expiry_and_then_is_denied_for_good(opened: Opened, clock: Clock) -> None:
    with opened(lifetime="10m") as made:
        (url,) = urls(made)
        clock.advance(timedelta(minutes=10, seconds=-1))
        assert fetch(url)[0] == 200
        clock.advance(timedelta(seconds=1))
        status, content_type, body = fetch(url)
    assert (status, content_type) == (403, "application/xml")
    assert b"<Code>AccessDenied</Code><Message>Request has expired.</Message>" in body


@pytest.mark.parametrize(
    ("old", "new", "status", "code"),
    [
        ("Signature=", "Signature=x", 403, b"SignatureDoesNotMatch"),
        ("Signature=", "Signature=%C3%A9", 403, b"SignatureDoesNotMatch"),
        ("Expires=1", "Expires=2", 403, b"SignatureDoesNotMatch"),
        ("/0/512x512", "/1/512x512", 403, b"SignatureDoesNotMatch"),
        ("512x512", "512x513", 403, b"SignatureDoesNotMatch"),
        ("&Signature=", "&Sig=", 403, b"AccessDenied"),
        ("&Expires=", "&Expires=x", 403, b"AccessDenied"),
        ("OSSAccessKeyId=sandbox", "", 403, b"AccessDenied"),
        ("&", "\\u0026", 403, b"AccessDenied"),
    ],
)
def test_a_url_that_was_touched_opens_nothing(opened: Opened, old: str, new: str, status: int, code: bytes) -> None:
    with opened() as made:
        (url,) = urls(made)
        assert old in url.reveal()
        answered, _, body = fetch(url, lambda target: target.replace(old, new))
    assert answered == status
    assert b"<Code>" + code + b"</Code>" in body


def test_the_server_knows_no_other_path(opened: Opened) -> None:
    """Even a valid signature opens only a path that names a picture."""
    with opened() as made:
        (url,) = urls(made)
        assert fetch(url, lambda _: "/")[0] == 403
        state = made._server._state
        assert state is not None
        path, expires = "/etc/passwd", "9999999999"
        signed = f"{path}?OSSAccessKeyId=x&Expires={expires}&Signature={quote(state.sign(path, expires), safe='')}"
        status, _, body = fetch(url, lambda _: signed)
    assert (status, b"<Code>NoSuchKey</Code>" in body) == (404, True)


@pytest.mark.parametrize(("rate", "faults"), [(0.0, 0), (0.25, 5), (0.3, 6), (1.0, 20)])
def test_the_share_of_faults_is_kept_exactly(opened: Opened, rate: float, faults: int) -> None:
    with opened(fault_rate=rate) as made:
        (url,) = urls(made, ask(size="8x8"))
        statuses = [fetch(url)[0] for _ in range(20)]
    assert statuses.count(503) == faults
    assert statuses.count(200) == 20 - faults


# Time


def test_latency_passes_before_the_answer_and_closing_ends_the_wait(opened: Opened) -> None:
    """A request of an hour ends when the sandbox is closed, and says that nothing happened."""
    raised: list[AdapterError] = []
    sink = Kept()

    def wait() -> None:
        try:
            made.submit(ask(), sink)
        except AdapterError as error:
            raised.append(error)

    with opened(latency="1h") as made:
        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        made.close()
        waiting.join(10)
        assert not waiting.is_alive()
    assert [type(error) for error in raised] == [Transient]
    assert sink.begun == []


def test_a_task_is_accepted_at_once_and_done_after_its_latency(opened: Opened, clock: Clock) -> None:
    first, early, late = Kept(), Kept(), Kept()
    with opened(tasks=True, latency="30s") as made:
        made.submit(ask(n=3, size="16x8"), first)
        accepted = made.read(first.answer())
        assert isinstance(accepted, Accepted)
        clock.advance(timedelta(seconds=29.9))
        made.poll(accepted.handle, early)
        assert made.read(early.answer()) == accepted
        clock.advance(timedelta(seconds=0.1))
    with opened(tasks=True) as another:
        another.poll(accepted.handle, late)
        done = another.read(late.answer())
        assert isinstance(done, Completed)
        found = [output.url for output in done.outputs]
        assert [width_and_height(fetch(url)[2]) for url in found if url] == [(16, 8)] * 3
        assert [url and expiry(url, START)[0].at for url in found] == [clock.moment + timedelta(hours=1)] * 3


@pytest.mark.parametrize(
    "handle",
    [
        *["", "task_abc", f"sandbox-1-{'g' * 32}-1-8x8", f"sandbox-1-{'a' * 32}-11-8x8"],
        *[f"sandbox-1-{'a' * 32}-{rest}" for rest in ("0-8x8", "1-0x8", "1-8x9999", "1-8x8-", "1")],
    ],
)
def test_a_handle_that_no_sandbox_gave_is_unknown(opened: Opened, handle: str) -> None:
    with opened(tasks=True) as made, pytest.raises(Permanent, match="knows no such task"):
        made.poll(handle, Kept())


# Settings and failures of the machine


def test_settings_become_the_promise(opened: Opened) -> None:
    with opened(price_usd="0.04", lifetime="2h", concurrency=2, model="m") as made:
        assert (made.name, made.model, made.concurrency) == ("demo", "m", 2)
        assert made.promise == Promise(lifetime=timedelta(hours=2), price_micro=40_000)
    with opened() as made:
        assert (made.model, made.concurrency, made.promise) == ("sandbox-1", 16, Promise(lifetime=timedelta(hours=1)))


@pytest.mark.parametrize(
    "values",
    [
        {"fault_rate": 1.1},
        {"fault_rate": -0.1},
        {"latency": "x"},
        {"lifetime": "0s"},
        {"concurrency": 0},
        {"tusks": True},
    ],
)
def test_wrong_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        sandbox.Settings.model_validate(values)


def test_a_folder_that_cannot_be_used_stops_before_anything_is_answered(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    made = sandbox.connect("demo", sandbox.Settings(), outside(tmp_path / "state"))
    sink = Kept()
    with pytest.raises(Transient, match="demo cannot serve its images: "):
        made.submit(ask(), sink)
    assert sink.begun == []


def test_reading_needs_no_server(tmp_path: Path) -> None:
    made = sandbox.connect("demo", sandbox.Settings(), outside(tmp_path / "state"))
    digest = hashlib.sha256(b"x").hexdigest()
    body = json.dumps({"data": [{"url": f"http://127.0.0.1:1/{digest[:32]}/0/8x8.png"}]}).encode()
    received = datetime(2026, 3, 1, tzinfo=UTC)
    result = made.read(Answer(status=200, content_type="application/json", body=body, received_at=received))
    assert isinstance(result, Completed)
    assert not (tmp_path / "state").exists()
