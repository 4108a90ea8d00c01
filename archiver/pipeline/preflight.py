"""Before money is spent: could we keep the result? Asked for every generation, before it is committed as submitted.

A store must have shown that it takes images, the spool must have room for an outage, and the disk for the answers that
are under way. A refusal touches nothing: what is planned stays planned, the reason is told once, and the store is
probed again after a pause. Nothing is deleted here, and nothing but the one fixed key `_canary/probe` is written.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from archiver.catalogue import Catalogue, Wanted
from archiver.core import policy
from archiver.core.errors import AdapterError, KeyTaken
from archiver.core.ports import Provider, Store
from archiver.core.redaction import redact
from archiver.resilience import Gates
from archiver.transport import Body

PROBE_KEY = "_canary/probe"
PROBE = b"archiver puts this here to see whether the store takes images\n"
#: How soon a spool that is too full, or a disk, is worth another look.
LOOK_AGAIN = timedelta(seconds=30)
GIGABYTE = 1000**3

log = structlog.get_logger("archiver")


@dataclass(slots=True)
class _Probed:
    """The last probe of one store: what came of it, and until when that counts."""

    at: datetime
    until: datetime
    word: str | None = None
    said: str = ""
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """Says what may be asked for. `free` tells the bytes that are free on the disk of the data folder; `min_free` and
    `spool_max` are in bytes. Threads share an instance."""

    catalogue: Catalogue
    stores: Mapping[str, Store]
    gates: Gates
    free: Callable[[], int]
    min_free: int
    spool_max: int
    now: Callable[[], datetime]
    luck: Callable[[], float]
    _probed: dict[str, _Probed] = field(default_factory=dict)
    _probing: set[str] = field(default_factory=set)
    _refusals: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def refusals(self) -> Sequence[str]:
        """Why something is not asked for at this moment: sentences for people, none when all is well."""
        with self._lock:
            return tuple(self._refusals.values())

    @property
    def fit_stores(self) -> Collection[str]:
        """The stores that money may be spent for, as far as is known; none while the spool or the disk is too full."""
        with self._lock:
            is_stopped = "spool" in self._refusals or "disk" in self._refusals
            return () if is_stopped else [name for name in self.stores if _store(name) not in self._refusals]

    def fit(self, wanted: Wanted) -> Collection[str]:
        """Those of the wanted stores for which money may be spent. May probe a store: not for a thread that holds
        anything. A store that another thread is probing is not fit yet."""
        if not self._is_spool_fit():
            return ()
        return [name for name in wanted.stores if self._is_store_fit(name)]

    def has_room(self, provider: Provider, images: int, providers: Mapping[str, Provider]) -> bool:
        """Whether the disk has room for one more request for so many images, beside all that are under way."""
        own = (0, images) if provider.promise.inline else (1, 0)
        urls, inline = own
        for name, (requests, asked) in self.catalogue.fitness.under_way().items():
            if name in providers and providers[name].promise.inline:
                inline += asked
            else:
                urls += requests
        free = self.free()
        needed = policy.disk_needed(self.min_free, urls=own[0], inline=own[1])
        if free < needed:
            return self._tell(
                "disk",
                f"the disk of data_dir has {_size(free)} free, and {_size(needed)} are needed to ask for one image"
                " ([archiver] min_free): free some space",
            )
        self._tell("disk", None)
        # What is under way gives its room back soon: that is no news.
        return free >= policy.disk_needed(self.min_free, urls=urls, inline=inline)

    def may_take_in(self) -> bool:
        """Whether there is room for one more image that is ready: in the spool, and on the disk."""
        return self._is_spool_fit() and self.may_write()

    def may_write(self) -> bool:
        """Whether the disk has room for one more image."""
        return self.free() >= policy.disk_needed(self.min_free, urls=0, inline=1)

    def again_at(self) -> datetime:
        """When what is refused now may be worth another look."""
        with self._lock:
            times = [probed.until for name, probed in self._probed.items() if _store(name) in self._refusals]
        return min(times, default=self.now() + LOOK_AGAIN)

    def _is_spool_fit(self) -> bool:
        held = self.catalogue.fitness.spooled_bytes()
        if not policy.is_spool_full(held, self.spool_max):
            return self._tell("spool", None)
        return self._tell(
            "spool",
            f"{_size(held)} of images wait in the spool for a store, of {_size(self.spool_max)} ([archiver] spool_max):"
            " mend the store, or allow more; `archiver images --state spooled` says why they wait",
        )

    def _is_store_fit(self, name: str) -> bool:
        store = self.stores.get(name)
        if store is None:
            return self._tell(_store(name), f"store {name!r} is not in the configuration any more: configure it again")
        now = self.now()
        confirmed = self.catalogue.fitness.last_confirmed(name)
        refused = self.gates.refused_at(name)
        if refused is None and confirmed is not None and abs(now - confirmed) <= policy.CANARY_LIFE:
            return self._tell(_store(name), None)
        with self._lock:
            known = self._probed.get(name)
            if known is None or _is_over(known, now, refused):
                if name in self._probing:
                    return False
                self._probing.add(name)
                known = None
        if known is None:
            known = self._probe(store, now)
        if policy.may_spend(known.word, ever_worked=confirmed is not None):
            return self._tell(_store(name), None)
        worked = "" if confirmed else " (it has never taken an image yet)"
        return self._tell(_store(name), f"store {name!r} does not take images{worked}: {known.said}")

    def _probe(self, store: Store, now: datetime) -> _Probed:
        """Put the canary, and remember what came of it."""
        before = self._probed.get(store.name)
        body = Body.of(PROBE)
        prefix = f"{store.prefix.strip('/')}/" if store.prefix.strip("/") else ""
        word, said = None, ""
        try:
            store.put_new(prefix + PROBE_KEY, body, "text/plain", {"archiver-kind": "canary", "sha256": body.sha256})
        except KeyTaken:  # an older archiver's canary: the store works
            pass
        except AdapterError as error:
            word, said = error.word, redact(str(error))
        except Exception as error:  # noqa: BLE001 - a fault of our own: do not spend on it
            word, said = "permanent", redact(f"unexpected {type(error).__name__}: {error}")
        failures = 0 if word is None else 1 + (before.failures if before else 0)
        pause = policy.probe_again(failures, self.luck()) if failures else policy.CANARY_LIFE
        probed = _Probed(at=self.now(), until=now + pause, word=word, said=said, failures=failures)
        with self._lock:
            self._probed[store.name] = probed
            self._probing.discard(store.name)
        return probed

    def _tell(self, subject: str, reason: str | None) -> bool:
        """Remember how `subject` stands, and say so when that is news. Returns whether it is fit."""
        with self._lock:
            before = self._refusals.pop(subject, None)
            if reason is not None:
                self._refusals[subject] = reason
        if reason is not None and before is None:
            log.error("nothing is asked for", reason=reason)
        elif reason is None and before is not None:
            log.warning("asking again", after=before)
        return reason is None


def _is_over(known: _Probed, now: datetime, refused: datetime | None) -> bool:
    if known.word is None and refused is not None and refused > known.at:
        return True  # it has denied a put since
    return not known.at <= now < known.until


def _store(name: str) -> str:
    return f"store {name}"


def _size(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB" if count >= GIGABYTE else f"{count / 1000**2:.0f} MB"
