"""S3: `sigv4` signs, the engine carries; the SDK finds the credentials, lists, deletes, presigns and reads rules.

Image bytes never pass through the SDK, and where the configuration says all that a put needs, it is not even loaded.
It refuses to know OSS.
"""

import base64
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlsplit

from archiver.core.bucket_rules import BucketRule
from archiver.core.errors import ArchiverError, ConfigurationError, Corrupt, Permanent, Transient
from archiver.core.model import ObjectHead
from archiver.core.ports import Body, Outside
from archiver.stores.lifecycle import s3_rules, some, touching
from archiver.stores.objects import Dialect, ObjectStore, Proof, bucket_and_prefix, etag_is_md5_of, is_single_host
from archiver.stores.replies import CLOCK, Hint
from archiver.stores.s3 import Settings
from archiver.stores.sigv4 import NOTHING, sign

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from archiver.stores.s3_sdk import Keys, Sdk, Style

_CHECKSUM = "x-amz-checksum-sha256"
_LONGEST = timedelta(days=7)
_PLAIN = re.compile(r"https?://(?!-)[a-z0-9.-]+(?<!-)(:[0-9]{1,5})?/?")
_DENIED = "denied; the credentials need s3:PutObject and s3:GetObject on the prefix (s3:ListBucket to list)"

_S3 = Dialect(
    metadata="x-amz-meta-",
    optional=("if-none-match", _CHECKSUM),
    exists=frozenset({(412, "")}),
    head={"x-amz-checksum-mode": "ENABLED"},
    hints={
        "AccessDenied": Hint(Permanent, _DENIED),
        "403": Hint(Permanent, _DENIED),
        "SignatureDoesNotMatch": Hint(Permanent, "the secret access key is wrong, or a proxy changes requests"),
        "InvalidAccessKeyId": Hint(Permanent, "the store does not know this access key id"),
        "InvalidToken": Hint(Permanent, "the session token is not valid for this key"),
        "ExpiredToken": Hint(Transient, "the session token has expired and must be renewed"),
        "RequestTimeTooSkewed": Hint(Transient, CLOCK),
        "NoSuchBucket": Hint(Permanent, "create the bucket, or correct its name or the region"),
        "AuthorizationHeaderMalformed": Hint(Permanent, "the region of the store is set wrong"),
        "PermanentRedirect": Hint(Permanent, "the bucket is in another region"),
        "301": Hint(Permanent, "the bucket is in another region"),
        "NotImplemented": Hint(Permanent, "the server does not know a header of this request; look at `headers`"),
    },
)


class S3Store(ObjectStore):
    """`core.ports.Store` for S3."""

    dialect = _S3

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        super().__init__(name, settings, outside, *bucket_and_prefix(settings.url, "s3"))
        self._lock = threading.Lock()
        self._made: _Access | None = None
        self._mine = settings

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """See `core.ports.Store.list`."""
        with _translated(f"{self.name}: list"):
            pages = self._access.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket_name, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield ObjectHead(
                        key=entry["Key"], size=entry["Size"], etag=entry.get("ETag", "").strip('"') or None
                    )

    def delete(self, key: str) -> None:
        """See `core.ports.Store.delete`."""
        with _translated(f"{self.name}: delete"):
            self._access.client.delete_object(Bucket=self._bucket_name, Key=key)

    def presign(self, key: str, lifetime: timedelta) -> str:
        """See `core.ports.Store.presign`. Raises `Permanent` beyond 7 days: no signature lives longer."""
        if lifetime > _LONGEST:
            raise Permanent(f"{self.name}: a signed address lives at most 7 days")
        with _translated(f"{self.name}: presign"):
            return self._access.client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket_name, "Key": key},
                ExpiresIn=int(lifetime.total_seconds()),
            )

    def rules(self) -> tuple[BucketRule, ...]:
        """See `core.ports.Ruled`."""
        with _translated(f"{self.name}: lifecycle"):
            from botocore.exceptions import ClientError

            try:
                told = self._access.client.get_bucket_lifecycle_configuration(Bucket=self._bucket_name)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration":
                    return ()
                raise
            return touching(self.prefix, s3_rules(some(self.name, told.get("Rules", ()))))

    @property
    def _access(self) -> "_Access":
        with self._lock:
            if self._made is None:
                self._made = _Access(self.name, self._mine, self._outside, self._bucket_name)
            return self._made

    def _sign(self, method: str, key: str, headers: Mapping[str, str], body: Body | None) -> tuple[str, dict[str, str]]:
        with _translated(f"{self.name}: credentials"):
            access = self._access
            key_id, secret, token = access.keys()
        path = access.path + quote(key, safe="/~")
        signed = sign(
            method,
            access.host,
            path,
            headers,
            sha256=NOTHING if body is None else body.sha256,
            key_id=key_id,
            secret=secret,
            token=token,
            region=access.region,
            now=self._outside.now(),
        )
        return access.origin + path, signed

    def _condition(self, body: Body) -> dict[str, str]:
        return {"if-none-match": "*", _CHECKSUM: base64.b64encode(bytes.fromhex(body.sha256)).decode("ascii")}

    def _confirmed(self, headers: Mapping[str, str], body: Body) -> Proof | None:
        stated = _checksum(headers)
        if stated is not None and stated != body.sha256:
            raise Corrupt(f"{self.name}: the store confirmed another sha256 than we sent")
        if stated is not None:
            return "checksum-sha256"
        return "etag-md5" if etag_is_md5_of(headers, body) else None

    def _stated_sha256(self, headers: Mapping[str, str]) -> str | None:
        return _checksum(headers) or super()._stated_sha256(headers)


def _checksum(headers: Mapping[str, str]) -> str | None:
    """The sha256 that the store computed, in hexadecimal."""
    try:
        digest = base64.b64decode(headers.get(_CHECKSUM, ""), validate=True)
    except ValueError:
        return None  # the checksum of a multipart object carries the number of its parts
    return digest.hex() if len(digest) == 32 else None


def _host(endpoint: SplitResult) -> str:
    """Name and port as a client sends them: without the port that the scheme implies."""
    name = endpoint.hostname or ""
    host = f"[{name}]" if ":" in name else name
    implied = {"http": 80, "https": 443}.get(endpoint.scheme)
    return host if endpoint.port in (None, implied) else f"{host}:{endpoint.port}"


class _Access:
    """Keys, region and base URL. The SDK is loaded for what the configuration leaves open, and its client, which costs
    another 100 ms, is made where it is needed."""

    def __init__(self, name: str, settings: Settings, outside: Outside, bucket: str) -> None:
        self._settings = settings
        self._outside = outside
        self._lock = threading.Lock()
        self._loaded: Sdk | None = None
        self._client: S3Client | None = None
        self._has_keys = settings.access_key_id is not None
        region = settings.region or self._sdk.region
        if region is None and settings.endpoint is None:
            raise Permanent(f"{name}: no region; set `region`, or AWS_REGION in the environment")
        self.region = region or "us-east-1"
        if settings.endpoint is not None and settings.profile is None and _PLAIN.fullmatch(settings.endpoint):
            endpoint = urlsplit(settings.endpoint)
        else:  # it alone knows the endpoints of AWS; and it refuses odd ones, and a profile that there is not
            endpoint = urlsplit(self._sdk.client(self.region, "auto").meta.endpoint_url)
        self._style = _style(settings.addressing, endpoint.hostname or "", endpoint.scheme, bucket)
        path = endpoint.path.rstrip("/")
        is_virtual = self._style == "virtual"
        self.host = f"{bucket}.{_host(endpoint)}" if is_virtual else _host(endpoint)
        self.path = f"{path}/" if is_virtual else f"{path}/{bucket}/"
        self.origin = f"{endpoint.scheme}://{self.host}"

    def keys(self) -> "Keys":
        """Those of this moment: the configuration's are read anew for every signature, and a role's change every
        hour."""
        return self._named() if self._has_keys else self._sdk.keys()

    @property
    def client(self) -> "S3Client":
        """The SDK's, for all that is not one object's bytes."""
        with self._lock:
            if self._client is None:
                self._client = self._sdk.client(self.region, self._style)
            return self._client

    @property
    def _sdk(self) -> "Sdk":
        if self._loaded is None:
            from archiver.stores.s3_sdk import Sdk

            self._loaded = Sdk(self._settings, self._outside, self._named if self._has_keys else None)
        return self._loaded

    def _named(self) -> "Keys":
        """What the references of the configuration lead to."""
        settings, secret = self._settings, self._outside.secret
        if settings.access_key_id is None or settings.access_key_secret is None:
            raise Permanent("access_key_id and access_key_secret belong together")  # settings see to it
        token = None if settings.session_token is None else secret(settings.session_token)
        return secret(settings.access_key_id), secret(settings.access_key_secret), token


def _style(wanted: "Style", host: str, scheme: str, bucket: str) -> "Style":
    """Where the bucket goes. A dot in its name breaks the TLS certificate of a virtual host."""
    if wanted != "auto":
        return wanted
    return "path" if is_single_host(host) or (scheme == "https" and "." in bucket) else "virtual"


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Let only archiver's error words out."""
    try:
        yield
    except ConfigurationError as error:
        raise Permanent(f"{what}: {error}") from None
    except ArchiverError:
        raise
    except Exception as error:
        from archiver.stores.s3_sdk import judged

        if (word := judged(what, error, _S3.hints)) is None:
            raise
        raise word from None
