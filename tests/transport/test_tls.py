"""Over TLS: certificates are verified for fetches and puts alike, and a redirect cannot leave the encryption."""

import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from archiver.core.errors import Refused, Transient
from archiver.core.model import Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import AddressGuard, Body, CurlEngine
from tests.doubles.listener import Listener
from tests.transport.conftest import reply


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "archiver test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def secure(certificate):
    """A TLS server that answers `/down` with a redirect to http, and everything else with five bytes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection):
        with context.wrap_socket(connection, server_side=True) as tls, tls.makefile("rb") as stream:
            while first := stream.readline():
                while stream.readline() not in (b"\r\n", b""):
                    pass
                away = reply(302, Location=f"http://127.0.0.1:{listener.port}/plain")
                tls.sendall(away if b"/down" in first else reply(200, b"image"))

    listener = Listener(serve)
    listener.up()
    yield listener
    listener.close()


@pytest.fixture
def engine_with(secure):
    """Make engines that trust a CA file; they are closed before the server, which waits for its connections."""
    made = []

    def make(ca_file=None):
        made.append(CurlEngine(Network(ca_file=ca_file and str(ca_file)), AddressGuard(["127.0.0.0/8"])))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def test_an_unknown_certificate_is_not_trusted(secure, engine_with):
    """Neither for a source nor for a store."""
    url = f"https://127.0.0.1:{secure.port}/a?sig=TOPSECRET"
    engine = engine_with()
    for act in (
        lambda: engine.fetch(TemporaryURL(url)),
        lambda: engine.send("PUT", url, headers={}, body=Body.of(b"x")),
    ):
        with pytest.raises(Transient, match="certificate is not trusted") as caught:
            act()
        assert "TOPSECRET" not in str(caught.value)


def test_a_named_ca_is_trusted_for_its_own_names_only(secure, certificate, engine_with):
    """The CA file of the configuration replaces the shipped one; the host name still has to match."""
    engine = engine_with(certificate)
    with engine.fetch(TemporaryURL(f"https://127.0.0.1:{secure.port}/a")).body as body:
        assert bytes(body.view()) == b"image"
    with pytest.raises(Transient, match="certificate is not trusted"):
        engine.fetch(TemporaryURL(f"https://localhost:{secure.port}/a"))


def test_a_redirect_from_https_to_http_is_refused(secure, certificate, engine_with):
    """Whoever asked for encryption gets it or nothing."""
    engine = engine_with(certificate)
    with pytest.raises(Refused, match="from https to another scheme"):
        engine.fetch(TemporaryURL(f"https://127.0.0.1:{secure.port}/down"))
