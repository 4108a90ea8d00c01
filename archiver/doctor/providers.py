"""Whether the addresses of a provider answer. Each is asked once, for nothing, without a key; never for what costs."""

from collections.abc import Iterator

from archiver.core.errors import AdapterError
from archiver.doctor.endpoints import network_advice
from archiver.doctor.findings import Finding, bad, ok, warn
from archiver.wiring.examining import Bench


def provider(bench: Bench, name: str) -> Iterator[Finding]:
    """One line for each address."""
    subject = f"provider {name}"
    told = getattr(bench.settings("providers", name), "base_url", ())
    addresses = (told,) if isinstance(told, str) else tuple(told)
    if not addresses:
        yield ok(subject, "reach", "is inside archiver, or names no address")
    for address in addresses:
        try:
            status = bench.get(address).status
        except AdapterError as error:
            # Of several, another one may answer; work that is accepted is at its own.
            yield bad(subject, "reach", str(error), network_advice(str(error), "base_url"))
            continue
        if status == 407:
            yield bad(subject, "reach", f"{address}: the proxy wants a login", "correct [network] proxy")
        elif status >= 500:
            yield warn(subject, "reach", f"{address} answers {status}", "see the provider's status page; try again")
        else:
            yield ok(subject, "reach", f"{address} answers; whether the key is good shows `archiver providers test`")
