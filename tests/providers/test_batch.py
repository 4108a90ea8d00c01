"""The kind `batch` against the doubles of both dialects: what is sent, what a refusal means, what an answer says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from archiver.core.errors import AdapterError, Ambiguous, Corrupt, Permanent, Throttled, Transient
from archiver.core.model import Answer, Completed, Input, Turn
from archiver.core.ports import BatchProvider
from archiver.core.pricing import Tariff
from archiver.providers import batch
from tests.doubles.batches import BatchDouble
from tests.doubles.http1 import Request
from tests.doubles.wire import Fault
from tests.providers.paid import START, Kept, ask, outside


@pytest.fixture(params=["openai", "gemini"])
def double(request: pytest.FixtureRequest) -> Iterator[BatchDouble]:
    with BatchDouble(request.param) as made:
        yield made


def provider(double: BatchDouble, state: Path, **values: Any) -> batch.Batch:
    settings = {"base_url": double.endpoint, "api_key": "env:KEY", **double.settings, **values}
    return batch.connect("b", batch.Settings.model_validate(settings), outside(state, secret=double.api_key))


def ordered(own: batch.Batch) -> str:
    return own.create("our-batch", own.upload("our-batch", own.line(ask())))


def lines_of(own: batch.Batch, handle: str) -> list[bytes]:
    own.look(handle)
    state = own.look(handle)
    assert state.is_over
    found = bytearray()
    for file in state.files:
        own.fetch(file, found.extend)
    return bytes(found).splitlines()


def answer(line: bytes) -> Answer:
    return Answer(status=200, content_type="application/json", body=line, received_at=START)


def test_it_satisfies_the_port_and_the_whole_way_works(double: BatchDouble, tmp_path: Path) -> None:
    own = provider(double, tmp_path)
    held: object = own
    assert isinstance(held, BatchProvider)
    assert own.promise.inline
    (line,) = lines_of(own, ordered(own))
    assert own.tell(line).generation_id == ask().generation_id and own.tell(line).error is None
    result = own.read(answer(line))
    assert isinstance(result, Completed)
    assert [output.data for output in result.outputs] == [double.image(ask().prompt, n) for n in range(ask().n)]


def test_nothing_is_asked_for_by_itself(double: BatchDouble, tmp_path: Path) -> None:
    own = provider(double, tmp_path)
    with pytest.raises(Permanent, match="by batches only"):
        own.submit(ask(), Kept())
    with pytest.raises(Permanent, match="by batches only"):
        own.poll("x", Kept())
    assert double.requests == []


def at(what: str) -> Callable[[Request], bool]:
    uploads = ("/v1/files", "/upload/v1beta/files")
    return {
        "upload": lambda request: request.method == "POST" and request.path in uploads,
        "create": lambda request: request.method == "POST" and request.path not in uploads,
        "look": lambda request: request.method == "GET",
    }[what]


@pytest.mark.parametrize(
    ("what", "fault", "word"),
    [
        ("upload", Fault(lost=True), Transient),
        ("upload", Fault(reset=True), Transient),
        ("upload", Fault(status=500), Transient),
        ("upload", Fault(status=429), Throttled),
        ("upload", Fault(status=400), Permanent),
        ("create", Fault(lost=True), Ambiguous),
        ("create", Fault(reset=True), Ambiguous),
        ("create", Fault(status=500), Ambiguous),
        ("create", Fault(status=429), Throttled),
        ("create", Fault(status=400), Permanent),
        ("look", Fault(lost=True), Transient),
        ("look", Fault(status=500), Transient),
        ("look", Fault(status=429), Throttled),
        ("look", Fault(status=404), Permanent),
    ],
)
def test_only_the_order_may_have_been_paid(
    double: BatchDouble, what: str, fault: Fault, word: type[AdapterError], tmp_path: Path
) -> None:
    own, matches = provider(double, tmp_path), at(what)
    double.script(lambda request: fault if matches(request) else None)
    with pytest.raises(word) as raised:
        own.look(ordered(own))
    assert type(raised.value) is word
    assert len([seen for seen in double.requests if seen.method == "POST"]) <= 2, "nothing is sent twice"


def test_it_is_found_by_our_name(double: BatchDouble, tmp_path: Path) -> None:
    own = provider(double, tmp_path)
    assert own.find("our-batch") is None
    handle = ordered(own)
    assert own.find("our-batch") == handle and own.find("another") is None


def test_a_line_that_was_refused_says_why(double: BatchDouble, tmp_path: Path) -> None:
    double.errors = {ask().prompt}
    own = provider(double, tmp_path)
    (line,) = lines_of(own, ordered(own))
    told = own.tell(line)
    assert told.generation_id == ask().generation_id and "rejected" in (told.error or "")


def test_an_answer_without_an_image_is_no_error_of_the_line(double: BatchDouble, tmp_path: Path) -> None:
    double.refused = {ask().prompt}
    own = provider(double, tmp_path)
    (line,) = lines_of(own, ordered(own))
    assert own.tell(line).error is None
    with pytest.raises(Permanent, match="without images"):
        own.read(answer(line))


@pytest.mark.parametrize("line", [b"", b"<html>", b"[]", b"{}", b'{"custom_id": 7, "key": 7}', b'{"key": ""}'])
def test_what_names_no_generation_is_corrupt(double: BatchDouble, line: bytes, tmp_path: Path) -> None:
    with pytest.raises(Corrupt):
        provider(double, tmp_path).tell(line)


def test_a_line_that_holds_nothing_is_corrupt(double: BatchDouble, tmp_path: Path) -> None:
    with pytest.raises((Corrupt, Permanent)):
        provider(double, tmp_path).read(answer(b'{"custom_id": "g", "key": "g"}'))


def test_a_state_that_nobody_knows_still_runs(double: BatchDouble, tmp_path: Path) -> None:
    own = provider(double, tmp_path)
    handle = ordered(own)
    assert not own.look(handle).is_over
    double.end, double.running = "rescheduled", 0  # type: ignore[assignment]
    if double.dialect == "openai":
        assert not own.look(handle).is_over
    else:
        assert own.look(handle).word == "RESCHEDULED"


def test_how_long_an_output_lives_is_known(double: BatchDouble, tmp_path: Path) -> None:
    double.running = 0
    own = provider(double, tmp_path)
    state = own.look(ordered(own))
    assert state.expires_at is not None
    days = 30 if double.dialect == "openai" else 2
    assert round((state.expires_at - next(iter(double.batches.values())).created).total_seconds() / 86400) == days


def test_inputs_go_where_the_dialect_takes_them(tmp_path: Path) -> None:
    from dataclasses import replace

    image = Input(sha256="0" * 64, content_type="image/png", data=b"png")
    asked = [replace(ask(), inputs=(image,)), replace(ask(), turns=(Turn(prompt="before"),))]
    with BatchDouble("openai") as openai, BatchDouble("gemini") as gemini:
        for one in asked:
            with pytest.raises(Permanent, match="no input images"):
                provider(openai, tmp_path).line(one)
            assert any(remark.level == "error" for remark in provider(openai, tmp_path).check(one))
            assert provider(gemini, tmp_path).line(one).endswith(b"\n")


def test_parameters_and_size_are_said(tmp_path: Path) -> None:
    from dataclasses import replace

    wish = replace(ask(), size="1024x1024", parameters={"quality": "low"})
    with BatchDouble("openai") as double:
        own = provider(double, tmp_path, parameters={"quality": "high", "background": "opaque"})
        body = json.loads(own.line(wish))["body"]
    assert body["quality"] == "low" and body["background"] == "opaque" and body["size"] == "1024x1024"


@pytest.mark.parametrize(
    "wrong", [{"most_at_once": 0}, {"most_at_once": 50_001}, {"image_size": "4K"}, {"gather": "-1s"}, {"dialect": "x"}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        batch.Settings.model_validate({"base_url": "https://x", "model": "m", "dialect": "openai", **wrong})


def test_googles_address_may_end_with_the_version(tmp_path: Path) -> None:
    with BatchDouble("gemini") as double:
        own = provider(double, tmp_path, base_url=f"{double.endpoint}/v1beta")
        assert ordered(own)


def test_the_price_of_a_batch_is_asked_for() -> None:
    from datetime import date

    from archiver.core.pricing import Order, Price, Prices

    rows = [Price(model="m", micro=micro, since=date.min, source="s", mode=mode) for micro, mode in BOTH]
    order = Order(model="m", on=date(2026, 1, 1))
    assert Tariff(prices=Prices(own=tuple(rows)), mode=batch.Settings.mode).expected(order) == 20
    assert Tariff(prices=Prices(own=tuple(rows))).expected(order) == 40


BOTH = ((40, "now"), (20, "batch"))
