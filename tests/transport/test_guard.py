"""The table of addresses: what an untrusted URL may lead to, and what it may not, however it is spelled."""

import pytest

from archiver.transport.guard import AddressGuard, literal_address

REFUSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.255
169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1
192.168.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:100.100.100.200
64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1
3fff:fff:ffff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 febf::1 fec0::1 ff02::1 ff0e::1
""".split()

PERMITTED = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 47.88.1.1 100.63.255.255 100.128.0.1 128.0.0.1 169.253.255.255 172.15.255.255
172.32.0.1 192.167.255.255 192.169.0.1 198.17.255.255 198.20.0.1 223.255.255.255 ::ffff:8.8.8.8
2400:3200::1 2606:4700::1111 2a00:1450:4001::1
""".split()


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("address", REFUSED)
def test_private_and_special_addresses_are_refused(address, literal):
    """It does not matter whether DNS or the URL itself names them."""
    assert not AddressGuard().permits(address, literal)


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("address", PERMITTED)
def test_public_addresses_are_permitted(address, literal):
    """The neighbours of every refused range stay reachable."""
    assert AddressGuard().permits(address, literal)


@pytest.mark.parametrize("address", ["198.18.0.1", "198.19.255.255", "::ffff:198.18.0.1"])
def test_the_range_of_resolving_proxies_only_counts_when_dns_named_it(address):
    """Many machines in China see every name there; nobody's image URL spells such an address."""
    assert AddressGuard().permits(address, literal=False)
    assert not AddressGuard().permits(address, literal=True)


@pytest.mark.parametrize(
    ("cidr", "inside", "outside"),
    [
        ("10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("10.1.2.3/16", "10.1.0.9", "10.2.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"),
        ("fd00::/8", "fd12::1", "fc00::1"),
        ("198.18.0.0/15", "198.18.0.1", "10.0.0.1"),
    ],
)
def test_a_named_range_is_exempt_and_no_other(cidr, inside, outside):
    """The user vouches for a range, literal or not."""
    guard = AddressGuard([cidr])
    assert guard.permits(inside, literal=True)
    assert not guard.permits(outside, literal=True)


def test_one_address_and_port_is_exempt():
    """A server of our own opens its own port, not the machine."""
    guard = AddressGuard(exempt=lambda address, port: (address, port) == ("127.0.0.1", 8080))
    assert guard.permits("127.0.0.1", True, 8080)
    assert guard.permits("::ffff:127.0.0.1", True, 8080)
    assert not guard.permits("127.0.0.1", True, 8081)
    assert not guard.permits("127.0.0.1", True)
    assert not guard.permits("127.0.0.2", True, 8080)


def test_a_wrong_range_is_an_error():
    """A typing mistake must not silently allow nothing, or everything."""
    with pytest.raises(ValueError, match=r"10\.0\.0"):
        AddressGuard(["10.0.0/33"])


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::ffff:7f00:1]", "::ffff:7f00:1"),
        ("example.com", None),
        ("1.2.3.4.example.com", None),
        ("127.0.0.1.nip.io", None),
        ("localhost", None),
    ],
)
def test_what_counts_as_an_address_in_a_url(host, address):
    """Decimal, octal, hexadecimal and shortened spellings are addresses; names that contain one are names."""
    assert literal_address(host) == address
