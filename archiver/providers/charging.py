"""Which refusals cost nothing, as one table: by the host that refused, its status, and what its error is called.

A row stands here because somebody documents it; `source` says who. What is not in the table, and not in the settings of
a provider, counts as perhaps paid. Nothing here asks anybody.
"""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one provider (`host`, with everything below it; `*` is anybody) does not charge for."""

    host: str
    source: str
    statuses: frozenset[int] = frozenset()
    #: Values of `error.code` or `error.type`, with whatever status.
    codes: frozenset[str] = frozenset()
    #: Seconds to wait where the refusal itself does not say; None: as after any other.
    rest_s: float | None = None


TERMS = (
    Terms(
        host="*",
        statuses=frozenset({429}),
        source="RFC 6585: the request was not taken; nobody is known to charge for it",
    ),
    Terms(
        host="apiyi.com",
        statuses=frozenset({503}),
        source="docs.apiyi.com, image-async-api, July 2026: 429 and 503 are not billed, a timeout is",
    ),
    Terms(
        host="*",
        # Its quota is looked at before anything is passed on: somebody must pay in, and the request can wait for it.
        codes=frozenset({"insufficient_user_quota", "pre_consume_token_quota_failed"}),
        rest_s=600.0,
        source="QuantumNous/new-api, types/error.go (quota errors) and service/pre_consume_quota.go, 2026",
    ),
)


def terms_of(host: str, status: int, body: bytes, *, added: Terms | None = None) -> Terms | None:
    """The row by which a refusal cost nothing and may pass, None when there is none. `added` is what the user's
    settings say of this provider."""
    names = error_names(body)
    rows: tuple[Terms, ...] = TERMS if added is None else (added, *TERMS)
    for terms in rows:
        if _is_at(host, terms.host) and (status in terms.statuses or not names.isdisjoint(terms.codes)):
            return terms
    return None


def error_names(body: bytes) -> frozenset[str]:
    """What an error answer calls its error (`code` and `type`); nothing when it is no JSON or does not say."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return frozenset()
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return frozenset()
    return frozenset(name for name in (error.get("code"), error.get("type")) if isinstance(name, str))


def _is_at(host: str, wanted: str) -> bool:
    return wanted in ("*", host) or host.endswith(f".{wanted}")
