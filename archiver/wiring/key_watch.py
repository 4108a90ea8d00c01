"""Word of keys, from the adapters to the log and the catalogue.

It comes from a thread that has just paid: whatever goes wrong here is logged, and never stands in its way. No key is
ever seen here, only the reference under which it is kept.
"""

import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from archiver.catalogue import Catalogue
from archiver.core.news import KeyNews

log = structlog.get_logger("archiver")


class KeyWatch:
    """Takes `KeyNews`. Threads share an instance."""

    def __init__(self, catalogue: Catalogue, now: Callable[[], datetime]) -> None:
        self._catalogue = catalogue
        self._now = now
        self._lock = threading.Lock()
        #: Keys that worked in this process: the catalogue need not hear it of every request.
        self._working: set[tuple[str, str]] = set()

    def __call__(self, news: KeyNews) -> None:
        """Remember what is news, and log it. Raises nothing."""
        key = (news.provider, news.reference)
        with self._lock:
            if not news.refused and key in self._working:
                return
            (self._working.discard if news.refused else self._working.add)(key)
        try:
            if not self._catalogue.keys.hear(news, self._now()):
                return
        except Exception as error:  # noqa: BLE001 - the request that was paid for goes on
            log.warning("a key's state was not recorded", provider=news.provider, error=type(error).__name__)
        if news.refused:
            log.warning("key refused", provider=news.provider, key=news.reference, keys=news.keys)
        else:
            log.info("key works", provider=news.provider, key=news.reference)
