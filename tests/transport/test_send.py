"""Sending signed requests: exactly as given, once, and the reply whatever it says."""

import random
import threading

import pytest

from archiver.core.errors import Transient
from archiver.transport import Body
from tests.transport.conftest import reply

_DATA = random.Random(5).randbytes(3_000_001)


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("size", [0, 1, 100_000, len(_DATA)])
def test_a_put_arrives_byte_for_byte(raw, engine, tmp_path, where, size):
    """With its length, without `Expect`, chunks or headers that nobody signed."""
    raw.scripts = [reply(200)]
    (tmp_path / "body").write_bytes(_DATA[:size])
    body = Body.of(_DATA[:size]) if where == "memory" else Body.from_file(tmp_path / "body")
    with body:
        found = engine.send("PUT", raw.url("/k//a%2Fb/../c?x=1"), headers={"X-Signed": "a, b"}, body=body)
    assert found.status == 200
    assert raw.bodies == [_DATA[:size]]
    lines = raw.heads[0].decode().split("\r\n")
    assert lines[0] == "PUT /k//a%2Fb/../c?x=1 HTTP/1.1"
    assert "X-Signed: a, b" in lines
    assert f"Content-Length: {size}" in lines
    names = sorted(line.partition(":")[0].lower() for line in lines[1:] if line)
    assert names == ["accept", "content-length", "host", "user-agent", "x-signed"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_methods_without_a_body(raw, engine, method):
    """The method goes out as it is; a HEAD's length is no body."""
    raw.scripts = [b"!HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (b"" if method == "HEAD" else b"hello")]
    found = engine.send(method, raw.url(), headers={})
    assert raw.heads[0].startswith(method.encode() + b" ")
    assert found.headers["content-length"] == "5"
    assert found.body == (b"" if method == "HEAD" else b"hello")


def test_a_handle_remembers_nothing_of_the_request_before(raw, engine):
    """Method, body, headers and sink belong to one request; only the connection is kept."""
    raw.scripts = [b"HTTP/1.1 200 OK\r\n\r\n", reply(200), reply(200, b"hello")]
    engine.send("HEAD", raw.url(), headers={"X-Old": "1"})
    engine.send("PUT", raw.url(), headers={}, body=Body.of(b"body"), sink=lambda piece: None)
    assert engine.send("GET", raw.url(), headers={}).body == b"hello"
    assert [head.split(b" ")[0] for head in raw.heads] == [b"HEAD", b"PUT", b"GET"]
    assert raw.bodies == [b"", b"body", b""]
    assert b"X-Old" not in raw.heads[1] + raw.heads[2]
    assert raw.listener.connections == 1


def test_any_status_is_a_reply(raw, engine):
    """Judging is the store's work; redirects are not followed; header names come in lower case."""
    raw.scripts = [reply(301, b"<Error/>", Location="http://127.0.0.1:9/"), reply(503, ETag='"A"')]
    first, second = (engine.send("GET", raw.url(), headers={}) for _ in range(2))
    assert (first.status, first.body) == (301, b"<Error/>")
    assert (second.status, second.headers["etag"]) == (503, '"A"')


def test_an_interim_reply_leaves_nothing_behind(raw, engine):
    """Early hints have headers of their own, which are not those of the answer."""
    raw.scripts = [b"HTTP/1.1 103 Early Hints\r\nETag: interim\r\n\r\n" + reply(200, b"x", Vary="final")]
    found = engine.send("GET", raw.url(), headers={})
    assert (found.status, found.headers) == (200, {"content-length": "1", "vary": "final"})


def test_a_sink_takes_only_what_succeeded(raw, engine):
    """An error document must not end up among an object's bytes."""
    raw.scripts = [reply(404, b"<Error/>"), reply(200, _DATA)]
    pieces: list[bytes] = []
    found = engine.send("GET", raw.url(), headers={}, sink=pieces.append)
    assert (found.body, pieces) == (b"<Error/>", [])
    found = engine.send("GET", raw.url(), headers={}, sink=pieces.append)
    assert found.body == b""
    assert b"".join(pieces) == _DATA


def test_without_a_sink_a_reply_is_kept_up_to_one_mebibyte(raw, engine):
    """A store that answers with an endless page fills no memory."""
    raw.scripts = [reply(200, _DATA)]
    assert engine.send("GET", raw.url(), headers={}).body == _DATA[: 1024 * 1024]


def test_what_a_sink_raises_comes_out(raw, engine):
    """A full disk behind the sink is not a network fault."""
    raw.scripts = [reply(200, _DATA)]

    def full(piece):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        engine.send("GET", raw.url(), headers={}, sink=full)
    assert engine.send("HEAD", raw.url(), headers={}).status == 200


@pytest.mark.parametrize("script", [b"!", b"!HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"!nonsense\r\n\r\n"])
def test_a_network_fault_is_transient_and_keeps_the_url_to_itself(raw, engine, script):
    """The signature is in the URL."""
    raw.scripts = [script]
    with pytest.raises(Transient) as caught:
        engine.send("PUT", raw.url(), headers={}, body=Body.of(b"x"))
    assert "127.0.0.1" in str(caught.value)
    assert "TOPSECRET" not in str(caught.value)


def test_silence_ends(raw, engine):
    """A server that never answers costs the total time, not for ever."""
    raw.scripts = [lambda connection: raw.listener.stopping.wait(30)]
    with pytest.raises(Transient, match="no reply in time"):
        engine.send("GET", raw.url(), headers={}, total_s=0.3)


def test_an_early_refusal_of_a_long_upload_is_heard(raw, engine):
    """A store may deny before it has read the body; its reason counts."""
    denied = reply(403, b"<Error><Code>AccessDenied</Code></Error>", Connection="close")

    def refuse(connection):
        connection.sendall(denied)
        while connection.recv(1_000_000):
            pass

    raw.scripts = [refuse]
    found = engine.send("PUT", raw.url(), headers={}, body=Body.of(bytes(30_000_000)))
    assert (found.status, found.body) == (403, b"<Error><Code>AccessDenied</Code></Error>")


def test_a_connection_that_died_while_idle_is_replaced(raw, engine):
    """A server that closes idle connections costs no put."""
    raw.scripts = [reply(200)]
    assert engine.send("PUT", raw.url(), headers={}, body=Body.of(b"1")).status == 200
    raw.listener.down()
    raw.listener.up()
    assert engine.send("PUT", raw.url(), headers={}, body=Body.of(b"2")).status == 200
    assert raw.bodies == [b"1", b"2"]


def test_one_body_in_two_stores_at_once(raw, engine, tmp_path):
    """Readers of a file-backed body do not move each other."""
    raw.scripts = [reply(200)]
    (tmp_path / "body").write_bytes(_DATA)
    with Body.from_file(tmp_path / "body") as body:
        threads = [
            threading.Thread(target=engine.send, args=("PUT", raw.url()), kwargs={"headers": {}, "body": body})
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert raw.bodies == [_DATA, _DATA]
