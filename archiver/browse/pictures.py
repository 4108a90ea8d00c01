"""The pictures that a page of the catalogue shows: bytes out of a store, small where Pillow is there to make them so.

Small ones are kept in memory, up to a number; nothing is written. What is no image is never called one.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from archiver.core.errors import ArchiverError
from archiver.gallery import Thumbnailer

MOST_KEPT = 2000
#: Types that a browser shows and that can hold no script.
SHOWN = frozenset({"image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"})


@dataclass
class Pictures:
    """`find` gives the archived bytes of an image with its content type (None: it has none here); `public` the
    permanent address of a row's object, where it has one."""

    find: Callable[[str], tuple[bytes, str | None] | None]
    public: Callable[[Mapping[str, Any]], str | None]
    thumbnailer: Thumbnailer
    _kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def whole(self, image_id: str) -> tuple[bytes, str] | None:
        """The bytes, and a type that may be told to a browser."""
        found = self._found(image_id)
        if found is None:
            return None
        data, content_type = found
        return data, content_type if content_type in SHOWN else "application/octet-stream"

    def small(self, image_id: str) -> tuple[bytes, str] | None:
        """A thumbnail; the whole image where none can be made here; None when there is nothing to show."""
        if not self.thumbnailer.is_possible():
            return self.whole(image_id)
        with self._lock:
            if image_id in self._kept:
                self._kept.move_to_end(image_id)
                return self._kept[image_id], "image/webp"
            found = self._found(image_id)
            try:
                made = None if found is None else self.thumbnailer.shrink(found[0])
            except ArchiverError:
                made = None
            if made is None:
                return None
            self._kept[image_id] = made
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return made, "image/webp"

    def _found(self, image_id: str) -> tuple[bytes, str | None] | None:
        try:
            return self.find(image_id)
        except ArchiverError:  # a store that cannot be reached now: the rows are still worth a look
            return None
