"""The kind `images`: which faults prove that nothing was paid, and which leave a doubt."""

import datetime as dt
import ipaddress
import os
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from archiver.core.errors import Ambiguous, Permanent, Transient
from archiver.core.model import Network
from archiver.providers import account, images, post
from tests.doubles.http1 import Request
from tests.doubles.listener import HOST, reset
from tests.providers.images_support import HTTPS, failure, provider, settings
from tests.providers.paid import Behaviour, Kept, ask, outside, paid, sends


def cut_early(connection: socket.socket, _: Request) -> None:
    """Close without a byte of an answer."""


def cut_by_reset(connection: socket.socket, _: Request) -> None:
    reset(connection)


FAULTS: dict[str, Behaviour] = {
    "closed without an answer": cut_early,
    "reset": cut_by_reset,
    "no HTTP": lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "cut in the head": lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "cut in the body": lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    "cut in a chunk": lambda connection, _: connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}"
    ),
    "no last chunk": lambda connection, _: connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    ),
    "a chunk of no size": lambda connection, _: connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"
    ),
    "two lengths": lambda connection, _: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"
    ),
    "endless headers": lambda connection, _: connection.sendall(
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n"
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_breaks_after_the_request_was_sent_is_in_doubt(fault: str, tmp_path: Path) -> None:
    with paid(FAULTS[fault]) as endpoint:
        error = failure(endpoint, tmp_path)
    assert type(error) is Ambiguous
    assert len(endpoint.ledger) == 1


SHORT, LONG = 0.2, 30.0


@pytest.mark.parametrize(
    ("size", "large"),
    [
        *[(None, False), ("1024x1024", False), ("2K", False), ("4095x4095", False)],
        *[("4096x4096", True), ("1024x4096", True), ("4K", True), ("4k", True), ("5120x2880", True)],
    ],
)
def test_the_read_timeout_fits_the_size_and_its_passing_is_in_doubt(
    size: str | None, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the timeout that is made short here passes: the wrong choice would wait for the other one."""
    monkeypatch.setattr(account, "READ_LARGE_S" if large else "READ_S", SHORT)
    monkeypatch.setattr(account, "READ_S" if large else "READ_LARGE_S", LONG)
    with paid() as endpoint:
        endpoint.behave = endpoint.silent
        with pytest.raises(Ambiguous, match="the request was sent, but no answer came: nothing arrived in time"):
            provider(endpoint.base_url, tmp_path).submit(ask(size=size), Kept())
    assert len(endpoint.ledger) == 1


def test_silence_inside_the_answer_is_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "READ_S", SHORT)

    def stall(connection: socket.socket, request: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
        endpoint.silent(connection, request)

    with paid(stall) as endpoint:
        error = failure(endpoint, tmp_path)
    assert (type(error), str(error)) == (Ambiguous, "the answer broke off: nothing arrived in time")


def test_a_dripping_answer_is_cut_when_the_time_for_the_call_is_over(tmp_path: Path) -> None:
    """No read ever times out, and yet the thread comes free: what has come is kept, the outcome is in doubt."""
    counted = iter(range(10**9))  # every look at the clock is a minute later than the one before

    def drip(connection: socket.socket, _: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
        with suppress(OSError):
            while not endpoint.listener.stopping.wait(0.001):
                connection.sendall(b" ")

    sink = Kept()
    with paid(drip) as endpoint:
        slow = images.connect(
            "apiyi", settings(base_url=endpoint.base_url), outside(tmp_path, elapsed=lambda: 60.0 * next(counted))
        )
        with pytest.raises(Ambiguous, match="still arriving when the time for the call was over"):
            slow.submit(ask(), sink)
    assert sink.body.strip() == b""
    assert sink.body


def test_every_byte_is_handed_on_when_it_arrives(tmp_path: Path) -> None:
    """The first bytes of an answer are on disk while the rest is still on its way."""
    came = threading.Event()

    class Sink(Kept):
        def write(self, piece: bytes) -> None:
            super().write(piece)
            came.set()

    def halting(connection: socket.socket, _: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
        assert came.wait(10), "the first byte was held back"
        connection.sendall(b"}")

    sink = Sink()
    with paid(halting) as endpoint:
        provider(endpoint.base_url, tmp_path).submit(ask(), sink)
    assert sink.body == b"{}"


def test_an_answer_beyond_all_measure_is_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "ANSWER_LIMIT", 200_000)
    with paid(sends(200, b"x" * 200_001)) as endpoint:
        assert type(failure(endpoint, tmp_path)) is Ambiguous
    sink = Kept()
    with paid(sends(200, b"x" * 200_000)) as endpoint:
        provider(endpoint.base_url, tmp_path).submit(ask(), sink)
    assert len(sink.body) == 200_000


def test_an_error_of_any_length_is_read_only_in_part(tmp_path: Path) -> None:
    """The rest of an endless error page is not waited for."""

    def endless(connection: socket.socket, _: Request) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: 999999999\r\n\r\n")
        while not endpoint.listener.stopping.is_set():
            connection.sendall(b"no " * 10_000)

    with paid(endless) as endpoint:
        error = failure(endpoint, tmp_path)
    assert type(error) is Permanent
    assert len(str(error)) < 300


def test_nothing_listening_means_that_nothing_was_sent(tmp_path: Path) -> None:
    with paid() as endpoint:
        endpoint.listener.down()
        error = failure(endpoint, tmp_path)
    assert (type(error), str(error)) == (Transient, "the request was not sent: Connection refused")


def test_an_unknown_host_means_that_nothing_was_sent(tmp_path: Path) -> None:
    """`.invalid` never resolves, by its definition."""
    with pytest.raises(Transient, match="the request was not sent: "):
        provider("https://api.invalid", tmp_path).submit(ask(), Kept())


def test_no_connection_in_time_means_that_nothing_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full backlog of the listening socket drops the connection's first packet, as a dead route does."""
    monkeypatch.setattr(account, "CONNECT_S", SHORT)
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(full.getsockname())
            waiting.append(client)
        with pytest.raises(Transient, match="the request was not sent: no connection in time"):
            provider(f"http://{HOST}:{full.getsockname()[1]}", tmp_path).submit(ask(), Kept())
        for client in waiting:
            client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "double")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    made = builder.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "double.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_nobody_vouches_for_stops_the_request(certificate: Path, tmp_path: Path) -> None:
    with paid(tls=server_context(certificate)) as endpoint:
        error = failure(endpoint, tmp_path)
    assert type(error) is Transient
    assert str(error).startswith("the request was not sent: TLS failed: ")
    assert endpoint.ledger == []


def test_the_configured_ca_file_is_believed(certificate: Path, tmp_path: Path) -> None:
    sink = Kept()
    with paid(tls=server_context(certificate)) as endpoint:
        provider(endpoint.base_url, tmp_path, Network(ca_file=str(certificate))).submit(ask(), sink)
    assert sink.begun == [(200, "application/json")]


def test_a_tls_error_after_the_request_is_in_doubt(certificate: Path, tmp_path: Path) -> None:
    """OpenSSL reports a connection cut without a farewell as a TLS error, like a failed handshake: only what was sent
    tells the two apart."""
    with paid(cut_early, tls=server_context(certificate)) as endpoint:
        asked = provider(endpoint.base_url, tmp_path, Network(ca_file=str(certificate)))
        with pytest.raises(Ambiguous, match="the request was sent"):
            asked.submit(ask(), Kept())
    assert len(endpoint.ledger) == 1


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://"])
def test_a_proxy_that_cannot_be_used_is_for_a_person_to_mend(proxy: str, tmp_path: Path) -> None:
    """SOCKS needs a package that archiver does not bring: asking again would never help."""
    with pytest.raises(Permanent, match="cannot be sent"):
        provider(HTTPS, tmp_path, Network(proxy=proxy)).submit(ask(), Kept())


def test_a_missing_ca_file_is_for_a_person_to_mend(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="cannot be sent"):
        provider(HTTPS, tmp_path, Network(ca_file=str(tmp_path / "missing.pem"))).submit(ask(), Kept())


def test_a_certificate_for_another_name_stops_the_request(certificate: Path, tmp_path: Path) -> None:
    """It is vouched for, but for 127.0.0.1 and not for localhost."""
    with paid(tls=server_context(certificate)) as endpoint:
        elsewhere = endpoint.base_url.replace(HOST, "localhost")
        with pytest.raises(Transient, match="TLS failed"):
            provider(elsewhere, tmp_path, Network(ca_file=str(certificate))).submit(ask(), Kept())
    assert endpoint.ledger == []


def test_a_bundle_is_held_once_for_all_requests_and_read_anew_when_it_changes(
    certificate: Path, tmp_path: Path
) -> None:
    """Two hundred open requests with a bundle each would be 140 MB."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes())
    with paid(tls=server_context(certificate)) as endpoint:
        asked = provider(endpoint.base_url, tmp_path, Network(ca_file=str(bundle)))
        with pytest.raises(Transient, match="TLS failed"):
            asked.submit(ask(), Kept())
        bundle.write_bytes(bundle.read_bytes() + b"\n" + certificate.read_bytes())
        os.utime(bundle, ns=(1, 1))
        before = post._trusting.cache_info()
        for _ in range(3):
            asked.submit(ask(), Kept())
        after = post._trusting.cache_info()
        with paid() as plain:
            provider(plain.base_url, tmp_path).submit(ask(), Kept())
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2), "a bundle of its own for each request"
    assert post._trusting.cache_info().misses == after.misses, "a request without TLS needs no bundle"


def test_a_bundle_that_is_none_is_no_request(tmp_path: Path) -> None:
    """It may be one that is being written: asking again is free."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nhalf")
    with paid() as endpoint:
        asked = provider(endpoint.base_url.replace("http:", "https:"), tmp_path, Network(ca_file=str(bundle)))
        with pytest.raises(Transient, match="the request was not sent"):
            asked.submit(ask(), Kept())
    assert endpoint.ledger == []
