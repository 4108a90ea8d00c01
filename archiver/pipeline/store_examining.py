"""Looking at one store: whether every copy that the catalogue names is there, with the bytes that were archived and
with its lineage record, and what else lies below the prefix.

The listing is streamed into the audit's tables, and only what it does not bear out is asked for by its key: so what a
worker wrote since is neither missing nor foreign. Where a store lists nothing, every key is asked for. It reads, and
writes into no store. What could not be looked at is called unreadable, and never missing.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from archiver.catalogue.audit import Audit
from archiver.core.auditing import Finding, Share, is_doomed_by, possible_ids, rule_text
from archiver.core.errors import AdapterError, Gone, Permanent, Transient
from archiver.core.ports import Ruled, Store
from archiver.core.redaction import redact
from archiver.pipeline import lineage
from archiver.pipeline.recollection import understand

Item = TypeVar("Item")
Result = TypeVar("Result")

LISTED_AT_ONCE = 1000
#: So many in a row that cannot be looked at, and the rest is not tried.
MOST_UNREADABLE = 50


class _GivenUpError(Exception):
    """The store does not answer."""


@dataclass(slots=True, kw_only=True)
class StoreExamination:
    """One store under examination. With a `share`, the bytes of that part are read and hashed."""

    store: Store
    audit: Audit
    threads: Executor
    known: frozenset[str]
    share: Share | None
    believes_empty: bool
    remark: Callable[[str], None]
    _is_listed: bool = False
    _is_alive: bool = False

    def run(self) -> None:
        """Look at the whole store, and note what is found."""
        self._look_at_rules()
        try:
            self._list()
            self._look_at_copies()
            self._look_at_records()
            if self._is_listed:
                self._look_at_the_rest()
        except AdapterError as error:
            self._unreadable("", str(error))
        except _GivenUpError:
            self._unreadable("", "it does not answer; the rest was not looked at")
        if not (self._is_alive or self.believes_empty) and (gone := self.audit.take_back(self._name, "missing")):
            self.audit.take_back(self._name, "unrecorded")
            self._unreadable(
                "",
                f"none of the {gone} objects that the catalogue names is there, and nothing else of archiver's: is it"
                " the right bucket, is the folder mounted? If it was emptied, say --believe-empty",
            )

    @property
    def _name(self) -> str:
        return self.store.name

    def _unreadable(self, key: str, reason: str, image_id: str = "") -> None:
        finding = Finding(word="unreadable", store=self._name, image_id=image_id, key=key, detail=redact(reason))
        self.audit.note([finding])

    def _look_at_rules(self) -> None:
        if not isinstance(self.store, Ruled):
            return
        try:
            rules = self.store.rules()
        except AdapterError as error:
            self.remark(f"{self._name}: its lifecycle rules are not known: {redact(str(error))}")
            return
        self.audit.note(
            Finding(word="doomed", store=self._name, key=rule.name, detail=rule_text(rule))
            for rule in rules
            if is_doomed_by(rule, self.store.prefix)
        )

    def _list(self) -> None:
        try:
            for page in _pages(self.store.list(self.store.prefix), LISTED_AT_ONCE):
                self.audit.saw(self._name, page)
        except Permanent as error:
            self.audit.forget_seen(self._name)
            self.remark(
                f"{self._name}: cannot be listed ({redact(str(error))}); every key is asked for by its name, and"
                " foreign objects are not seen"
            )
            return
        except AdapterError:
            self.audit.forget_seen(self._name)
            raise
        self._is_listed = True
        self._is_alive = self.audit.shows_life(self._name, self.store.prefix)

    def _look_at_copies(self) -> None:
        for page in self.audit.copies(self._name, every=self._looks_at_every_one):
            chosen = [row for row in page if row["is_suspect"] or self._is_read(row["image_id"])]
            found = list(self._on_threads(self._judge, chosen))
            self._is_alive = self._is_alive or any(item is None or item.word == "altered" for item in found)
            self.audit.note(item for item in found if item is not None)

    @property
    def _looks_at_every_one(self) -> bool:
        return self.share is not None or not self._is_listed

    def _is_read(self, name: str) -> bool:
        return self.share is not None and self.share.holds(name)

    def _judge(self, row: Mapping[str, Any]) -> Finding | None:
        """What is wrong with one copy. Runs beside others; touches the store alone."""
        try:
            word, detail = self._verdict(row)
        except AdapterError as error:
            word, detail = "unreadable", str(error)
        has_hope = False
        if row["state"] == "missing" and word != "unreadable":
            # The catalogue says so already. What is there again is taken back by a repair, which hashes it.
            has_hope = not word
            detail = "marked as missing; an object of the right size is there again" if has_hope else detail
            word = "missing"
        if not word:
            return None
        return Finding(
            word=word,
            store=self._name,
            image_id=row["image_id"],
            key=row["key"],
            detail=redact(detail),
            has_hope=has_hope,
        )

    def _verdict(self, row: Mapping[str, Any]) -> tuple[str, str]:
        key, is_odd = row["key"], False
        if row["is_suspect"]:
            head = self.store.head(key)
            if head is None:
                return "missing", "there is no such object"
            if head.size != row["size"]:
                return "altered", f"{head.size} bytes in place of {row['size']}"
            # Another ETag alone proves nothing: a bucket that was moved has new ones. Then the bytes decide.
            is_odd = head.sha256 != row["sha256"] and (head.sha256 is not None or _differ(head.etag, row["etag"]))
        if is_odd or self._is_read(row["image_id"]):
            digest = _digest(self.store, key)
            if digest is None and self.store.head(key) is None:
                return "missing", "there is no such object"
            if digest is None:
                raise Transient("it is there, and cannot be read")
            if digest != row["sha256"]:
                return "altered", f"its bytes have sha256 {digest}"
        return "", ""

    def _look_at_records(self) -> None:
        self.audit.name_records(self._name)
        for page in self.audit.records(self._name, every=self._looks_at_every_one):
            chosen = [row for row in page if not row["is_seen"] or self._is_read(row["key"])]
            for row, (state, lines) in zip(chosen, self._on_threads(self._read_record, chosen), strict=True):
                self._is_alive = self._is_alive or state in ("there", "read")
                if state == "unreadable":
                    self._unreadable(row["key"], lines[0][0])
                elif state != "there":
                    self.audit.judge_record(self._name, row["key"], state, lines)
        self.audit.find_unrecorded(self._name)

    def _read_record(self, row: Mapping[str, Any]) -> tuple[str, list[tuple[str, str, str]]]:
        """How one lineage record stands, and what it tells of. Runs beside others; touches the store alone."""
        key, told = row["key"], []
        try:
            if not row["is_seen"] and self.store.head(key) is None:
                return "gone", []
            if not self._is_read(key):
                return "there", []
            for line in lineage.lines(self.store, key):
                try:
                    item = understand(line, key, self._name, self.known)
                except ValueError:
                    continue
                if item.copy["store"] == self._name:
                    told.append((item.image["image_id"], item.copy["key"], item.copy["sha256"]))
        except Gone:
            return "gone", []
        except AdapterError as error:
            return "unreadable", [(redact(str(error)), "", "")]
        except ValueError:  # no file of ours any more: what was understood before counts
            return "read", told
        return "read", told

    def _look_at_the_rest(self) -> None:
        for page in self.audit.unnamed(self._name, self.store.prefix):
            maybe = [(row["key"], part) for row in page for part in sorted(possible_ids(row["key"]))]
            owners = self.audit.owners(self._name, maybe)
            found = []
            for row in page:
                image_id, is_under_way = owners.get(row["key"], ("", False))
                if not is_under_way:
                    detail = f"{row['size']} bytes" + ("; its image is kept under another key" if image_id else "")
                    found.append(
                        Finding(word="foreign", store=self._name, image_id=image_id, key=row["key"], detail=detail)
                    )
            self.audit.note(found)

    def _on_threads(self, look: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`look` at each, several at a time, in their order. Raises when many in a row bring nothing but silence."""
        for some in _pages(items, MOST_UNREADABLE):
            results = list(self.threads.map(look, some))
            yield from results
            if len(results) == MOST_UNREADABLE and all(_is_silence(result) for result in results):
                raise _GivenUpError


def _is_silence(result: object) -> bool:
    if isinstance(result, Finding):
        return result.word == "unreadable"
    return isinstance(result, tuple) and result[0] == "unreadable"


def _differ(seen: str | None, known: str | None) -> bool:
    return seen is not None and known is not None and seen.strip('"').lower() != known.strip('"').lower()


def _digest(store: Store, key: str) -> str | None:
    digest = hashlib.sha256()
    try:
        for piece in store.open(key):
            digest.update(piece)
    except Gone:
        return None
    return digest.hexdigest()


def _pages(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    following = iter(items)
    while page := list(islice(following, size)):
        yield page
