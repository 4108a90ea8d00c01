"""Copy one image: fetch, verify, put, confirm. The seam for scale-out.

It knows no catalogue: a ticket goes in, an outcome comes out, and an error of the outside is a value in it. It makes
one attempt and never waits to try again: the catalogue reschedules. When a store does not confirm, the bytes are
rescued to the spool, so that the source's expiry no longer matters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from archiver.core import policy
from archiver.core.errors import AdapterError, Corrupt, KeyTaken, Permanent, Throttled, Transient
from archiver.core.imagefile import identify
from archiver.core.model import Failure, Fetched, ImageInfo, Outcome, Receipt, Ticket, Want
from archiver.core.ports import Store
from archiver.core.redaction import redact
from archiver.core.tempurl import TemporaryURL
from archiver.pipeline.spool import Spool
from archiver.transport import Body, FetchedBody

METADATA_VERSION = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """What a transfer needs of the world."""

    fetch: Callable[[TemporaryURL], FetchedBody]
    stores: Mapping[str, Store]
    spool: Spool
    key_template: str
    now: Callable[[], datetime]

    def transfer(self, ticket: Ticket) -> Outcome:
        """Make one attempt to bring `ticket`'s image into every store that wants it."""
        if not ticket.wants:
            return Outcome(ticket=ticket, fetched=None)
        try:
            body = self._bytes(ticket)
        except AdapterError as error:
            return Outcome(ticket=ticket, fetched=None, failures=(_failure("fetch", error),))
        with body:
            try:
                info = describe(body) if ticket.spooled else identify(body.view())
            except Corrupt as error:
                return Outcome(ticket=ticket, fetched=None, failures=(_failure("fetch", error),))
            fetched = Fetched(sha256=body.sha256, size=body.size, info=info, at=self.now())
            return self._put_all(ticket, body, fetched)

    def _bytes(self, ticket: Ticket) -> Body:
        """The image's bytes from the spool, or else from its source."""
        if ticket.spooled is not None:
            try:
                body = Body.from_file(self.spool.path(ticket.spooled))
            except FileNotFoundError as error:
                raise Corrupt("the spool file is gone") from error
            except OSError as error:  # the bytes may be well: too many open files, a disk that stutters
                raise Transient(f"the spool file cannot be read: {error.strerror}") from error
            if body.sha256 == ticket.sha256:
                return body
            body.close()
            raise Corrupt("the spool file no longer holds the bytes that were put there")
        if ticket.url is None:
            raise Permanent("the image has neither a URL nor a spool file; requeue it with a fresh URL")
        return self.fetch(ticket.url).body

    def _put_all(self, ticket: Ticket, body: Body, fetched: Fetched) -> Outcome:
        receipts: list[Receipt] = []
        failures: list[Failure] = []
        for want in ticket.wants:
            try:
                receipts.append(self._put(ticket, want, body, fetched))
            except AdapterError as error:
                failures.append(_failure("put", error, want.store))
            except Exception as error:  # noqa: BLE001 - a fault of our own must not cost the bytes that we hold
                failures.append(_failure("put", Transient(f"unexpected {type(error).__name__}: {error}"), want.store))
        spooled = None
        if failures and ticket.spooled is None:
            try:
                spooled = self.spool.keep(ticket.image_id, body)
            except AdapterError as error:
                failures.append(_failure("put", error))
        return Outcome(
            ticket=ticket, fetched=fetched, receipts=tuple(receipts), failures=tuple(failures), spooled=spooled
        )

    def _put(self, ticket: Ticket, want: Want, body: Body, fetched: Fetched) -> Receipt:
        store = self.stores.get(want.store)
        if store is None:
            raise Permanent(f"store {want.store!r} is not in the configuration any more")
        key = want.key or policy.permanent_key(
            self.key_template,
            prefix=store.prefix,
            job=ticket.job,
            created=ticket.created_at,
            image_id=ticket.image_id,
            sha256=fetched.sha256,
            ext=fetched.info.extension,
        )
        metadata = {"archiver-id": ticket.image_id, "sha256": fetched.sha256, "v": METADATA_VERSION}
        try:
            return store.put_new(key, body, fetched.info.content_type, metadata)
        except KeyTaken:
            other = policy.alternative_key(key, fetched.sha256)
            return store.put_new(other, body, fetched.info.content_type, metadata)


def describe(body: Body) -> ImageInfo:
    """What bytes are that we hold already, and that nobody can send again: even what is no image is kept, as `bin`."""
    try:
        return identify(body.view())
    except Corrupt as error:
        return ImageInfo(content_type="application/octet-stream", extension="bin", verdict=str(error))


def _failure(stage: str, error: AdapterError, store: str | None = None) -> Failure:
    return Failure(
        stage="fetch" if stage == "fetch" else "put",
        word=error.word,
        message=redact(str(error)),
        store=store,
        retry_after=error.retry_after if isinstance(error, Throttled) else None,
    )
