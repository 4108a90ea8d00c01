"""Holding the catalogue against what is really kept: stores, lineage records and the spool.

It changes nothing, anywhere, and disturbs nobody who works: what looks wrong is looked at once more before it is called
so. What is found stays in the audit's tables, for whoever tells of it or mends it.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from archiver.catalogue import Catalogue
from archiver.core.auditing import Finding, Share
from archiver.core.ports import Store
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.recovery import LEFTOVER_AGE
from archiver.pipeline.spool import Spool
from archiver.pipeline.store_examining import StoreExamination
from archiver.transport import Body

THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """`stores` are looked at; `known` are all that the configuration names. With a `share`, the bytes of that part of
    the archive are read and hashed. `believes_empty`: a store in which nothing is left was emptied, and is no wrong
    one."""

    catalogue: Catalogue
    stores: Mapping[str, Store]
    known: frozenset[str]
    spool: Spool
    inbox: Inbox
    now: Callable[[], datetime]
    share: Share | None = None
    believes_empty: bool = False
    remarks: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Look at everything. What is found is in `catalogue.audit`."""
        audit = self.catalogue.audit
        audit.begin()
        with ThreadPoolExecutor(THREADS, "examine") as threads:
            for store in self.stores.values():
                StoreExamination(
                    store=store,
                    audit=audit,
                    threads=threads,
                    known=self.known,
                    share=self.share,
                    believes_empty=self.believes_empty,
                    remark=self.remarks.append,
                ).run()
        if self.stores.keys() == self.known:
            audit.note(
                Finding(
                    word="unreadable",
                    store=name,
                    detail=f"the configuration does not name it; it has {copies} copies",
                )
                for name, copies in audit.absent_stores(self.known)
            )
        for page in audit.spooled():
            audit.note(self._of_the_spool(page))
        audit.note(self._strays())

    def _of_the_spool(self, page: list[Mapping[str, Any]]) -> Iterator[Finding]:
        for row in page:
            name, word = row["spool"] or "", ""
            try:
                if not name or not self.spool.path(name).is_file():
                    word, detail = "spool-missing", "there is no such file"
                elif self.share is not None and self.share.holds(row["id"]):
                    with Body.from_file(self.spool.path(name)) as body:
                        if body.sha256 != row["sha256"]:
                            word, detail = "spool-rotten", f"its bytes have sha256 {body.sha256}"
            except FileNotFoundError:  # settled just now, or gone: the row decides
                word, detail = "spool-missing", "there is no such file"
            except OSError as error:
                yield Finding(word="unreadable", store="spool", key=name, detail=f"{error.strerror}")
            if word:
                has_hope = bool(row["has_url"]) or self.inbox.has(row["generation_id"])
                yield Finding(word=word, image_id=row["id"], key=name, detail=detail, has_hope=has_hope)

    def _strays(self) -> Iterator[Finding]:
        """Files that no row names, older than any transfer under way."""
        before = self.now() - LEFTOVER_AGE
        try:
            names = self.spool.names()
        except FileNotFoundError:  # a catalogue that was brought to another machine
            return
        needed = self.catalogue.images.spool_names()
        for name in names:
            written = self.spool.written(name)
            if name not in needed and written is not None and written < before:
                yield Finding(word="spool-stray", key=name, detail=f"written {written:%Y-%m-%d}")
