"""Making a gallery: images of the catalogue become the page's pictures, with thumbnails made from the stores' bytes.

Thumbnails are named by the digest, so a run that was stopped is taken up where it was. It changes nothing in the
catalogue or a store, and an image that cannot be shown is told and left out of nothing but the thumbnails.
"""

import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from archiver.config import Config
from archiver.core.errors import ArchiverError
from archiver.gallery import THUMBS, Picture, Thumbnailer, thumbnail_name, write_page
from archiver.wiring.showing import Shown
from archiver.wiring.surroundings import now

WORKERS = 4
MOST_TROUBLES = 20


@dataclass
class Exhibition:
    """One gallery in `folder`. `presign` is how long signed links live; None: nothing is signed."""

    config: Config
    folder: Path
    title: str
    thumbnails: bool = True
    presign: timedelta | None = None
    tell: Callable[[int], None] = lambda _: None

    shown: int = 0
    without_copy: int = 0
    failed: int = 0
    troubles: list[str] = field(default_factory=list)

    def make(self, rows: Iterable[Mapping[str, Any]], store: str | None = None) -> None:
        """Write thumbnails and the page for `rows` as `Catalogue.exports` gives them."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts are private
        with Shown(self.config) as stores, ExitStack() as stack:
            crew = _Crew(stores, stack) if self.thumbnails else None
            pictures = self._pictures(rows, stores, store, crew)
            write_page(self.folder, pictures, title=self.title, made=now(), hosts=self._hosts())

    def _hosts(self) -> set[str]:
        """Where full images may come from: what the page's policy allows."""
        if self.presign is not None:
            return {"https:", "http:"}
        bases = [
            urlsplit(str(section.settings.get("public_base_url") or "")) for section in self.config.stores.values()
        ]
        return {f"{base.scheme}://{base.netloc}" for base in bases if base.scheme in ("http", "https")}

    def _pictures(
        self, rows: Iterable[Mapping[str, Any]], stores: Shown, store: str | None, crew: "_Crew | None"
    ) -> Iterator[Picture]:
        """In the order of the rows; so many ahead that every worker has work, and no more."""
        waiting: deque[tuple[Mapping[str, Any], dict[str, Any], Future[None] | None]] = deque()
        for row in rows:
            copy = stores.choose(row["copies"], store)
            if copy is None:
                self.without_copy += 1
                continue
            target = self.folder / thumbnail_name(row["sha256"])
            todo = crew is not None and not target.exists()
            job = (
                crew.start(copy["store"], {"key": copy["key"], "sha256": row["sha256"]}, target)
                if todo and crew
                else None
            )
            waiting.append((row, copy, job))
            if len(waiting) > 2 * WORKERS:
                yield self._picture(stores, *waiting.popleft())
        while waiting:
            yield self._picture(stores, *waiting.popleft())

    def _picture(
        self, stores: Shown, row: Mapping[str, Any], copy: dict[str, Any], job: Future[None] | None
    ) -> Picture:
        thumb = thumbnail_name(row["sha256"]) if self.thumbnails else None
        try:
            if job is not None:
                job.result()
        except (ArchiverError, OSError) as error:
            thumb = None
            self.failed += 1
            if self.failed <= MOST_TROUBLES:
                self.troubles.append(f"{row['image_id']}: {error}")
        self.shown += 1
        self.tell(self.shown)
        full, dies = self._address(stores, copy["store"], copy["key"])
        same = ("revised_prompt", "model", "provider", "job", "tags", "parents", "size", "width", "height")
        given = {name.removesuffix("_prompt"): row[name] for name in same}
        return Picture(
            id=row["image_id"],
            prompt=row["prompt"],
            draft=row["role"] == "draft",
            store=copy["store"],
            key=copy["key"],
            extension=row["extension"] or "bin",
            cost=None if row["cost_usd"] is None else round(row["cost_usd"], 6),
            made=row["created_at"],
            archived=copy["confirmed_at"],
            full=full,
            dies=dies.isoformat(timespec="seconds") if dies else None,
            thumb=thumb,
            **given,
        )

    def _address(self, stores: Shown, store: str, key: str) -> tuple[str | None, datetime | None]:
        """Where the full image is, and when that ends: the permanent address, the file, or a signed address."""
        if public := stores.public(store, key):
            return public, None
        if file := stores.file(store, key):
            beside = quote(os.path.relpath(file, self.folder.resolve()), safe="/~")
            return beside if beside.startswith("../") else f"./{beside}", None
        if self.presign is not None:
            return stores.signed(store, key, self.presign), now() + self.presign
        return None, None


class _Crew:
    """Workers, each with a child process of its own."""

    def __init__(self, stores: Shown, stack: ExitStack) -> None:
        self._stores = stores
        self._free: queue.SimpleQueue[Thumbnailer] = queue.SimpleQueue()
        for _ in range(min(WORKERS, os.cpu_count() or 1)):
            self._free.put(stack.enter_context(Thumbnailer()))
        self._pool = stack.enter_context(ThreadPoolExecutor(WORKERS, "thumbnails"))
        stack.callback(self._pool.shutdown, cancel_futures=True)

    def start(self, store: str, copy: Mapping[str, Any], target: Path) -> "Future[None]":
        """Make one thumbnail, when its turn comes."""
        return self._pool.submit(self._make, store, copy, target)

    def _make(self, store: str, copy: Mapping[str, Any], target: Path) -> None:
        data = self._stores.whole(store, copy)
        thumbnailer = self._free.get()
        try:
            small = thumbnailer.shrink(data)
        finally:
            self._free.put(thumbnailer)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{os.getpid()}-{id(small)}.part")  # two images may have the same bytes
        part.write_bytes(small)
        part.replace(target)


__all__ = ["THUMBS", "Exhibition"]
