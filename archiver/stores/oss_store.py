"""Aliyun OSS by its own SDK's signer: oss2 signs URLs, the engine carries, oss2 lists, deletes and reads rules.

Image bytes never pass through the SDK, and the SDK never retries. It refuses to know S3, and to use crcmod: without its
C part it is slower than the network.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import oss2
from oss2.credentials import Credentials, CredentialsProvider, EcsRamRoleCredentialsProvider
from oss2.exceptions import ClientError, NoSuchLifecycle, OssError, RequestError

from archiver.core.bucket_rules import BucketRule
from archiver.core.errors import ConfigurationError, Corrupt, Permanent, Transient
from archiver.core.model import HttpReply, ObjectHead, SecretReference
from archiver.core.ports import Body, Outside
from archiver.stores.lifecycle import oss_rules, some, touching
from archiver.stores.objects import Dialect, ObjectStore, Proof, bucket_and_prefix, etag_is_md5_of, is_single_host
from archiver.stores.oss import Settings
from archiver.stores.replies import CLOCK, Hint, fault

for _logger in ("oss2", "aliyunsdkcore"):
    logging.getLogger(_logger).setLevel(logging.WARNING)  # below that they write keys and strings to sign

_CRC = "x-oss-hash-crc64ecma"
_FORBID = "x-oss-forbid-overwrite"
_SIGNED_SECONDS = 900  # a put of our own starts at once; this only has to outlast a clock that is a little off
_LONGEST = timedelta(days=7)
_ROLE = "http://100.100.100.200/latest/meta-data/ram/security-credentials/"
_FROM_ENVIRONMENT = (
    ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"),
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
)
_DENIED = "denied; the RAM user needs oss:PutObject and oss:GetObject on the prefix (oss:ListObjects to list)"
_UNPAID = "the Aliyun account has debts or is suspended; settle the bill"

_OSS = Dialect(
    metadata="x-oss-meta-",
    optional=(),
    head={},
    exists=frozenset({(409, "FileAlreadyExists")}),
    hints={
        "AccessDenied": Hint(Permanent, _DENIED + ", and the endpoint must be the bucket's own"),
        "403": Hint(Permanent, _DENIED),
        "SignatureDoesNotMatch": Hint(Permanent, "the access key secret is wrong, or a proxy changes requests"),
        "InvalidAccessKeyId": Hint(Permanent, "OSS does not know this access key id, or it is disabled"),
        "InvalidSecurityToken": Hint(Permanent, "the security token is not valid for this key"),
        "SecurityTokenExpired": Hint(Transient, "the security token has expired and must be renewed"),
        "RequestTimeTooSkewed": Hint(Transient, CLOCK),
        "NoSuchBucket": Hint(Permanent, "create the bucket, or correct its name or the region"),
        "InvalidArgument": Hint(Permanent, "OSS refuses an argument; is the region that of the bucket?"),
        "InDebt": Hint(Permanent, _UNPAID),
        "UserDisable": Hint(Permanent, _UNPAID),
        "PublicEndpointForbidden": Hint(
            Permanent,
            "new accounts may not use the public endpoint for data of buckets in mainland China; bind a domain of your"
            " own to the bucket and set endpoint and cname = true, or use the internal endpoint from within Aliyun",
        ),
        "SecondLevelDomainForbidden": Hint(Permanent, 'OSS wants the bucket in the host name: addressing = "virtual"'),
    },
)


class OssStore(ObjectStore):
    """`core.ports.Store` for Aliyun OSS."""

    dialect = _OSS

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        bucket, prefix = bucket_and_prefix(settings.url, "oss")
        super().__init__(name, settings, outside, bucket, prefix)
        endpoint, region = settings.where()
        provider = _Chain(name, settings, outside)
        session = oss2.Session()
        session.session.trust_env = False  # no proxy, no .netrc behind wiring's back
        session.session.verify = outside.network.ca_file or True
        proxy = outside.network.proxy
        single = is_single_host(urlsplit(endpoint).hostname or "")
        with _translated(name):
            self._bucket = oss2.Bucket(
                oss2.ProviderAuthV4(provider) if region else oss2.ProviderAuth(provider),
                endpoint,
                bucket,
                is_cname=settings.cname,
                session=session,
                connect_timeout=60,
                enable_crc=False,
                proxies={"http": proxy, "https": proxy} if proxy else None,
                region=region,
                is_path_style=settings.addressing == "path" or (settings.addressing == "auto" and single),
                is_verify_object_strict=False,  # a key may begin with a question mark
            )

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """See `core.ports.Store.list`."""
        with _translated(f"{self.name}: list"):
            for entry in oss2.ObjectIteratorV2(self._bucket, prefix=prefix, max_keys=1000, max_retries=1):
                yield ObjectHead(key=entry.key, size=entry.size, etag=(entry.etag or "").strip('"') or None)

    def delete(self, key: str) -> None:
        """See `core.ports.Store.delete`."""
        with _translated(f"{self.name}: delete"):
            self._bucket.delete_object(key)

    def presign(self, key: str, lifetime: timedelta) -> str:
        """See `core.ports.Store.presign`. Raises `Permanent` beyond 7 days: no signature lives longer."""
        if lifetime > _LONGEST:
            raise Permanent(f"{self.name}: a signed address lives at most 7 days")
        with _translated(f"{self.name}: presign"):
            return str(self._bucket.sign_url("GET", key, int(lifetime.total_seconds()), slash_safe=True))

    def rules(self) -> tuple[BucketRule, ...]:
        """See `core.ports.Ruled`."""
        with _translated(f"{self.name}: lifecycle"):
            try:
                told = self._bucket.get_bucket_lifecycle().rules
            except NoSuchLifecycle:
                return ()
            except (
                RuntimeError,
                ValueError,
                SyntaxError,
                AttributeError,
            ):  # how its parser meets what it does not know
                raise Permanent(f"{self.name}: lifecycle: the SDK does not understand the rules") from None
            return touching(self.prefix, oss_rules(some(self.name, told)))

    def _sign(self, method: str, key: str, headers: Mapping[str, str], body: Body | None) -> tuple[str, dict[str, str]]:
        del body  # the payload of OSS is not signed
        with _translated(f"{self.name}: sign"):
            url = self._bucket.sign_url(method, key, _SIGNED_SECONDS, headers=dict(headers), slash_safe=True)
        return str(url), dict(headers)

    def _condition(self, body: Body) -> dict[str, str]:
        del body  # OSS needs no digest in advance: it replies its own
        return {_FORBID: "true"}

    def _confirmed(self, headers: Mapping[str, str], body: Body) -> Proof | None:
        stated = headers.get(_CRC, "")
        if stated.isdecimal():
            if int(stated) != body.crc64:
                raise Corrupt(f"{self.name}: the store confirmed another crc64 than ours")
            return "crc64"
        return "etag-md5" if etag_is_md5_of(headers, body) else None


class _Chain(CredentialsProvider):  # type: ignore[misc]
    """Credentials looked up anew for every signature: the configuration, then the environment, then the instance."""

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        self._name = name
        self._settings = settings
        self._secret = outside.secret
        self._roles: dict[str, EcsRamRoleCredentialsProvider] = {}

    def get_credentials(self) -> Credentials:
        settings = self._settings
        if settings.access_key_id is not None and settings.access_key_secret is not None:
            token = self._secret(settings.session_token) if settings.session_token is not None else None
            return Credentials(self._secret(settings.access_key_id), self._secret(settings.access_key_secret), token)
        for key_id, secret, token_name in _FROM_ENVIRONMENT:
            if (found := self._variable(key_id)) and (its_secret := self._variable(secret)):
                return Credentials(found, its_secret, self._variable(token_name))
        if role := settings.ram_role or self._variable("ALIBABA_CLOUD_ECS_METADATA"):
            provider = self._roles.setdefault(
                role, EcsRamRoleCredentialsProvider(_ROLE + role, max_retries=1, timeout=5)
            )
            return provider.get_credentials()
        raise Permanent(
            f"{self._name}: no credentials; set access_key_id and access_key_secret, or OSS_ACCESS_KEY_ID and"
            " OSS_ACCESS_KEY_SECRET in the environment, or ram_role"
        )

    def _variable(self, name: str) -> str | None:
        try:
            return self._secret(SecretReference(f"env:{name}")) or None
        except ConfigurationError:
            return None


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Let only archiver's error words out. The SDK's texts are dropped: they hold the string to sign."""
    try:
        yield
    except ConfigurationError as error:
        raise Permanent(f"{what}: {error}") from None
    except RequestError:
        raise Transient(f"{what}: no reply") from None
    except ClientError:
        raise Permanent(f"{what}: the SDK refuses this endpoint, key or role") from None
    except OssError as error:
        headers = {str(name).lower(): str(value) for name, value in dict(error.headers or {}).items()}
        raise fault(what, HttpReply(status=error.status, headers=headers), _OSS.hints, code=error.code) from None
