"""The bucket describes itself: lineage records, from which alone a catalogue can be rebuilt.

One line of JSON per copy, with the columns of the public view `lineage` and what else `catalogue.records` says; a
settle batch makes one file per store, under `{prefix}/_lineage/{yyyy}/{mm}/{dd}/{ulid}.jsonl`. A record is written
before its images count as stored. What is read back is believed in nothing: `recollection` judges it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from archiver.core.ports import Store
from archiver.transport import Body

RECORD_VERSION = 1
CONTENT_TYPE = "application/x-ndjson"
OF_A_COPY = ("store", "key", "sha256", "size", "etag", "proof")
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, check_circular=False).encode
LONGEST_LINE = 8 << 20
_NAME = re.compile(r"\d{4}/\d{2}/\d{2}/[^/]+\.jsonl")


def record(facts: Mapping[str, object], copy: Mapping[str, object], archived_at: str) -> dict[str, object]:
    """One line: what the catalogue says of the image, and of its copy (store, key, sha256, size, etag, proof)."""
    return {"v": RECORD_VERSION, **facts, "archived_at": archived_at, **{name: copy[name] for name in OF_A_COPY}}


def folder(store: Store) -> str:
    """What the keys of all records in a store begin with."""
    prefix = f"{store.prefix.strip('/')}/" if store.prefix.strip("/") else ""
    return f"{prefix}_lineage/"


def is_record(store: Store, key: str) -> bool:
    """Whether a key is one that `write` makes."""
    return key.startswith(folder(store)) and _NAME.fullmatch(key.removeprefix(folder(store))) is not None


def lines(store: Store, key: str) -> Iterator[bytes]:
    """The lines of one file, as they come from the store. Raises the store's error words, and ValueError for a line
    that is longer than any of ours."""
    rest = b""
    for piece in store.open(key):
        *whole, rest = (rest + piece).split(b"\n")
        yield from filter(None, whole)
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE >> 20} MiB")
    if rest:
        yield rest


def write(store: Store, records: Sequence[Mapping[str, object]], record_id: str, now: datetime) -> str:
    """Put one file of records into a store. Returns its key; raises the store's error words."""
    key = f"{folder(store)}{now:%Y/%m/%d}/{record_id}.jsonl"
    text = "".join(_encode(line) + "\n" for line in records)
    return put(store, key, Body.of(text.encode()))


def put(store: Store, key: str, body: Body) -> str:
    """Put the bytes of a file of records into a store. Returns its key; raises the store's error words."""
    store.put_new(
        key, body, CONTENT_TYPE, {"archiver-kind": "lineage", "sha256": body.sha256, "v": str(RECORD_VERSION)}
    )
    return key
