"""Renewal: a fresh URL for an image whose own is dead, where the provider tells its result again.

Asking for a result is free, and the image may still be there under another URL. It never makes an image lost and never
takes one from somebody who works on it; how often it asks is decided in `core.polling`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from archiver.catalogue import Catalogue, Dead
from archiver.core import polling
from archiver.core.errors import AdapterError, Corrupt
from archiver.core.kept_headers import KEPT_HEADERS
from archiver.core.model import Answer, Completed
from archiver.core.ports import Provider
from archiver.core.redaction import redact
from archiver.pipeline.reception import Reception

MOST_AT_ONCE = 100
"""Images in one round: the nearest deadlines; the others have their turn in the next one."""


@dataclass(slots=True)
class _Held:
    """An answer in memory, as `core.ports.AnswerSink`: it can be had again, so it needs no file."""

    now: Callable[[], datetime]
    pieces: list[bytes] = field(default_factory=list)
    head: tuple[int, str, Mapping[str, str], datetime] | None = None

    def begin(self, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        kept = {name.lower(): value for name, value in (headers or {}).items() if name.lower() in KEPT_HEADERS}
        self.head = status, content_type, kept, self.now()

    def write(self, piece: bytes) -> None:
        self.pieces.append(piece)


def ask_again(provider: Provider, handle: str, now: Callable[[], datetime]) -> Answer:
    """What a provider says of accepted work, beside the inbox, where the first answer may still lie. Raises as
    `Provider.poll` does."""
    held = _Held(now)
    provider.poll(handle, held)
    if held.head is None:
        raise Corrupt(f"{provider.name} answered nothing")
    status, content_type, headers, received_at = held.head
    return Answer(
        status=status,
        content_type=content_type,
        body=b"".join(held.pieces),
        received_at=received_at,
        headers=headers,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """Over one catalogue."""

    catalogue: Catalogue
    providers: Mapping[str, Provider]
    reception: Reception
    now: Callable[[], datetime]

    def renew(self) -> int:
        """Ask for fresh URLs where they are due, once per generation. Returns how many images got one."""
        able = [name for name, provider in self.providers.items() if provider.promise.renews]
        if not able:
            return 0
        now = self.now()
        found = self.catalogue.awaiting.dead(able, now, now - polling.RENEW_APART, MOST_AT_ONCE)
        due = [
            dead
            for dead in found
            if polling.may_renew(
                now=now, deadline=dead.deadline, refused=dead.refused_at, asked_at=dead.asked_at, asked=dead.asked
            )
        ]
        due.sort(key=lambda dead: dead.generation_id)
        return sum(self._renew(list(group)) for _, group in groupby(due, key=lambda dead: dead.generation_id))

    def _renew(self, group: list[Dead]) -> int:
        """The images of one generation."""
        awaiting = self.catalogue.awaiting
        group = [dead for dead in group if awaiting.begin_renewal(dead.image_id, dead.asked_at, self.now())]
        if not group:
            return 0
        provider = self.providers[group[0].provider]
        try:
            answer = ask_again(provider, group[0].handle, self.now)
            result = provider.read(answer)
        except Exception as error:  # noqa: BLE001 - it costs nothing, and the images keep their place
            words = str(error) if isinstance(error, AdapterError) else f"unexpected {type(error).__name__}"
            return self._refused(group, redact(words))
        if not isinstance(result, Completed):
            return self._refused(group, "the provider says that the work still runs")
        renewed = 0
        outputs = {output.index: output for output in result.outputs if output.url is not None}
        by_identity = {output.url.identity: output for output in outputs.values() if output.url is not None}
        for dead in group:
            # The same object, signed anew, wherever it stands now; a provider may tell its images in another order.
            output = by_identity.get(dead.identity or "") or outputs.get(dead.index)
            if output is not None and awaiting.renew(
                dead, self.reception.arrival(provider, output, answer.received_at), self.now()
            ):
                renewed += 1
            else:
                self._refused([dead], "the provider has no fresher URL")
        return renewed

    def _refused(self, group: list[Dead], reason: str) -> int:
        for dead in group:
            self.catalogue.awaiting.not_renewed(dead, reason, self.now())
        return 0
