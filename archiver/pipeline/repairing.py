"""Bringing back what a check found missing: from another copy, from the spool, or else it is named.

Bytes are hashed on their way into the spool; then transfer and settlement do what they always do, with a new key where
the old one holds other bytes. A lineage record that is gone is written anew. Nothing is deleted, in no store. Whoever
dies in the middle of it leaves images that are missing or spooled: the next repair, and the next drain, go on from
there.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.catalogue import Catalogue, Owner
from archiver.catalogue.audit_marks import Patient
from archiver.core.auditing import OF_COPIES, OF_THE_SPOOL
from archiver.core.errors import AdapterError, Corrupt, Gone, Permanent
from archiver.core.model import Ticket
from archiver.core.ports import Store
from archiver.core.redaction import redact
from archiver.pipeline import lineage
from archiver.pipeline.settler import Settler
from archiver.pipeline.spool import Spool
from archiver.pipeline.transfer import Carrier
from archiver.pipeline.turns import LEASE
from archiver.transport import Body

#: Images at once, which is what the spool has to hold.
BATCH = 64
THREADS = 8
MENDED = "repaired"
NOWHERE = "no good copy is left; `archiver requeue` takes a fresh URL"
ON_ITS_WAY = "waits for a store; `archiver drain` goes on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """Acts on what an examination noted in `catalogue.audit`. `stores` are all that the configuration names."""

    catalogue: Catalogue
    owner: Owner
    stores: Mapping[str, Store]
    spool: Spool
    carrier: Carrier
    settler: Settler
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    def run(self) -> None:
        """Mend what can be mended, and say of each finding what became of it."""
        for owner in self.catalogue.images.claimants():
            if not self.owner.is_alive(owner):
                self.catalogue.images.free(owner)
        with ThreadPoolExecutor(THREADS, "repair") as threads:
            for page in self.catalogue.audit.images():
                for start in range(0, len(page), BATCH):
                    self._mend(page[start : start + BATCH], threads)
            self._go_on(threads)
        for name, store in self.stores.items():
            self._record_anew(name, store)

    def _mend(self, image_ids: Sequence[str], threads: Executor) -> None:
        marks, now = self.catalogue.audit_marks, self.now()
        marks.miss(image_ids, now)
        patients = marks.patients(image_ids)
        sought = [item for item in patients if item.state == "missing" or (item.state == "spooled" and item.sha256)]
        found = dict(zip(sought, threads.map(self._bring_back, sought), strict=True))
        missing = {
            item.image_id: (f"{item.image_id}.{item.sha256}", place)
            for item, (place, _) in found.items()
            if place and item.state == "missing"
        }
        self._carry(marks.recover(missing, self.owner.id, self.now(), self.now() + LEASE), threads)
        states = marks.states(image_ids)
        fates = {
            image_id: MENDED if state == "stored" else ON_ITS_WAY if state in ("spooled", "pending") else NOWHERE
            for image_id, state in states.items()
        }
        fates |= {item.image_id: trouble for item, (_, trouble) in found.items() if trouble}
        self.catalogue.audit.settle(fates, OF_COPIES)
        in_spool = {item.image_id: MENDED if place else trouble or NOWHERE for item, (place, trouble) in found.items()}
        self.catalogue.audit.settle(in_spool, OF_THE_SPOOL)

    def _bring_back(self, patient: Patient) -> tuple[str, str]:
        """Bring the bytes of one image into the spool. Returns where from (empty: from nowhere), and what speaks
        against calling them gone. Runs beside others; touches no catalogue."""
        if _is_in(self.spool, patient):
            return "the spool", ""
        troubles = []
        for copy in patient.places:
            store = self.stores.get(copy.store)
            try:
                if store is None:
                    raise Permanent(f"store {copy.store!r} is not in the configuration any more")
                self.spool.refill(patient.image_id, patient.sha256 or "", store.open(copy.key))
            except (Gone, Corrupt):
                continue
            except AdapterError as error:
                troubles.append(redact(str(error)))
            else:
                return copy.store, ""
        return "", f"not brought back yet: {'; '.join(troubles)}" if troubles else ""

    def _carry(self, tickets: Sequence[Ticket], threads: Executor) -> None:
        if tickets:
            self.settler.settle(list(threads.map(self.carrier.transfer, tickets)))

    def _go_on(self, threads: Executor) -> None:
        """Try once what an earlier repair left in the spool."""
        started = self.now()
        while (generations := self.catalogue.audit_marks.left_behind()) and (
            tickets := self.catalogue.images.claim(
                self.owner.id, started, LEASE, limit=BATCH, tried_before=started, generations=generations
            )
        ):
            self._carry(tickets, threads)

    def _record_anew(self, name: str, store: Store) -> None:
        marks, audit = self.catalogue.audit_marks, self.catalogue.audit
        for page in audit.unrecorded(name):
            old = dict(page)
            recorded = marks.recorded(name, list(old))
            copies = {image_id: row for image_id, row in recorded.items() if row["lineage_key"] == old[image_id]}
            done = set(recorded) - set(copies)  # its copy was put again, and recorded with it
            audit.settle(dict.fromkeys(set(old) - set(recorded), "its copy is missing"), ("unrecorded",), name)
            try:
                done |= self._record(store, copies)
            except AdapterError as error:
                fate = f"not written: {redact(str(error))}"
                audit.settle(dict.fromkeys(copies, fate), ("unrecorded",), name)
            audit.settle(dict.fromkeys(done, MENDED), ("unrecorded",), name)

    def _record(self, store: Store, copies: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """One new record for many copies, as it would have been written with them."""
        if not copies:
            return set()
        now, ids = self.now(), list(copies)
        facts = self.catalogue.records.of(ids)
        lines = []
        for image_id, row in copies.items():
            said = facts[image_id] | {"image": facts[image_id]["image"] | {"claim": row["claim"]}}
            lines.append(lineage.record(said, row, row["confirmed_at"]))
        key = lineage.write(store, lines, self.new_id(), now)
        old = {image_id: str(row["lineage_key"]) for image_id, row in copies.items()}
        return self.catalogue.audit_marks.record(store.name, old, key, now)


def plan(catalogue: Catalogue, stores: Collection[str], spool: Spool) -> None:
    """Say of each finding what a repair would do, and do nothing. `stores` are all that the configuration names."""
    for page in catalogue.audit.images():
        patients = catalogue.audit_marks.patients(page)
        fates = {item.image_id: _prospect(item, stores, spool) for item in patients}
        catalogue.audit.settle(fates, (*OF_COPIES, *OF_THE_SPOOL))
    for name in stores:
        for records in catalogue.audit.unrecorded(name):
            fates = dict.fromkeys((image_id for image_id, _ in records), "would be recorded anew")
            catalogue.audit.settle(fates, ("unrecorded",), name)


def _prospect(patient: Patient, stores: Collection[str], spool: Spool) -> str:
    if _is_in(spool, patient):
        return "would be brought back from the spool"
    places = [copy.store for copy in patient.places if copy.store in stores and not copy.is_bad]
    return f"would be brought back from {places[0]}" if places else NOWHERE


def _is_in(spool: Spool, patient: Patient) -> bool:
    try:
        with Body.from_file(spool.path(f"{patient.image_id}.{patient.sha256}")) as body:
            return body.sha256 == patient.sha256
    except OSError:
        return False
