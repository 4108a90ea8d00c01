"""Evidence for a deadline, as the catalogue keeps it: one JSON list in a column."""

import json
from collections.abc import Iterable

from archiver.catalogue.database import as_text, as_time
from archiver.core.model import Evidence

_encode = json.JSONEncoder(ensure_ascii=False).encode


def evidence_json(evidence: Iterable[Evidence]) -> str:
    """Evidence as the catalogue keeps it: a JSON list of objects."""
    return _encode(
        [
            {"source": item.source, "at": as_text(item.at), "detail": item.detail, "lower_bound": item.lower_bound}
            for item in evidence
        ]
    )


def evidence_of(text: str) -> tuple[Evidence, ...]:
    """What `evidence_json` wrote."""
    return tuple(
        Evidence(source=item["source"], at=as_time(item["at"]), detail=item["detail"], lower_bound=item["lower_bound"])
        for item in json.loads(text)
    )
