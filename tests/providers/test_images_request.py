"""The kind `images`: what goes out on the wire, and how the answer comes in."""

import json
import socket
import sys
import traceback
from pathlib import Path

import pytest

from archiver.core.errors import Permanent, Transient
from archiver.core.model import Network
from archiver.pipeline.inbox import Inbox
from tests.doubles.http1 import Request
from tests.doubles.listener import HOST
from tests.providers.images_support import provider
from tests.providers.paid import KEY, SIGNED, Clock, Kept, ask, paid, sends


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/relay", "/api/v3"])
def test_the_endpoint_is_found_below_any_form_of_base_url(suffix: str, tmp_path: Path) -> None:
    below = {"": "/v1", "/": "/v1", "/v1": "/v1", "/v1/": "/v1", "/relay": "/relay/v1", "/api/v3": "/api/v3"}[suffix]
    with paid() as endpoint:
        provider(endpoint.base_url + suffix, tmp_path).submit(ask(), Kept())
    assert [(request.method, request.target) for request in endpoint.ledger] == [
        ("POST", f"{below}/images/generations")
    ]


def test_the_request_says_what_is_wanted_and_who_asks(tmp_path: Path) -> None:
    with paid() as endpoint:
        provider(endpoint.base_url, tmp_path).submit(ask(prompt="一只狐狸", size="1024x1024", n=2), Kept())
    (request,) = endpoint.ledger
    assert json.loads(request.body) == {
        "prompt": "一只狐狸",
        "model": "m-1",
        "n": 2,
        "response_format": "url",
        "size": "1024x1024",
    }
    sent = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
    assert sent == {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
        "user-agent": "archiver",
        "idempotency-key": "01JNGENERATION",
        "authorization": f"Bearer {KEY}",
    }


def test_what_is_not_configured_is_not_sent(tmp_path: Path) -> None:
    with paid() as endpoint:
        provider(endpoint.base_url, tmp_path, api_key=None, response_format="omit").submit(ask(), Kept())
    (request,) = endpoint.ledger
    assert json.loads(request.body) == {"prompt": "a red fox", "model": "m-1", "n": 1}
    assert "authorization" not in request.headers


def test_the_environment_and_netrc_have_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of netrc would be sent unasked, and a proxy of the environment would see the key."""
    (tmp_path / "netrc").write_text(f"machine {HOST} login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with paid() as endpoint:
        provider(endpoint.base_url, tmp_path, api_key=None).submit(ask(), Kept())
    assert "authorization" not in endpoint.ledger[0].headers


def test_a_configured_proxy_carries_what_leaves_this_machine_and_only_that(tmp_path: Path) -> None:
    """The proxy sees CONNECT, refuses it, and the paid request has not left: Transient."""
    seen: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        seen.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with paid() as here, paid() as proxy:
        proxy.listener._serve = refuse
        network = Network(proxy=f"http://user:hunter2@{HOST}:{proxy.listener.port}")
        provider(here.base_url, tmp_path, network).submit(ask(), Kept())
        with pytest.raises(Transient, match="not sent: the proxy did not connect") as caught:
            provider("https://api.invalid", tmp_path, network).submit(ask(), Kept())
    assert [line.rpartition(b" HTTP/")[0] for line in (first.split(b"\r\n")[0] for first in seen)] == [
        b"CONNECT api.invalid:443"
    ]
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the timers of a connection")
def test_a_waiting_connection_is_kept_alive(tmp_path: Path) -> None:
    """A NAT forgets a silent connection long before a slow model answers; 30 s of idle time start the probes."""
    timers: list[tuple[str, int]] = []

    def look(connection: socket.socket, request: Request) -> None:
        ends = [f":{address[1]:04X}" for address in (connection.getpeername(), connection.getsockname())]
        while not (timers and timers[-1][0] == "02"):  # 01 is the retransmission timer of the request itself
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            kind, ticks = next(row[5] for row in rows if [end[-5:] for end in row[1:3]] == ends).split(":")
            timers.append((kind, int(ticks, 16)))
            if len(timers) > 500 or kind == "00":
                break
        sends(200, {"data": [{"url": SIGNED}]})(connection, request)

    with paid(look) as endpoint:
        provider(endpoint.base_url, tmp_path).submit(ask(), Kept())
    kind, ticks = timers[-1]
    assert kind == "02"
    assert 0 < ticks <= 30 * 100


def test_each_request_has_a_connection_of_its_own(tmp_path: Path) -> None:
    """A kept connection that died while idle cannot be told from a request that was cut."""
    with paid() as endpoint:
        asked = provider(endpoint.base_url, tmp_path)
        asked.submit(ask(), Kept())
        asked.submit(ask(), Kept())
        assert endpoint.listener.connections == 2


def test_the_answer_reaches_the_sink_exactly_as_sent(tmp_path: Path) -> None:
    """Chunked framing is taken off; a compressed body is not touched, whatever its header says."""
    body = b"\x1f\x8b not gzip at all" * 9000
    pieces = [body[:1], body[1:100_000], body[100_000:]]
    chunks = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    head = b"HTTP/1.1 201 Created\r\nContent-Type: application/x\r\nContent-Encoding: gzip\r\n"
    sink = Kept()
    with paid(
        lambda connection, _: connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    ) as endpoint:
        provider(endpoint.base_url, tmp_path).submit(ask(), sink)
    assert sink.begun == [(201, "application/x")]
    assert sink.body == body


def test_the_request_id_of_the_header_is_kept_for_a_refund(tmp_path: Path) -> None:
    """Through the file in which an answer waits; a cookie does not get that far."""
    inbox = Inbox(tmp_path)
    body: dict[str, object] = {"data": [{"url": SIGNED}]}
    with paid(sends(200, body, X_Request_Id="req-header", Set_Cookie="session=hush")) as endpoint:
        asked = provider(endpoint.base_url, tmp_path)
        sink = inbox.open("g1", Clock())
        asked.submit(ask(), sink)
        sink.finish()
    answer = inbox.read("g1")
    assert answer is not None
    assert answer.headers.keys() & {"x-request-id", "set-cookie"} == {"x-request-id"}
    assert asked.read(answer).request_id == "req-header"
    assert b"hush" not in (tmp_path / "g1.answer").read_bytes()


def test_an_error_of_the_sink_is_not_taken_for_one_of_the_network(tmp_path: Path) -> None:
    """A full disk after a paid answer is for the pipeline to see as what it is."""

    class Full(Kept):
        def write(self, piece: bytes) -> None:
            raise OSError(28, "No space left on device")

    with paid() as endpoint, pytest.raises(OSError, match="No space left"):
        provider(endpoint.base_url, tmp_path).submit(ask(), Full())
    assert len(endpoint.ledger) == 1


def test_an_answer_that_names_a_task_is_refused_with_the_task(tmp_path: Path) -> None:
    sink = Kept()
    with paid(sends(202, {"task_id": "task_abc123", "status": "submitted"})) as endpoint:
        asked = provider(endpoint.base_url, tmp_path)
        asked.submit(ask(), sink)
    with pytest.raises(Permanent, match="answered with the task task_abc123 instead of images"):
        asked.read(sink.answer())
