"""Where archived images can be seen: the public address of a copy, its file, its bytes.

It signs only when it was asked to, and keeps nothing it signed.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes, urlsplit

from archiver.config import Config
from archiver.core.errors import Corrupt
from archiver.core.ports import Store
from archiver.wiring.reading import open_store


class Shown:
    """The stores of a configuration, opened when first needed and closed at the end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._open: dict[str, Store] = {}
        self._stack = ExitStack()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Open nothing yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close what was opened."""
        self._stack.close()

    def choose(self, copies: list[dict[str, Any]], store: str | None = None) -> dict[str, Any] | None:
        """The confirmed copy to show: of `store`, else of the first store that is configured."""
        of_store = {copy["store"]: copy for copy in copies}
        names = [store] if store is not None else list(self._config.stores)
        return next((of_store[name] for name in names if name in of_store and name in self._config.stores), None)

    def public(self, store: str, key: str) -> str | None:
        """The permanent address of an object, where its store has `public_base_url`."""
        base = self._config.stores[store].settings.get("public_base_url")
        return f"{str(base).rstrip('/')}/{quote(key, safe='/~')}" if base else None

    def file(self, store: str, key: str) -> Path | None:
        """The file of an object, where its store is a folder."""
        if self._config.stores[store].scheme != "file":
            return None
        address = self._store(store).presign(key, timedelta(0))
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(address).path)))

    def root(self, store: str) -> Path | None:
        """The folder of a store that is one."""
        section = self._config.stores[store]
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(section.url).path))) if section.scheme == "file" else None

    def signed(self, store: str, key: str, lifetime: timedelta) -> str:
        """An address that shows an object and dies after `lifetime`."""
        return self._store(store).presign(key, lifetime)

    def pieces(self, store: str, key: str) -> Iterator[bytes]:
        """The bytes of an object as they come. Raises AdapterError."""
        return self._store(store).open(key)

    def whole(self, store: str, copy: Mapping[str, Any]) -> bytes:
        """All bytes of an object, compared with `sha256` of `copy`. Raises AdapterError."""
        data = b"".join(self.pieces(store, copy["key"]))
        if hashlib.sha256(data).hexdigest() != copy["sha256"]:
            raise Corrupt(f"{store}: {copy['key']} holds other bytes than were archived")
        return data

    def _store(self, name: str) -> Store:
        with self._lock:
            if name not in self._open:
                self._open[name] = self._stack.enter_context(open_store(self._config, name))
            return self._open[name]
