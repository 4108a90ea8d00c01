"""Where a fetch may lead: through redirects, spellings, pools and proxies, never to a private address."""

import random

import pytest

from archiver.core.errors import Refused
from archiver.core.model import Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import AddressGuard, CurlEngine
from archiver.transport.fetch import refuse_downgrade
from tests.transport.conftest import reply

_DATA = random.Random(3).randbytes(200_003)


def test_redirects_are_followed_with_every_hop_checked(raw, fetch):
    """Relative and absolute locations, byte for byte, and nothing but a GET."""
    raw.scripts = [
        reply(302, b"moved", Location="/next?sig=b%2f+"),
        reply(307, Location=raw.url("/third/x y%2f")),
        reply(303, Location="last"),
        reply(200, _DATA),
    ]
    fetch().body.close()
    assert [head.split(b" ")[1] for head in raw.heads] == [
        b"/a.png?sig=TOPSECRET",
        b"/next?sig=b%2f+",
        b"/third/x%20y%2f",
        b"/third/last",
    ]
    assert all(b"Referer" not in head for head in raw.heads)


def test_a_circle_of_redirects_ends(raw, fetch):
    """Five hops, then no more."""
    raw.scripts = [reply(302, Location="/again")]
    with pytest.raises(Refused, match="more than 5 redirects"):
        fetch()
    assert len(raw.heads) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.100.100.200/",
        "http://[::1]/",
        "http://0x7f.2/",
        "http://2130706434/",
        "http://0177.0.0.2/",
        "http://127.2/",
        "http://localhost:1/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://127.0.0.1/",
        "http://user:pass@example.com/",
    ],
)
def test_a_redirect_leads_nowhere_private(raw, fetch, location):
    """Every spelling of a private address, other schemes and credentials are refused before anything is sent."""
    raw.scripts = [reply(302, Location=location)]
    with pytest.raises(Refused):
        fetch()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "localhost", "x.localhost"],
)
def test_no_spelling_of_loopback_connects(raw, host):
    """The server is there and listening; the guard alone keeps the engine away, and tells how to allow it."""
    raw.scripts = [reply(200, _DATA)]
    engine = CurlEngine(Network(), AddressGuard())
    try:
        url = TemporaryURL(f"http://{host}:{raw.listener.port}/a.png")
    except ValueError:
        return  # the noun itself refuses such a host
    with pytest.raises(Refused, match=r"name its range in \[fetch\] allow_cidrs"):
        engine.fetch(url)
    engine.close()
    assert raw.listener.connections == 0


def test_a_named_range_connects(raw):
    """The user's word opens it."""
    raw.scripts = [reply(200, _DATA)]
    engine = CurlEngine(Network(), AddressGuard(["127.0.0.0/8"]))
    engine.fetch(TemporaryURL(raw.url())).body.close()
    engine.close()


def test_a_connection_opened_unguarded_never_serves_a_fetch(raw):
    """`send` may reach the local network; `fetch` must not inherit its open connection."""
    raw.scripts = [reply(200, _DATA)]
    engine = CurlEngine(Network(), AddressGuard())
    engine.send("GET", raw.url(), headers={})
    with pytest.raises(Refused):
        engine.fetch(TemporaryURL(raw.url()))
    engine.close()
    assert len(raw.heads) == 1


def test_behind_a_proxy_the_proxy_is_reached_and_literal_private_hosts_are_not(raw):
    """The proxy resolves names; what the URL itself spells can still be refused."""
    raw.scripts = [reply(200, _DATA)]
    engine = CurlEngine(Network(proxy=f"http://{raw.authority}"), AddressGuard())
    engine.fetch(TemporaryURL("http://images.example.com/a.png?x=1")).body.close()
    assert raw.heads[0].startswith(b"GET http://images.example.com/a.png?x=1 HTTP/1.1")
    for host in ("10.0.0.1", "0x7f.1", "localhost"):
        with pytest.raises(Refused):
            engine.fetch(TemporaryURL(f"http://{host}/a.png"))
    engine.close()
    assert len(raw.heads) == 1


def test_https_never_falls_back_to_http():
    """The downgrade is seen before a connection is tried; the scheme's case does not matter."""
    with pytest.raises(Refused, match="from https to another scheme"):
        refuse_downgrade("HTTPS://example.com/a", "http://example.com/a")
    refuse_downgrade("https://example.com/a", "https://example.com/b")
    refuse_downgrade("http://example.com/a", "https://example.com/b")
