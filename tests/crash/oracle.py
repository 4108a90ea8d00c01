"""The judge after a crash: what was charged, what was served, what the stores hold, and what the catalogue says of it.

It reads everything from outside (the double's ledger and log, the stores' contents, the catalogue by the standard
library's own SQLite) and believes none of the four alone. `doubtful` looks at what a dead process left before anybody
recovers it, so that afterwards "unknown" is neither too often said nor too rarely.
"""

import hashlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.tasks import TaskProvider
from tests.doubles.wire import Seen
from tests.world import World

Contents = Callable[[], dict[str, bytes]]
"""All objects of one store, by full key."""

OPEN_WORK = """
    select 1 from generations where state in ('planned', 'submitted', 'accepted')
    union all select 1 from images where state <> 'stored' limit 1
"""
"""No rows when all is quiet."""

# Two records of one copy may differ in these: the first was written by a process that died before it settled.
_JSON = {"tags", "parameters", "inputs"}
_MAY_DIFFER = {"archived_at", "proof"}


def contents_of(store: OssDouble | Path) -> Contents:
    """How to read a store behind archiver's back: an OSS double, or the folder of a `file://` store or an S3 bucket."""
    if isinstance(store, OssDouble):
        return lambda: {key: held.body for key, held in list(store.objects.items())}
    return lambda: {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and not path.name.startswith(".part-")
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures of a run that the oracle found to be right."""

    charges: int
    completed: int
    unknown: int
    unknown_charged: int
    images: int
    copies: int
    records: int

    def figures(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


def rows(data: Path, statement: str) -> list[dict[str, Any]]:
    """Ask a copy of the catalogue, so that nothing of what a dead process left is touched. No process may be alive."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("catalogue.db", "catalogue.db-wal", "catalogue.db-journal"):
            if (data / name).exists():
                shutil.copy(data / name, folder)
        connection = sqlite3.connect(Path(folder) / "catalogue.db")
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("pragma synchronous=off")  # nobody will miss the copy
            return [dict(row) for row in connection.execute(statement)]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # it died before it had made any
                return []
            raise
        finally:
            connection.close()


def doubtful(world: World) -> set[str]:
    """The generations whose outcome nobody can know any more: submitted by the dead, without a whole answer on disk."""
    inbox = world.folder / "data" / "inbox"
    submitted = [row["id"] for row in rows(inbox.parent, "select id from generations where state = 'submitted'")]
    return {one for one in submitted if not any(_is_answer(inbox / f"{one}.{kind}") for kind in ("answer", "part"))}


def _is_answer(path: Path) -> bool:
    """Whether a file holds the whole JSON of an answer behind its first line."""
    if not path.exists():
        return False
    _, _, body = path.read_bytes().partition(b"\n")
    try:
        said = json.loads(body)
        return bool(said.get("data") or said.get("task_id"))
    except ValueError:
        return False


def judge(
    world: World,
    provider: ImagesProvider | TaskProvider,
    stores: Mapping[str, Contents],
    doubts: set[str],
    *secrets: str,
) -> Verdict:
    """Compare ledger, bytes served, stores and catalogue when all is quiet. Raises AssertionError at the first lie.

    `doubts` are the generations that `doubtful` named after each kill. `secrets` must not be in any file of ours.
    """
    data = world.folder / "data"
    generations = {row["id"]: row for row in rows(data, "select * from generations")}
    charged = _ledger(provider)
    completed = {one for one, row in generations.items() if row["state"] == "completed"}
    unknown = {one for one, row in generations.items() if row["state"] == "unknown"}
    states = Counter(row["state"] for row in generations.values())
    assert set(states) <= {"completed", "unknown"}, f"unfinished generations: {states}"
    assert [one for one, times in charged.items() if times > 1] == [], "charged twice"
    assert charged.keys() <= generations.keys(), "charged without a generation"
    assert completed <= charged.keys(), "completed without a charge"
    assert unknown == doubts, f"unknown without reason: {unknown - doubts}, not said to be unknown: {doubts - unknown}"
    asked = Counter(generations[one]["prompt"] for one in charged)
    assert asked == Counter(charge.prompt for charge in provider.charges), "asked for another prompt than planned"
    held = {name: contents() for name, contents in stores.items()}
    images = _images(data, generations, completed)
    keys = _copies(data, images, held)
    records = _records(data, held, keys)
    _assert_tidy(data, unknown)
    _assert_no_secret(world, provider, secrets)
    return Verdict(
        charges=len(provider.charges),
        completed=len(completed),
        unknown=len(unknown),
        unknown_charged=len(unknown & charged.keys()),
        images=len(images),
        copies=sum(len(of_store) for of_store in keys.values()),
        records=records,
    )


def _is_paid(seen: Seen) -> bool:
    """A request that made something; a look at it is a GET."""
    return seen.method == "POST" and seen.status == 200


def _ledger(provider: ImagesProvider | TaskProvider) -> Counter[str]:
    """How often each generation was charged, by the idempotency key of the request."""
    end = time.monotonic() + 20  # a request of the dead may still be being answered
    while True:
        paid = [seen.headers["idempotency-key"] for seen in provider.requests if _is_paid(seen)]
        if len(paid) == len(provider.charges):
            return Counter(paid)
        assert time.monotonic() < end, "the double's log and its ledger disagree"
        time.sleep(0.02)


def _images(data: Path, generations: Mapping[str, Any], completed: set[str]) -> dict[str, tuple[bytes, list[str]]]:
    """The bytes that every image must have and the stores that want it. Every whole answer has all of its images."""
    found: dict[str, tuple[bytes, list[str]]] = {}
    indexes: dict[str, list[int]] = {one: [] for one in completed}
    for row in rows(data, "select images.*, urls.url from images left join urls using (seq) order by idx"):
        assert row["state"] == "stored", f"image {row['id']} is {row['state']}"
        assert row["claimed_by"] is None and row["url"] is None and row["spool"] is None, row
        generation = generations[row["generation_id"]]
        indexes[row["generation_id"]].append(row["idx"])
        body = ImagesProvider.image(generation["prompt"], row["idx"])
        found[row["id"]] = body, json.loads(generation["stores"])
    for one, indices in indexes.items():
        assert indices == list(range(generations[one]["n"])), f"images {indices} of generation {one}"
    return found


def _copies(
    data: Path, images: Mapping[str, tuple[bytes, list[str]]], held: Mapping[str, Mapping[str, bytes]]
) -> dict[str, set[str]]:
    """The keys of all copies by store, each proved to hold the bytes that the provider served."""
    keys: dict[str, set[str]] = {name: set() for name in held}
    wanted = {(image, store) for image, (_, into) in images.items() for store in into}
    for row in rows(data, "select * from copies"):
        wanted.remove((row["image_id"], row["store"]))
        assert row["state"] == "confirmed" and row["lineage_key"] in held[row["store"]], row
        body = images[row["image_id"]][0]
        assert held[row["store"]][row["key"]] == body, f"other bytes under {row['key']}"
        assert row["sha256"] == hashlib.sha256(body).hexdigest() and row["size"] == len(body)
        keys[row["store"]].add(row["key"])
    assert wanted == set(), "copies without a row"
    return keys


def _records(data: Path, held: Mapping[str, Mapping[str, bytes]], keys: Mapping[str, set[str]]) -> int:
    """Every object of a store is a copy or a record, and the records say what the view says. Returns their number."""
    number = 0
    view = {(row["image_id"], row["store"]): row for row in rows(data, "select * from lineage")}
    lineage_keys = {
        (row["image_id"], row["store"]): row["lineage_key"]
        for row in rows(data, "select image_id, store, lineage_key from copies")
    }
    told: set[tuple[str, str]] = set()
    for store, objects in held.items():
        files = {key for key in objects if "_lineage/" in key}
        probes = {key for key in objects if "_canary/" in key}
        assert objects.keys() - files - probes == keys[store], f"objects of {store} that no row names, or the reverse"
        for file in files:
            for line in objects[file].decode().splitlines():
                record = json.loads(line)
                number += 1
                copy = (record["image_id"], store)
                is_last_word = lineage_keys[copy] == file
                row = {name: json.loads(value) if name in _JSON else value for name, value in view[copy].items()}
                for name, value in row.items():
                    if is_last_word or name not in _MAY_DIFFER:
                        assert record[name] == value, f"record of {copy}: {name} is {record[name]!r}, not {value!r}"
                if is_last_word:
                    told.add(copy)
    assert told == view.keys(), "copies whose lineage key names no record of theirs"
    return number


def _assert_tidy(data: Path, unknown: set[str]) -> None:
    """Nothing is left lying about but what came of answers that never became whole."""
    for folder in ("spool", "parts", "owners", "providers", "stores"):
        assert sorted(path.name for path in (data / folder).iterdir()) == [], f"left in {folder}"
    odd = {path.name for path in (data / "inbox").iterdir()}
    assert odd <= {f"{one}.odd" for one in unknown}, f"left in inbox: {odd}"


def _assert_no_secret(world: World, provider: ImagesProvider | TaskProvider, secrets: tuple[str, ...]) -> None:
    """No signed query, no key: neither in the data nor in what was printed. A broken-off answer is kept as it came."""
    keys = {f"key {number}": key for number, key in enumerate((provider.api_key, *secrets))}
    needles = {"a signed query": "Signature=", "an access key id": "OSSAccessKeyId=", **keys}
    files = [path for path in (world.folder / "data").rglob("*") if path.is_file() and path.suffix != ".odd"]
    for path in (*files, *world.folder.glob("std*.txt")):
        text = path.read_bytes()
        found = {name: at for name, needle in needles.items() if (at := text.find(needle.encode())) >= 0}
        assert found == {}, f"secrets in {path.name}, by offset: {found}"
