"""Which addresses an untrusted URL may lead to: the public internet, and what the configuration names, nothing else.

A provider's answer is not ours: a URL in it may point at this machine, at the local network or at a cloud's metadata
service. These are the rules, pure and without I/O; the engine applies them to the very address it is about to connect
to, so that neither odd spellings nor a second DNS answer gets past. It refuses to resolve names.
"""

import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_BENCHMARK = IPv4Network("198.18.0.0/15")
"""Many users in China resolve through a proxy that answers from this range, so it may come from DNS."""

# What `is_global` of Python 3.11 still calls global, plus ranges that reach into IPv4 through a translator.
_DENIED_4 = tuple(
    IPv4Network(text)
    for text in ("0.0.0.0/8", "100.64.0.0/10", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4", "192.0.0.0/24")
)
_DENIED_6 = tuple(
    IPv6Network(text)
    for text in (
        "::/96",  # unspecified, loopback, IPv4-compatible
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site local
        "ff00::/8",
    )
)


class AddressGuard:
    """The rules with the exceptions of one configuration.

    `allow_cidrs` are networks the user vouches for; a wrong one raises ValueError. `exempt` says of one address and
    port whether it is a server of our own, which may move while we run.
    """

    def __init__(self, allow_cidrs: Sequence[str] = (), exempt: Callable[[str, int], bool] | None = None) -> None:
        self._allowed = tuple(ip_network(cidr, strict=False) for cidr in allow_cidrs)
        self._exempt = exempt
        self._judged = lru_cache(maxsize=4096)(self._judge)  # the few addresses of a source, again and again

    def permits(self, address: str, literal: bool, port: int | None = None) -> bool:
        """Whether a connection to `address` may be opened. `literal`: the URL itself spells the address."""
        if self._exempt is not None and port is not None and (plain := _plain(address)) and self._exempt(plain, port):
            return True
        return self._judged(address, literal)

    def _judge(self, address: str, literal: bool) -> bool:
        try:
            found = _unwrap(ip_address(address))
        except ValueError:
            return False
        if any(_within(found, network) for network in self._allowed):
            return True
        if isinstance(found, IPv4Address):
            if found in _BENCHMARK:
                return not literal
            return found.is_global and not any(found in network for network in _DENIED_4)
        return found.is_global and found.scope_id is None and not any(found in network for network in _DENIED_6)


@lru_cache(maxsize=4096)
def _plain(address: str) -> str | None:
    try:
        return str(_unwrap(ip_address(address)))
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def literal_address(host: str) -> str | None:
    """The address that a URL's host spells, however oddly (`0x7f.1`, `2130706433`, `[::1]`); None for a name."""
    text = host.removeprefix("[").removesuffix("]")
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(text.removesuffix(".")))  # pure parsing, as libcurl reads it
    except (OSError, UnicodeError):
        return None


def _unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped one: the kernel connects to that."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _within(address: Address, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network
