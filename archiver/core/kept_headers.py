"""What is kept of the headers of a provider's reply: enough for a refund, and for finding a task again."""

import re
from collections.abc import Mapping

#: Kept with an answer. Lower case. Never one that could carry a secret (cookies).
KEPT_HEADERS = frozenset({"x-request-id", "request-id", "x-oneapi-request-id", "cf-ray", "date", "location"})


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """What a provider calls the request in the headers of its reply: what a refund asks for. None when it does not say,
    or says something that is no id."""
    names = ("x-request-id", "request-id", "x-oneapi-request-id", "cf-ray")
    return next((said for name in names if re.fullmatch(r"[!-~]{1,200}", said := headers.get(name, ""))), None)
