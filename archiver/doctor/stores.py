"""Whether a store does what archiving asks of it, tried for real with the one fixed key `_canary/probe`.

Nothing else is written, and what is found under that key is put back where a server let it be overwritten.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from archiver.core.bucket_rules import BucketRule
from archiver.core.errors import AdapterError, KeyTaken
from archiver.core.model import HttpReply
from archiver.core.ports import Ruled, Store
from archiver.doctor import endpoints
from archiver.doctor.findings import Finding, bad, kept, ok, warn
from archiver.pipeline.preflight import PROBE, PROBE_KEY
from archiver.transport import Body
from archiver.wiring.examining import Bench

_OTHER = b"archiver asks whether a key that is taken can be overwritten; it must never be found here\n"
_MOST = 1024 * 1024
_LIFETIME = timedelta(minutes=5)
_PROOFS = {"x-amz-checksum-sha256": "checksum-sha256", "x-oss-hash-crc64ecma": "crc64"}
#: Without these no image is archived.
ESSENTIAL = ("connect", "put", "read")


@dataclass
class StoreTrial:
    """One store on the bench."""

    bench: Bench
    name: str
    subject: str = field(init=False)
    settings: Any = field(init=False, default=None)
    _reply: HttpReply | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.subject = f"store {self.name}"

    def run(self, *, offline: bool) -> Iterator[Finding]:
        """All findings. With `offline`, a store that is no folder is not asked."""
        try:
            self.settings = self.bench.settings("stores", self.name)
            store = self.bench.store(self.name)
        except AdapterError as error:
            yield bad(self.subject, "connect", str(error), endpoints.network_advice(str(error), "endpoint"))
            return
        yield from kept(self.subject, "endpoint", lambda: endpoints.mistakes(self.subject, self.settings))
        is_folder = str(getattr(self.settings, "url", "")).startswith("file:")
        if offline and not is_folder:
            return
        yield from self._try(store, is_folder=is_folder)

    def _try(self, store: Store, *, is_folder: bool) -> Iterator[Finding]:
        key = store.prefix + PROBE_KEY
        put = list(self._tried("put", lambda: self._put(store, key, is_folder=is_folder)))
        yield from put
        if any(finding.verdict == "bad" for finding in put):
            yield from self._tried("rules", lambda: self._rules(store))
            return
        held = bytearray()
        yield from self._tried("head", lambda: self._head(store, key, is_folder=is_folder))
        yield from self._tried("read", lambda: self._read(store, key, held))
        if held:
            yield from self._tried("overwrite", lambda: self._overwrite(store, key, bytes(held)))
        yield from self._tried("list", lambda: self._list(store), is_needed=False)
        if not is_folder:
            yield from self._tried("presign", lambda: self._presign(store, key, bytes(held)))
        yield from self._tried("public address", lambda: self._public(key, bytes(held)), is_needed=False)
        yield from self._tried("rules", lambda: self._rules(store), is_needed=False)

    def _tried(
        self, check: str, examine: Callable[[], Iterable[Finding]], *, is_needed: bool = True
    ) -> Iterator[Finding]:
        """What `examine` finds; an adapter's error in the words of `endpoints`."""
        before = len(self.bench.engine.heard)

        def examined() -> Iterator[Finding]:
            try:
                yield from examine()
            except AdapterError as error:
                heard = self.bench.engine.heard[before:]
                reply = heard[-1].reply if heard else None
                said = str(error).removeprefix(f"{self.name}: ")
                text, what = endpoints.advice(check, said, self.settings, reply)
                yield (bad if is_needed and check != "rules" else warn)(self.subject, check, text, what)

        yield from kept(self.subject, check, examined)

    def _put(self, store: Store, key: str, *, is_folder: bool) -> Iterator[Finding]:
        metadata = {"archiver-kind": "canary", "sha256": Body.of(PROBE).sha256}
        before = len(self.bench.engine.heard)
        try:
            receipt = store.put_new(key, Body.of(PROBE), "text/plain", metadata)
        except KeyTaken:
            yield ok(self.subject, "put", f"{key} is there already, with other bytes, and was left as it is")
            return
        is_new = is_folder or any(
            heard.method == "PUT" and heard.reply.status < 300 for heard in self.bench.engine.heard[before:]
        )
        how = f"proved by {receipt.proof}" if is_new else "was there already"
        yield ok(self.subject, "put", f"takes {key}: {how}")

    def _head(self, store: Store, key: str, *, is_folder: bool) -> Iterator[Finding]:
        head = store.head(key)
        if head is None:
            text = f"does not know of {key}, which it has just taken"
            yield warn(self.subject, "head", text, "a store that forgets for a while makes copies be tried again")
            return
        if is_folder:
            return
        headers = self.bench.engine.heard[-1].reply.headers
        proof = next((kind for name, kind in _PROOFS.items() if name in headers), None)
        if proof is None and (head.etag or "").lower() == Body.of(PROBE).md5():
            proof = "etag-md5"
        yield ok(self.subject, "proof", f"copies are proved by {proof or 'reading them back'}")
        if any(name.endswith("-meta-archiver-kind") for name in headers):
            yield ok(self.subject, "metadata", "is kept")
        else:
            text = "is not kept: an object does not tell by itself which image it is"
            yield warn(self.subject, "metadata", text, "nothing: the lineage records beside the objects tell it")

    def _read(self, store: Store, key: str, held: bytearray) -> Iterator[Finding]:
        for piece in store.open(key):
            held += piece[: _MOST - len(held)]
        if bytes(held) == PROBE:
            yield ok(self.subject, "read", "gives back what was put")
        else:
            text = f"{key} holds other bytes than archiver puts there"
            yield warn(self.subject, "read", text, f"delete {key} by hand, and run this again")

    def _overwrite(self, store: Store, key: str, held: bytes) -> Iterator[Finding]:
        """A server that lets it happen is given the old bytes back."""
        try:
            store.put_new(key, Body.of(_OTHER), "text/plain", {"archiver-kind": "canary"})
        except KeyTaken:
            now = b"".join(store.open(key))[:_MOST]
            if now == held:
                yield ok(self.subject, "overwrite", "a key that is taken stays as it is")
            else:
                text = "a put to a taken key was refused, and the object was changed all the same"
                yield bad(self.subject, "overwrite", text, "use another store: copies in this one are not safe")
            return
        store.put_new(key, Body.of(held), "text/plain", {"archiver-kind": "canary", "sha256": Body.of(held).sha256})
        text = "the server overwrites a key that is taken (it has no conditional writes)"
        advice = "switch on versioning if it has that; archiver itself never uses a key twice"
        yield warn(self.subject, "overwrite", text, advice)

    def _list(self, store: Store) -> Iterator[Finding]:
        if next(iter(store.list(store.prefix)), None) is not None:
            yield ok(self.subject, "list", f"lists what lies below {store.prefix or 'its root'}")
        else:
            text = f"lists nothing below {store.prefix or 'its root'}, where the probe lies"
            yield warn(self.subject, "list", text, "check and rebuild need a listing: ask whoever runs the server")

    def _presign(self, store: Store, key: str, held: bytes) -> Iterator[Finding]:
        address = store.presign(key, _LIFETIME)
        reply = self.bench.engine.send("GET", address, headers={})
        if reply.status == 200 and reply.body == held:
            yield ok(self.subject, "presign", "a signed address shows the object")
        else:
            text = f"a signed address was answered {reply.status}"
            yield warn(
                self.subject, "presign", text, "`archiver url` will not work: see whether a proxy changes requests"
            )
        if self.bench.engine.send("GET", address.partition("?")[0], headers={}).status == 200:
            text = "anybody can get objects without a signature, the prompts in _lineage/ and _catalogue/ among them"
            how = "make the bucket private, or deny anonymous reads of these two folders (docs/policies.md)"
            yield warn(self.subject, "anonymous", text, how)
        else:
            yield ok(self.subject, "anonymous", "nobody gets objects without a signature")

    def _public(self, key: str, held: bytes) -> Iterator[Finding]:
        base = getattr(self.settings, "public_base_url", None)
        if not base:
            return
        check = "public address"
        try:
            reply = self.bench.get(f"{str(base).rstrip('/')}/{quote(key, safe='/~')}")
        except AdapterError as error:
            advice = endpoints.network_advice(str(error), "public_base_url")
            yield warn(self.subject, check, f"public_base_url: {error}", advice)
            return
        if reply.status == 200 and reply.body == held:
            yield ok(self.subject, check, "public_base_url shows the probe")
        elif reply.status == 200:
            text = "public_base_url shows other bytes than the store holds"
            yield warn(self.subject, check, text, "correct public_base_url: what follows it is the whole key")
        else:
            text = f"public_base_url answered {reply.status} for {key}"
            advice = "correct public_base_url, unless it only hides names that begin with _ (which is wise)"
            yield warn(self.subject, check, text, advice)

    def _rules(self, store: Store) -> Iterator[Finding]:
        if not isinstance(store, Ruled):
            return
        rules = store.rules()
        for rule in itertools.islice(rules, 10):
            yield self._judged(rule, f"{store.prefix}_catalogue/")
        if not rules:
            yield ok(self.subject, "rules", "no rule of the bucket deletes or moves the archive")

    def _judged(self, rule: BucketRule, backups: str) -> Finding:
        when = f"{rule.days} days after it was written" if rule.days is not None else f"on {rule.on:%Y-%m-%d}"
        what = "deletes" if rule.action == "delete" else "moves to an archive class"
        some = "some of " if rule.narrowed else ""
        text = f'the rule "{rule.name}" {what} {some}what lies below "{rule.prefix}" {when}'
        if rule.action == "delete" and rule.prefix.startswith(backups):
            return ok(self.subject, "rules", f"{text}: backups only")
        if rule.action == "move":
            return warn(
                self.subject, "rules", text, "what is moved must be restored before check, get and url can read it"
            )
        doomed = warn if rule.narrowed else bad
        return doomed(
            self.subject, "rules", text, f'switch the rule off, or keep it away from "{rule.prefix or "all"}"'
        )
