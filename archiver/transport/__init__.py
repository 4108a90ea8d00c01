"""The data plane: one HTTP engine on libcurl for untrusted fetches and for requests that stores signed.

This package knows no catalogue, no provider, no store and no policy.
"""

from archiver.transport.body import DEFAULT_BUDGET, Body, BodyWriter, ByteBudget, at_work, fast_crc32
from archiver.transport.engine import CurlEngine
from archiver.transport.fetch import DEFAULT_LIMITS, EVIDENCE, FetchedBody, FetchLimits
from archiver.transport.guard import AddressGuard
from archiver.transport.loop import Loop, aside

__all__ = [
    "DEFAULT_BUDGET",
    "DEFAULT_LIMITS",
    "EVIDENCE",
    "AddressGuard",
    "Body",
    "BodyWriter",
    "ByteBudget",
    "CurlEngine",
    "FetchLimits",
    "FetchedBody",
    "Loop",
    "aside",
    "at_work",
    "fast_crc32",
]
