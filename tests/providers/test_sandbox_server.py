"""Who serves the sandbox's pictures when processes come, go, and meet strangers on their port."""

import fcntl
import json
import socket
import stat
import threading
from pathlib import Path

import pytest

from archiver.core.errors import Unusable
from archiver.core.tempurl import TemporaryURL
from archiver.providers import sandbox
from archiver.providers.sandbox_server import HOST
from tests.doubles.listener import Listener
from tests.providers.paid import Kept, ask, outside
from tests.providers.sandbox_support import fetch, other_processes


def connect(state: Path, name: str = "demo") -> sandbox.Sandbox:
    return sandbox.connect(name, sandbox.Settings(), outside(state))


def url_of(made: sandbox.Sandbox) -> TemporaryURL:
    sink = Kept()
    made.submit(ask(), sink)
    url = made.read(sink.answer()).outputs[0].url  # type: ignore[union-attr]
    assert url is not None
    return url


def port_of(url: TemporaryURL) -> int:
    return int(url.reveal().split("/")[2].partition(":")[2])


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def test_the_address_is_known_before_anything_is_served(tmp_path: Path) -> None:
    made = connect(tmp_path)
    host, port = made.address()
    assert host == "127.0.0.1"
    assert is_refused(port)
    made.serve()
    try:
        assert made.address() == (host, port)
        assert not is_refused(port)
        assert port_of(url_of(made)) == port
    finally:
        made.close()
    assert is_refused(port)


def test_a_later_process_serves_the_urls_of_an_earlier_one(tmp_path: Path) -> None:
    first = connect(tmp_path)
    url = url_of(first)
    body = fetch(url)[2]
    first.close()
    second = connect(tmp_path)
    second.serve()
    try:
        assert fetch(url) == (200, "image/png", body)
        assert url_of(second) == url
    finally:
        second.close()


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    made = connect(tmp_path / "deep" / "state")
    made.address()
    folder = tmp_path / "deep" / "state"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "sandbox-demo.json": 0o600,
        "sandbox-demo.lock": 0o600,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"port": 1}', b'{"port": 1, "key": "x"}', b"\xff"])
def test_a_state_that_cannot_be_read_is_made_anew(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "sandbox-demo.json").write_bytes(left)
    (tmp_path / "sandbox-demo.new").write_bytes(b"left by a crash")
    made = connect(tmp_path)
    try:
        assert fetch(url_of(made))[0] == 200
    finally:
        made.close()


def test_two_sandboxes_of_one_folder_do_not_share_a_port(tmp_path: Path) -> None:
    assert connect(tmp_path, "a").address() != connect(tmp_path, "b").address()


def test_an_instance_in_the_same_process_lets_the_first_one_serve(tmp_path: Path) -> None:
    first, second = connect(tmp_path), connect(tmp_path)
    try:
        url = url_of(first)
        assert url_of(second) == url
        first.close()
        assert is_refused(port_of(url))
        second.serve()
        assert fetch(url)[0] == 200
    finally:
        first.close()
        second.close()


def test_many_threads_start_one_server(tmp_path: Path) -> None:
    made = connect(tmp_path)
    found: list[TemporaryURL] = []
    threads = [threading.Thread(target=lambda: found.append(url_of(made))) for _ in range(12)]
    before = threading.active_count()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 12
        assert len(set(found)) == 1
        assert [thread.name for thread in threading.enumerate()].count("sandbox") == 1
    finally:
        made.close()
    assert threading.active_count() <= before


def test_a_killed_server_is_replaced_on_the_same_port_at_the_next_request(tmp_path: Path) -> None:
    made = connect(tmp_path)
    with other_processes(tmp_path) as (other,):
        other.go()
        url = other.url()
        try:
            assert url_of(made) == url
            assert [thread.name for thread in threading.enumerate()].count("sandbox") == 0, "the other one serves"
            other.kill()
            assert is_refused(port_of(url))
            assert url_of(made) == url
            assert fetch(url)[0] == 200
        finally:
            made.close()


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    with other_processes(tmp_path / "state", 3) as others:
        for other in others:
            other.go()
        urls = [other.url() for other in others]
        assert len(set(urls)) == 1
        assert fetch(urls[0])[0] == 200


def test_a_start_waits_for_the_start_of_another_process(tmp_path: Path) -> None:
    """Between reading that there is no state and writing one, nobody else may do the same."""
    made = connect(tmp_path)
    starting = threading.Thread(target=made.serve)
    with (tmp_path / "sandbox-demo.lock").open("w") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        starting.start()
        starting.join(0.3)
        waited = starting.is_alive()
    starting.join(10)
    made.close()
    assert waited
    assert not starting.is_alive()


def stranger_at(port: int, says: bytes) -> Listener:
    """Something that is not ours listens on our port."""

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(says)

    listener = Listener(answer)
    listener._socket.close()
    listener._socket = listener._bound(port)
    listener.port = port
    listener.up()
    return listener


@pytest.mark.parametrize(
    "says", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", b"SSH-2.0-x\r\n", b"", b"HTTP/1.1 404 No\r\n\r\n"]
)
def test_a_stranger_on_our_port_makes_us_move_and_everybody_learns_of_it(tmp_path: Path, says: bytes) -> None:
    made, later = connect(tmp_path), connect(tmp_path)
    _, port = made.address()
    later.address()
    stranger = stranger_at(port, says)
    try:
        url = url_of(made)
        assert port_of(url) != port
        assert fetch(url)[0] == 200
        assert made.address() == later.address() == (HOST, port_of(url))
        assert url_of(later) == url
        assert json.loads((tmp_path / "sandbox-demo.json").read_text())["port"] == port_of(url)
    finally:
        made.close()
        later.close()
        stranger.close()


def test_a_folder_that_cannot_be_used_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    made = connect(tmp_path / "state")
    with pytest.raises(Unusable, match="demo: no address"):
        made.address()
    with pytest.raises(Unusable, match="demo: the sandbox cannot serve its images: "):
        made.serve()
