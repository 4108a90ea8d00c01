"""The contract of the port `Provider`, run on every adapter in every form of answer that it gives.

`submit` streams one whole answer, `read` is pure and knows two errors, `poll` is free. What only one adapter has is
tested beside it, in `tests/providers`.
"""

import inspect
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.core.errors import AdapterError, Ambiguous, Corrupt, Permanent, Throttled, Transient
from archiver.core.model import Accepted, Answer, Completed, HttpReply, Network, SecretReference
from archiver.core.ports import Outside, Provider
from archiver.providers import account, chat, gemini, images, sandbox, tasks
from tests.doubles.chat import ChatProvider
from tests.doubles.gemini import GeminiProvider
from tests.doubles.ledger import Paid
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.tasks import TASK_SETTINGS, TaskProvider
from tests.providers.paid import KEY, SIGNED, START, Kept, NoEngine, ask, outside


@dataclass(frozen=True)
class Subject:
    """One adapter in one form: `make` gives a new instance that asks the same endpoint."""

    make: Callable[[Outside], Provider]
    outside: Outside
    double: Paid | TaskProvider | None = None

    def provider(self) -> Provider:
        return self.make(self.outside)


def _paid(kind: str, base_url: str, **more: object) -> Callable[[Outside], Provider]:
    module = {"images": images, "chat": chat, "gemini": gemini}[kind]
    values = {"base_url": base_url, "model": "m-1", "api_key": "env:KEY", **more}
    return lambda hands: module.connect("one", module.Settings.model_validate(values), hands)


def _images(base_url: str, response_format: str) -> Callable[[Outside], Provider]:
    return _paid("images", base_url, response_format=response_format)


def _tasks(base_url: str, dialect: str) -> Callable[[Outside], Provider]:
    values = {"base_url": base_url, "api_key": "env:KEY", **TASK_SETTINGS[dialect]}
    return lambda hands: tasks.connect("one", tasks.Settings.model_validate(values), hands)


#: The kinds over HTTP: the double of each, in a form of answer, and a provider that asks it.
PAID: dict[str, tuple[Callable[..., Paid], Callable[[str], Callable[[Outside], Provider]]]] = {
    "images url": (ImagesProvider, lambda base: _images(base, "url")),
    "images b64_json": (ImagesProvider, lambda base: _images(base, "b64_json")),
    **{
        f"chat {form}": (partial(ChatProvider, form=form), partial(_paid, "chat"))
        for form in ("data", "markdown", "bare", "images")
    },
    **{f"gemini {form}": (partial(GeminiProvider, form=form), partial(_paid, "gemini")) for form in ("inline", "url")},
}
#: Every dialect of tasks that can make three images of one request; BFL makes one.
TASKS = [f"tasks {dialect}" for dialect in TASK_SETTINGS if dialect != "bfl"]
FORMS = [*PAID, *TASKS, "sandbox url", "sandbox b64_json", "sandbox task"]


@pytest.fixture(params=FORMS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param in PAID:
        make_double, asking = PAID[request.param]
        with make_double() as double:
            yield Subject(asking(double.endpoint), outside(tmp_path / "state", secret=double.api_key), double)
        return
    form = request.param.split()[1]
    if request.param in TASKS:
        with TaskProvider(form, running=0) as task_double:
            hands = outside(tmp_path / "state", secret=task_double.api_key)
            yield Subject(_tasks(task_double.endpoint, form), hands, task_double)
        return
    hands = outside(tmp_path / "state")
    values = {"tasks": True} if form == "task" else {"response_format": form}
    made: list[sandbox.Sandbox] = []

    def make(given_hands: Outside) -> Provider:
        made.append(sandbox.connect("one", sandbox.Settings.model_validate(values), given_hands))
        return made[-1]

    yield Subject(make, hands)
    for each in made:
        each.close()


class Untouchable(NoEngine):
    """What `connect` and `read` may not touch: no secret, no clock, no network."""

    def secret(self, _: SecretReference) -> str:
        raise AssertionError("a secret was resolved")

    def now(self) -> datetime:
        raise AssertionError("the clock was read")

    def elapsed(self) -> float:
        raise AssertionError("the clock was read")

    def send(self, *_: object, **__: object) -> HttpReply:
        raise AssertionError("a request was sent")

    def outside(self, state: Path) -> Outside:
        return Outside(
            secret=self.secret,
            now=self.now,
            elapsed=self.elapsed,
            network=Network(),
            engine=self,
            state_dir=state / "untouched",
        )


def completed(provider: Provider, answer: Answer) -> Completed:
    """The end of the work that `answer` stands for, after a poll if need be."""
    result = provider.read(answer)
    if isinstance(result, Accepted):
        polled = Kept()
        provider.poll(result.handle, polled)
        result = provider.read(polled.answer())
    assert isinstance(result, Completed)
    return result


def submitted(provider: Provider, n: int = 1) -> Answer:
    sink = Kept()
    provider.submit(ask(n=n, model=provider.model), sink)
    return sink.answer()


def test_submit_streams_one_whole_answer_that_read_understands(subject: Subject) -> None:
    provider = subject.provider()
    answer = submitted(provider, n=3)
    assert 200 <= answer.status < 300
    outputs = completed(provider, answer).outputs
    assert [output.index for output in outputs] == [0, 1, 2]
    assert all((output.url is None) != (output.data is None) for output in outputs)


def test_reading_is_pure_and_needs_nothing_from_outside(subject: Subject, tmp_path: Path) -> None:
    """What a crash left on disk is read by a process that has asked nobody."""
    answer = submitted(subject.provider())
    stranger = subject.make(Untouchable().outside(tmp_path))
    assert stranger.read(answer) == stranger.read(answer) == subject.provider().read(answer)
    assert not (tmp_path / "untouched").exists()


def test_an_answer_cut_anywhere_is_corrupt(subject: Subject) -> None:
    provider = subject.provider()
    answer = submitted(provider)
    body = answer.body.rstrip()
    for length in range(0, len(body), max(1, len(body) // 300)):
        cut = Answer(status=200, content_type=answer.content_type, body=body[:length], received_at=START)
        with pytest.raises(Corrupt):
            provider.read(cut)


@pytest.mark.parametrize("handle", ["", "nobody-knows-this", "../../etc/passwd", "\x00", "一" * 1000])
def test_an_unknown_handle_is_permanent(subject: Subject, handle: str) -> None:
    sink = Kept()
    with pytest.raises(Permanent):
        subject.provider().poll(handle, sink)
    assert sink.begun == []


def test_many_threads_may_submit_at_once(subject: Subject) -> None:
    provider = subject.provider()
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(submitted(provider))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(completed(provider, answer).outputs) for answer in answers] == [1] * 16
    assert subject.double is None or len(subject.double.charges) == 16


def test_a_provider_never_shows_a_secret(subject: Subject) -> None:
    """Neither the key nor a signed URL stands in what a log would print."""
    provider = subject.provider()
    result = completed(provider, submitted(provider))
    shown = repr(provider) + repr(result) + str(result)
    assert subject.double is None or subject.double.api_key not in shown
    assert KEY not in shown
    assert "Signature" not in shown


# What was paid. The sandbox takes no money, so this part is for the adapters that do.

MISHAPS: dict[str, tuple[Mishap, type[AdapterError] | int]] = {
    "none": (Mishap(), 3),
    "fewer images": (Mishap(images=1), 1),
    "no data": (Mishap(data_null=True), Permanent),
    "no URL": (Mishap(url_null=True), Permanent),
    "half of the JSON": (Mishap(truncated=True), Corrupt),
    "an empty answer": (Mishap(body=b""), Corrupt),
    "a web page": (Mishap(body=b"<html>hello</html>", headers={"Content-Type": "text/html"}), Corrupt),
    "error in 200": (Mishap(body=b'{"error": {"message": "blocked"}}'), Permanent),
    "cut before paying": (Mishap(cut="before"), Ambiguous),
    "cut after paying": (Mishap(cut="after"), Ambiguous),
    "cut in the answer": (Mishap(cut="midway"), Ambiguous),
    "silence": (Mishap(stall=True), Ambiguous),
    "429": (Mishap(status=429, headers={"Retry-After": "2"}), Throttled),
    "400": (Mishap(status=400), Permanent),
    "403": (Mishap(status=403, body=b"<html>forbidden</html>"), Permanent),
    **{f"{status} unpaid": (Mishap(status=status), Ambiguous) for status in (408, 500, 502, 503, 504)},
    **{f"{status} paid": (Mishap(status=status, charged=True), Ambiguous) for status in (408, 500, 502, 503, 504)},
}


@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.parametrize("form", ["images url", "chat markdown", "gemini url"])
def test_whatever_happens_is_paid_at_most_once_and_never_called_unpaid(
    form: str, mishap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One submit is one request; where the ledger has a charge, there is an answer on disk or a doubt."""
    monkeypatch.setattr(account, "READ_S", 0.5)
    script, expected = MISHAPS[mishap]
    sink = Kept()
    raised: AdapterError | None = None
    found = 0
    make_double, asking = PAID[form]
    with make_double(itertools.repeat(script)) as double:
        provider = asking(double.endpoint)(outside(tmp_path, secret=double.api_key))
        try:
            provider.submit(ask(n=3), sink)
        except AdapterError as error:
            raised = error
        if raised is None:
            try:
                found = len(completed(provider, sink.answer()).outputs)
            except AdapterError as error:
                raised = error
        elif double.charges:
            assert type(raised) is Ambiguous
    assert len(double.requests) == 1
    assert len(double.charges) <= 1
    assert (found if raised is None else type(raised)) == expected


def test_an_outage_of_the_provider_costs_nothing(tmp_path: Path) -> None:
    with ImagesProvider() as double:
        provider = _images(double.endpoint, "url")(outside(tmp_path, secret=double.api_key))
        double.down()
        with pytest.raises(Transient):
            provider.submit(ask(), Kept())
        double.up()
        assert len(completed(provider, submitted(provider)).outputs) == 1
        assert len(double.charges) == 1


# The form of an adapter


@pytest.mark.parametrize("module", [chat, gemini, images, sandbox, tasks])
def test_an_adapter_is_a_module_with_settings_and_connect(module: object) -> None:
    """What an entry point must name; an unknown key is an error, so that a typing mistake is found."""
    assert list(inspect.signature(module.connect).parameters) == ["name", "settings", "outside"]  # type: ignore[attr-defined]
    assert module.Settings.model_config["extra"] == "forbid"  # type: ignore[attr-defined]
    assert module.Settings.model_config["frozen"] is True  # type: ignore[attr-defined]


# Whatever comes, `read` gives a value or one of two words.

_NAMES = st.sampled_from(
    "data url b64_json revised_prompt task_id status result error message code id n choices content images type "
    "candidates parts text inlineData inline_data mimeType fileData fileUri thought finishReason promptFeedback "
    "output task_status results sample polling_url status_url response_url job ref state files href detail".split()
)
_IMAGE = f"data:image/png;base64,{'iVBORw0KGgo' + 'A' * 30}"
_ODD = [
    SIGNED,
    f"![a]({SIGNED})",
    f"see {SIGNED}。",
    _IMAGE,
    f"![]({_IMAGE})",
    SIGNED.replace("&", "\\u0026"),
    "iVBORw0KGgo=",
    "data:image/png;base64,iVBO",
    "\ud800",
    KEY,
]
_TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(_ODD))
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_NAMES, inner, max_size=5)),
    max_leaves=15,
)
_ITEMS = st.lists(st.one_of(_VALUES, st.dictionaries(_NAMES, _TEXTS, max_size=4)), max_size=4)
_ROOTS = st.one_of(_VALUES, st.dictionaries(_NAMES, st.one_of(_VALUES, _ITEMS), max_size=5))
_SHAPED = st.one_of(
    st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries({"message": _ROOTS}), max_size=3)}),
    st.fixed_dictionaries(
        {
            "candidates": st.lists(
                st.fixed_dictionaries({"content": st.fixed_dictionaries({"parts": _VALUES})}), max_size=3
            )
        }
    ),
)
_BODIES = st.one_of(
    st.binary(max_size=200), st.one_of(_ROOTS, _SHAPED).map(lambda document: json.dumps(document).encode())
)
_READERS: dict[str, Provider] = {
    **{
        kind: _paid(kind, "https://api.example.com")(Untouchable().outside(Path("/nowhere")))
        for kind in ("images", "chat", "gemini")
    },
    **{
        dialect: _tasks("https://api.example.com", dialect)(Untouchable().outside(Path("/nowhere")))
        for dialect in TASK_SETTINGS
    },
    "sandbox": sandbox.connect("one", sandbox.Settings(), Untouchable().outside(Path("/nowhere"))),
}


def _outcome(provider: Provider, body: bytes) -> object:
    try:
        return provider.read(Answer(status=200, content_type="application/json", body=body, received_at=START))
    except (Corrupt, Permanent) as error:
        return type(error), str(error)


@pytest.mark.parametrize("kind", _READERS)
@settings(max_examples=200, deadline=None)
@given(body=_BODIES)
def test_no_answer_breaks_read(kind: str, body: bytes) -> None:
    """Any bytes give outputs with an image in each, a handle, or one of two errors, and the same ones again."""
    outcome = _outcome(_READERS[kind], body)
    assert outcome == _outcome(_READERS[kind], body)
    if isinstance(outcome, Completed):
        assert outcome.outputs
        assert all(output.url or output.data for output in outcome.outputs)
        for output in outcome.outputs:
            (output.revised_prompt or "").encode()  # or no database could keep it
        (outcome.reply or "").encode()
        json.dumps(outcome.facts).encode()
    elif isinstance(outcome, Accepted):
        assert outcome.handle
    else:
        assert isinstance(outcome, tuple)
        assert KEY not in outcome[1]
        assert "Signature" not in outcome[1]
        assert outcome[1].isprintable()


def test_a_remark_is_pure_and_an_error_is_what_submit_refuses(subject: Subject) -> None:
    """It needs no secret and no network; and what it finds nothing wrong with is not refused before it is sent."""
    mute = replace(subject.outside, secret=_no_secret)
    asked = subject.make(mute).check(ask())
    assert asked == subject.provider().check(ask())
    assert not [remark for remark in asked if remark.level == "error"]
    wrong = ask(size="9000000x9")
    if any(remark.level == "error" for remark in subject.provider().check(wrong)):
        with pytest.raises(Permanent):
            subject.provider().submit(wrong, Kept())
    assert subject.double is None or not subject.double.charges


def _no_secret(reference: SecretReference) -> str:
    raise AssertionError(f"{reference} was read for a remark")
