"""The bucket describes itself: lineage records, from which alone a catalogue can be rebuilt.

One line of JSON per copy, with the columns of the public view `lineage`; a settle batch makes one file per store, under
`{prefix}/_lineage/{yyyy}/{mm}/{dd}/{ulid}.jsonl`. A record is written before its images count as stored.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from archiver.core.model import Json
from archiver.core.ports import Store
from archiver.transport import Body

RECORD_VERSION = 1
CONTENT_TYPE = "application/x-ndjson"
_DOCUMENTS = ("tags", "parameters", "inputs")
"""Columns that hold JSON."""


def record(facts: Mapping[str, object], copy: Mapping[str, object], archived_at: str) -> dict[str, object]:
    """One line: what the catalogue says of the image, and of its copy (store, key, sha256, size, etag, proof)."""
    return {
        "v": RECORD_VERSION,
        **{name: value for name, value in facts.items() if name not in _DOCUMENTS},
        "archived_at": archived_at,
        "store": copy["store"],
        "key": copy["key"],
        "sha256": copy["sha256"],
        "size": copy["size"],
        "etag": copy["etag"],
        "proof": copy["proof"],
        **{name: json.loads(str(facts[name])) for name in _DOCUMENTS},
    }


def write(store: Store, records: Sequence[Mapping[str, object]], record_id: str, now: datetime) -> str:
    """Put one file of records into a store. Returns its key; raises the store's error words."""
    prefix = f"{store.prefix.strip('/')}/" if store.prefix.strip("/") else ""
    key = f"{prefix}_lineage/{now:%Y/%m/%d}/{record_id}.jsonl"
    text = "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in records)
    body = Body.of(text.encode())
    store.put_new(
        key, body, CONTENT_TYPE, {"archiver-kind": "lineage", "sha256": body.sha256, "v": str(RECORD_VERSION)}
    )
    return key


def parse(text: str) -> list[dict[str, Json]]:
    """The records of one file. Raises ValueError for a version that this code does not know."""
    lines = [json.loads(line) for line in text.splitlines() if line]
    for line in lines:
        if line.get("v") != RECORD_VERSION:
            raise ValueError(f"lineage record of version {line.get('v')}: a newer archiver wrote it")
    return lines
