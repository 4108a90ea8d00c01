"""S3: `sigv4` signs, the engine carries; boto3 finds the credentials, lists, deletes, presigns and reads rules.

Image bytes never pass through the SDK, and the SDK never retries. It refuses to know OSS.
"""

import base64
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import SplitResult, quote, urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials, ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from archiver.core.bucket_rules import BucketRule
from archiver.core.errors import ConfigurationError, Corrupt, Permanent, Transient
from archiver.core.model import HttpReply, ObjectHead, SecretReference
from archiver.core.ports import Body, Outside
from archiver.stores.lifecycle import s3_rules, some, touching
from archiver.stores.objects import Dialect, ObjectStore, Proof, bucket_and_prefix, etag_is_md5_of, is_single_host
from archiver.stores.replies import CLOCK, Hint, fault
from archiver.stores.s3 import Settings
from archiver.stores.sigv4 import NOTHING, sign

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

for _logger in ("boto3", "botocore", "s3transfer"):
    logging.getLogger(_logger).setLevel(logging.WARNING)  # their DEBUG lines hold tokens and signatures

_Style = Literal["auto", "path", "virtual"]
_CHECKSUM = "x-amz-checksum-sha256"
_LONGEST = timedelta(days=7)
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
            credentials = access.credentials()
        path = access.path + quote(key, safe="/~")
        signed = sign(
            method,
            access.host,
            path,
            headers,
            sha256=NOTHING if body is None else body.sha256,
            key_id=str(credentials.access_key),
            secret=str(credentials.secret_key),
            token=credentials.token,
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
    """Session, client and base URL: made once, because a first client costs 100 ms."""

    def __init__(self, name: str, settings: Settings, outside: Outside, bucket: str) -> None:
        core = botocore.session.Session(profile=settings.profile)
        key_id, secret = settings.access_key_id, settings.access_key_secret
        if key_id is not None and secret is not None:
            references = _References(outside.secret, key_id, secret, settings.session_token)
            chain = CredentialResolver([_ReferencesProvider(references)])
            core.register_component("credential_provider", chain)
        self._session = boto3.Session(botocore_session=core, region_name=settings.region)
        region: str | None = settings.region or core.get_config_variable("region")
        if region is None and settings.endpoint is None:
            raise Permanent(f"{name}: no region; set `region`, or AWS_REGION in the environment")
        self.region = region or "us-east-1"
        endpoint = urlsplit(self._client(settings, "auto", outside).meta.endpoint_url)
        style = _style(settings.addressing, endpoint.hostname or "", endpoint.scheme, bucket)
        self.client = self._client(settings, style, outside)
        path = endpoint.path.rstrip("/")
        self.host = f"{bucket}.{_host(endpoint)}" if style == "virtual" else _host(endpoint)
        self.path = f"{path}/" if style == "virtual" else f"{path}/{bucket}/"
        self.origin = f"{endpoint.scheme}://{self.host}"

    def credentials(self) -> ReadOnlyCredentials:
        """The credentials of this moment: a role's change every hour."""
        found = self._session.get_credentials()
        if found is None:
            raise NoCredentialsError
        return found.get_frozen_credentials()

    def _client(self, settings: Settings, style: _Style, outside: Outside) -> "S3Client":
        proxy = outside.network.proxy
        client: S3Client = self._session.client(
            "s3",
            region_name=self.region,
            endpoint_url=settings.endpoint,
            verify=outside.network.ca_file,
            config=Config(
                signature_version="s3v4",
                retries={"mode": "standard", "total_max_attempts": 1},
                connect_timeout=10,
                read_timeout=60,
                s3={"addressing_style": style},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                # An empty table, because otherwise botocore would take a proxy from the environment.
                proxies={"http": proxy, "https": proxy} if proxy else {},
            ),
        )
        return client


def _style(wanted: _Style, host: str, scheme: str, bucket: str) -> _Style:
    """Where the bucket goes. A dot in its name breaks the TLS certificate of a virtual host."""
    if wanted != "auto":
        return wanted
    return "path" if is_single_host(host) or (scheme == "https" and "." in bucket) else "virtual"


class _References(Credentials):
    """Credentials that are read anew, from where the configuration says, for every signature."""

    def __init__(
        self,
        resolve: Callable[[SecretReference], str],
        key_id: SecretReference,
        secret: SecretReference,
        token: SecretReference | None,
    ) -> None:
        self._resolve = resolve
        self._references = key_id, secret, token
        super().__init__("", "", None, "archiver")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        key_id, secret, token = self._references
        return ReadOnlyCredentials(
            self._resolve(key_id), self._resolve(secret), self._resolve(token) if token is not None else None
        )


class _ReferencesProvider(CredentialProvider):
    METHOD = CANONICAL_NAME = "archiver"

    def __init__(self, references: _References) -> None:
        super().__init__()
        self._references = references

    def load(self) -> Credentials:
        return self._references


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Let only archiver's error words out. The SDK's texts are dropped: they may repeat the request."""
    try:
        yield
    except ConfigurationError as error:
        raise Permanent(f"{what}: {error}") from None
    except ClientError as error:
        meta = error.response.get("ResponseMetadata", {})
        reply = HttpReply(status=meta.get("HTTPStatusCode", 500), headers=meta.get("HTTPHeaders", {}))
        raise fault(what, reply, _S3.hints, code=str(error.response.get("Error", {}).get("Code", ""))) from None
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        hint = "set access_key_id and access_key_secret, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise Permanent(f"{what}: no credentials ({type(error).__name__}); {hint}") from None
    except (ParamValidationError, ValueError) as error:
        raise Permanent(f"{what}: the SDK refuses this request ({type(error).__name__})") from None
    except BotoCoreError as error:
        raise Transient(f"{what}: {type(error).__name__}") from None
