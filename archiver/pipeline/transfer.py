"""Copy one image: fetch, verify, put, confirm. The seam for scale-out.

It knows no catalogue: a ticket goes in, an outcome comes out, and an error of the outside is a value in it. It makes
one attempt and never waits to try again: the catalogue reschedules. When a store does not confirm, the bytes are
rescued to the spool, so that the source's expiry no longer matters. When spool and source have failed, a store that has
confirmed the image gives it back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from archiver.core import policy
from archiver.core.errors import AdapterError, Corrupt, KeyTaken, Permanent, Throttled, Transient
from archiver.core.headers import header_expiry
from archiver.core.imagefile import identify
from archiver.core.model import Evidence, Failure, Fetched, ImageInfo, Outcome, Receipt, Ticket, Want
from archiver.core.ports import Store
from archiver.core.redaction import redact
from archiver.core.tempurl import TemporaryURL
from archiver.pipeline.spool import Spool
from archiver.transport import Body, FetchedBody, aside, at_work, fast_crc32

METADATA_VERSION = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The bytes, if any, and what was learned on the way to them. `info` is None for bytes that we held already."""

    body: Body | None = None
    info: ImageInfo | None = None
    failures: list[Failure] = field(default_factory=list)
    evidence: tuple[Evidence, ...] = ()
    spooled: str | None = None


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
        found = self._look_for(ticket)
        if found.body is None:
            return Outcome(ticket=ticket, fetched=None, failures=tuple(found.failures), evidence=found.evidence)
        with found.body as body:
            info = describe(body) if found.info is None else found.info
            fetched = Fetched(sha256=body.sha256, size=body.size, info=info, at=self.now())
            return self._put_all(ticket, found, body, fetched)

    def _look_for(self, ticket: Ticket) -> "_Found":
        """The image's bytes: from the spool, or else from the source, or else from a store that has them already."""
        try:
            if ticket.spooled is not None:
                return _Found(body=aside(partial(self._from_spool, ticket.spooled, ticket.sha256)))
            return self._from_source(ticket)
        except AdapterError as error:
            found = _Found(failures=[_failure("fetch", error)], evidence=header_expiry(error.headers, self.now()))
            # What cannot be read now may be well. And the source has its turn at its own gate, with the next attempt.
            if ticket.spooled is not None and (ticket.url is not None or not isinstance(error, Corrupt)):
                return found
        return self._from_copies(ticket, found)

    def _from_spool(self, name: str, sha256: str | None) -> Body:
        try:
            body = Body.from_file(self.spool.path(name))
        except FileNotFoundError as error:
            raise Corrupt("the spool file is gone") from error
        except OSError as error:  # the bytes may be well: too many open files, a disk that stutters
            raise Transient(f"the spool file cannot be read: {error.strerror}") from error
        if body.sha256 == sha256:
            return body
        body.close()
        raise Corrupt("the spool file no longer holds the bytes that were put there")

    def _from_source(self, ticket: Ticket) -> "_Found":
        if ticket.url is None:
            raise Permanent("the image has neither a URL nor a spool file; requeue it with a fresh URL")
        fetched = self.fetch(ticket.url)
        try:
            if ticket.copies and ticket.sha256 not in (None, fetched.body.sha256):
                # Two copies of one image must not differ: what a store confirmed is the image.
                raise Corrupt("the source sends other bytes than those that a store has confirmed")
            info = at_work(partial(identify, fetched.body.view(), fast_crc32), fetched.body.size)
        except BaseException as error:
            fetched.body.close()
            if isinstance(error, AdapterError):
                error.headers = fetched.headers
            raise
        return _Found(body=fetched.body, info=info, evidence=header_expiry(fetched.headers, self.now()))

    def _from_copies(self, ticket: Ticket, found: "_Found") -> "_Found":
        """Bring the bytes back into the spool from the first store that still gives those that it confirmed."""
        for copy in ticket.copies if ticket.sha256 else ():
            try:
                pieces = self._store(copy.store).open(copy.key)
                name = aside(partial(self.spool.refill, ticket.image_id, ticket.sha256 or "", pieces))
                return replace(found, body=aside(partial(self._from_spool, name, ticket.sha256)), spooled=name)
            except AdapterError as error:
                found.failures.append(_failure("fetch", error, copy.store))
            except Exception as error:  # noqa: BLE001 - a fault of ours in one store must not hide the next one
                unexpected = Transient(f"unexpected {type(error).__name__}: {error}")
                found.failures.append(_failure("fetch", unexpected, copy.store))
        return found

    def _put_all(self, ticket: Ticket, found: "_Found", body: Body, fetched: Fetched) -> Outcome:
        receipts: list[Receipt] = []
        failures: list[Failure] = []
        for want in ticket.wants:
            try:
                receipts.append(self._put(ticket, want, body, fetched))
            except AdapterError as error:
                failures.append(_failure("put", error, want.store))
            except Exception as error:  # noqa: BLE001 - a fault of our own must not cost the bytes that we hold
                failures.append(_failure("put", Transient(f"unexpected {type(error).__name__}: {error}"), want.store))
        spooled = found.spooled
        if failures and ticket.spooled is None and spooled is None:
            try:
                spooled = aside(partial(self.spool.keep, ticket.image_id, body))
            except AdapterError as error:
                failures.append(_failure("put", error))
        return Outcome(
            ticket=ticket,
            fetched=fetched,
            receipts=tuple(receipts),
            failures=(*found.failures, *failures),
            spooled=spooled,
            evidence=found.evidence,
        )

    def _store(self, name: str) -> Store:
        store = self.stores.get(name)
        if store is None:
            raise Permanent(f"store {name!r} is not in the configuration any more")
        return store

    def _put(self, ticket: Ticket, want: Want, body: Body, fetched: Fetched) -> Receipt:
        store = self._store(want.store)
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
        return identify(body.view(), fast_crc32)
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
