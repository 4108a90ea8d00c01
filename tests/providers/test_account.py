"""An account: several addresses, several keys, and what may be asked a second time."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.core.errors import AdapterError, Ambiguous, ConfigurationError, Permanent, Throttled, Transient
from archiver.core.model import SecretReference
from archiver.core.ports import Outside
from archiver.providers import account, images
from archiver.providers.keys import KEY_REST_S
from tests.doubles.http1 import Request
from tests.doubles.listener import HOST
from tests.providers.images_support import provider, settings
from tests.providers.paid import Kept, ask, images_reply, outside, paid, sends


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def keyed(state: Path, keys: dict[str, str], elapsed: list[float]) -> Outside:
    """The outside with several secrets, and a clock that the test sets."""

    def secret(reference: SecretReference) -> str:
        try:
            return keys[str(reference)]
        except KeyError:
            raise ConfigurationError(f"{reference} is not set") from None

    given = outside(state, elapsed=lambda: elapsed[0])
    return type(given)(
        secret=secret,
        now=given.now,
        elapsed=given.elapsed,
        network=given.network,
        engine=given.engine,
        state_dir=state,
    )


def test_the_next_address_is_asked_when_nothing_was_sent_to_the_first(tmp_path: Path) -> None:
    with paid() as endpoint:
        several = [f"http://{HOST}:{closed_port()}", endpoint.base_url]
        images.connect("apiyi", settings(base_url=several), outside(tmp_path)).submit(ask(), Kept())
    assert len(endpoint.ledger) == 1


def test_no_address_is_asked_after_one_that_may_have_charged(tmp_path: Path) -> None:
    with paid(lambda connection, _: None) as first, paid() as second:
        asked = images.connect("apiyi", settings(base_url=[first.base_url, second.base_url]), outside(tmp_path))
        with pytest.raises(Ambiguous):
            asked.submit(ask(), Kept())
    assert (len(first.ledger), len(second.ledger)) == (1, 0)


def test_no_address_within_reach_means_that_nothing_was_sent(tmp_path: Path) -> None:
    several = [f"http://{HOST}:{closed_port()}" for _ in range(2)]
    with pytest.raises(Transient, match="the request was not sent"):
        images.connect("apiyi", settings(base_url=several), outside(tmp_path)).submit(ask(), Kept())


def test_a_key_that_is_refused_is_set_aside_and_the_next_one_is_used(tmp_path: Path) -> None:
    """One request of the second key is paid; the first key is not tried again for ten minutes, then it is."""
    good: set[str] = {"sk-two"}

    def judge(connection: socket.socket, request: Request) -> None:
        key = request.headers["authorization"].removeprefix("Bearer ")
        (images_reply if key in good else sends(401, {"message": "no"}))(connection, request)

    elapsed = [0.0]
    keys = {"env:ONE": "sk-one", "env:TWO": "sk-two"}
    with paid(judge) as endpoint:
        asked = images.connect(
            "apiyi",
            settings(base_url=endpoint.base_url, api_key=["env:ONE", "env:TWO"]),
            keyed(tmp_path, keys, elapsed),
        )

        def used() -> list[str]:
            endpoint.ledger.clear()
            asked.submit(ask(), Kept())
            return [request.headers["authorization"][-3:] for request in endpoint.ledger]

        assert used() == ["one", "two"]
        assert used() == ["two"]
        elapsed[0] = KEY_REST_S + 1
        assert used() == ["one", "two"]
        keys["env:ONE"] = "sk-new"
        good.add("sk-new")
        assert used() == ["new"]


def test_when_every_key_is_refused_the_provider_rests_and_nothing_is_sent(tmp_path: Path) -> None:
    elapsed = [0.0]
    with paid(sends(401, {"message": "no"})) as endpoint:
        asked = images.connect(
            "apiyi",
            settings(base_url=endpoint.base_url, api_key=["env:ONE"]),
            keyed(tmp_path, {"env:ONE": "sk-one"}, elapsed),
        )
        with pytest.raises(Throttled, match="check api_key") as caught:
            asked.submit(ask(), Kept())
        assert caught.value.retry_after == KEY_REST_S
        elapsed[0] = 100.0
        with pytest.raises(Throttled, match="refused every key") as caught:
            asked.submit(ask(), Kept())
        assert caught.value.retry_after == KEY_REST_S - 100.0
    assert len(endpoint.ledger) == 1
    assert "sk-one" not in str(caught.value)


def test_looking_is_free_and_may_be_repeated(tmp_path: Path) -> None:
    """A cut answer to a GET is no doubt; an unknown task is final; a key goes nowhere else."""
    for behaviour, word in (
        (lambda connection, _: None, Transient),
        (sends(500), Transient),
        (sends(429, Retry_After="3"), Throttled),
        (sends(401), Transient),
        (sends(404), Permanent),
    ):
        with paid(behaviour) as endpoint:
            looker = account.Account("apiyi", settings(base_url=endpoint.base_url), outside(tmp_path))
            with pytest.raises(word), looker.look("v1/tasks/1"):
                pass
    with paid(sends(200, {"status": "running"})) as endpoint:
        looker = account.Account("apiyi", settings(base_url=endpoint.base_url), outside(tmp_path))
        for path in ("v1/tasks/1", f"{endpoint.base_url}/v1/tasks/1"):
            with looker.look(path) as reply:
                assert b"".join(reply.pieces()) == b'{"status": "running"}'
        assert [request.target for request in endpoint.ledger] == ["/v1/tasks/1"] * 2
        for odd in (
            f"http://{HOST}:{closed_port()}/v1/tasks/1",
            "https://[bad/x",
            "http://[::1",
            "ftp://h/x",
            "https:x",
        ):
            with pytest.raises(Permanent, match="elsewhere"), looker.look(odd):
                pass


def test_work_is_looked_for_at_every_address(tmp_path: Path) -> None:
    """It was asked of the second one while the first was away: what the first says of it now is no news of it."""
    for first in (sends(404), sends(500), lambda connection, _: None):
        with paid(first) as away, paid(sends(200, {"status": "running"})) as there:
            several = settings(base_url=[f"http://{HOST}:{closed_port()}", away.base_url, there.base_url])
            with account.Account("apiyi", several, outside(tmp_path)).look("v1/tasks/1") as reply:
                assert b"".join(reply.pieces()) == b'{"status": "running"}'
    with paid(sends(404)) as endpoint:
        several = settings(base_url=[f"http://{HOST}:{closed_port()}", endpoint.base_url])
        looker = account.Account("apiyi", several, outside(tmp_path))
        with pytest.raises(Transient, match="not sent"), looker.look("v1/tasks/1"):
            pass


def test_work_is_not_gone_while_a_key_that_may_know_it_is_refused(tmp_path: Path) -> None:
    """The second key does not know the task of the first one: "no such task" is no answer then."""

    def judge(connection: socket.socket, request: Request) -> None:
        sends(401 if request.headers["authorization"].endswith("sk-one") else 404)(connection, request)

    with paid(judge) as endpoint:
        two = settings(base_url=endpoint.base_url, api_key=["env:ONE", "env:TWO"])
        hands = keyed(tmp_path, {"env:ONE": "sk-one", "env:TWO": "sk-two"}, [0.0])
        looker = account.Account("apiyi", two, hands)
        with pytest.raises(Transient), looker.look("v1/tasks/1"):
            pass
        with pytest.raises(Permanent), looker.submit("v1/tasks", b"{}", {}, timeouts=(1.0, 1.0)):
            pass
        with pytest.raises(Transient), looker.look("v1/tasks/1"):
            pass


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://h", "v1/images/edits", "https://h/v1/images/edits"),
        ("https://h/v1/", "v1/images/edits", "https://h/v1/images/edits"),
        ("https://h/relay", "/v1/x", "https://h/relay/v1/x"),
        ("https://h/v1beta", "v1beta/models/m:generateContent", "https://h/v1beta/models/m:generateContent"),
        ("https://h/api/v3", "v1/x", "https://h/api/v3/x"),
        ("https://h/v1", "tasks/1", "https://h/v1/tasks/1"),
        ("https://h/v1/", "v1beta/models/m:generateContent", "https://h/v1beta/models/m:generateContent"),
        ("https://h/relay/v1", "v1beta/models/m", "https://h/relay/v1beta/models/m"),
        ("https://h/v1beta", "v1/x", "https://h/v1beta/x"),
    ],
)
def test_a_version_is_written_once(base: str, path: str, url: str) -> None:
    assert account.below(base, path) == url


def test_edits_send_the_input_images_in_their_order(tmp_path: Path) -> None:
    from archiver.core.model import Input

    given = tuple(Input(sha256="0" * 64, content_type="image/png", data=b"PNG-%d" % number) for number in range(2))
    with paid(sends(200, {"data": [{"url": "https://h/a.png"}]})) as endpoint:
        asked = provider(endpoint.base_url, tmp_path, response_format="omit")
        asked.submit(ask(inputs=given, parameters={"input_fidelity": "high"}), Kept())
    (request,) = endpoint.ledger
    assert request.target == "/v1/images/edits"
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    body = request.body
    assert body.index(b"PNG-0") < body.index(b"PNG-1")
    assert body.count(b'name="image[]"; filename="input-') == 2
    assert b'name="input_fidelity"\r\n\r\nhigh\r\n' in body
    assert b'name="prompt"\r\n\r\na red fox\r\n' in body


@pytest.mark.parametrize("status", [500, 400, 429])
def test_a_refusal_carries_the_providers_id_of_the_request(tmp_path: Path, status: int) -> None:
    """Beside the text, which stays as it is: what a refund asks for."""
    refusal = sends(status, {"error": {"message": "no"}}, **{"X-Oneapi-Request-Id": "2026-abc"})
    with paid(refusal) as endpoint, pytest.raises(AdapterError) as caught:
        provider(endpoint.base_url, tmp_path).submit(ask(), Kept())
    assert caught.value.request_id == "2026-abc"
    assert "2026-abc" not in str(caught.value)


def test_an_answer_that_breaks_off_carries_the_id_of_its_header(tmp_path: Path) -> None:
    def cut(connection: socket.socket, _: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX-Request-Id: req-7\r\n\r\n{")

    with paid(cut) as endpoint, pytest.raises(Ambiguous) as caught:
        provider(endpoint.base_url, tmp_path).submit(ask(), Kept())
    assert caught.value.request_id == "req-7"


def test_what_is_no_id_is_not_taken_for_one(tmp_path: Path) -> None:
    """It comes from outside, and goes into tables that people read; and silence has none."""
    for behaviour in (sends(500, {}, **{"X-Request-Id": "two words"}), lambda connection, _: None):
        with paid(behaviour) as endpoint, pytest.raises(Ambiguous) as caught:
            provider(endpoint.base_url, tmp_path).submit(ask(), Kept())
        assert caught.value.request_id is None


def test_word_of_keys_names_them_by_reference_and_comes_after_the_answer(tmp_path: Path) -> None:
    """A refused one at once; one that works, when the whole answer has been handed over. Never the key itself."""
    said: list[object] = []
    given = replace(
        keyed(tmp_path, {"env:ONE": "sk-one", "env:TWO": "sk-two"}, [0.0]),
        key_news=lambda news: said.append((news.reference, news.refused, news.keys)),
    )

    def one_is_unknown(connection: socket.socket, request: Request) -> None:
        is_known = request.headers["authorization"] == "Bearer sk-two"
        (images_reply if is_known else sends(401, {"error": {"message": "bad key"}}))(connection, request)

    class Listening(Kept):
        def write(self, piece: bytes) -> None:
            said.append("answer")
            super().write(piece)

    with paid(one_is_unknown) as endpoint:
        wanted = settings(base_url=endpoint.base_url, api_key=["env:ONE", "env:TWO"])
        images.connect("apiyi", wanted, given).submit(ask(), Listening())
    assert said[0] == ("env:ONE", True, 2)
    assert said[-1] == ("env:TWO", False, 2)
    assert set(said[1:-1]) == {"answer"}


def test_an_answer_that_broke_off_says_nothing_of_the_key(tmp_path: Path) -> None:
    said: list[object] = []

    def cut(connection: socket.socket, _: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{")

    with paid(cut) as endpoint:
        given = replace(outside(tmp_path), key_news=said.append)
        with pytest.raises(Ambiguous):
            images.connect("apiyi", settings(base_url=endpoint.base_url), given).submit(ask(), Kept())
    assert said == []
