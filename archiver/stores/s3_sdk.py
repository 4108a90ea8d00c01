"""What only the SDK of S3 knows: where credentials, region and endpoint come from when nobody says, and its client.

A module of its own because it takes a tenth of a second to load, and a put or a get rarely needs it. It moves no image
byte, and never retries.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

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

from archiver.core.errors import Permanent, Transient
from archiver.core.model import HttpReply
from archiver.core.ports import Outside
from archiver.stores.replies import Hints, fault
from archiver.stores.s3 import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

for _logger in ("boto3", "botocore", "s3transfer"):
    logging.getLogger(_logger).setLevel(logging.WARNING)  # their DEBUG lines hold tokens and signatures

Style = Literal["auto", "path", "virtual"]
Keys = tuple[str, str, str | None]
"""Access key id, its secret, and a session token."""


class Sdk:
    """A session of the SDK, which keeps the credentials that it found."""

    def __init__(self, settings: Settings, outside: Outside, keys: Callable[[], Keys] | None) -> None:
        """`keys` gives those of the configuration; None where it names none."""
        self._settings = settings
        self._outside = outside
        self._session = botocore.session.Session(profile=settings.profile)
        if keys is not None:
            chain = CredentialResolver([_ReferencesProvider(_References(keys))])
            self._session.register_component("credential_provider", chain)
        if settings.region is not None:
            self._session.set_config_variable("region", settings.region)
        self.region: str | None = self._session.get_config_variable("region")

    def keys(self) -> Keys:
        """The credentials of this moment: a role's change every hour."""
        found = self._session.get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen = found.get_frozen_credentials()
        return str(frozen.access_key), str(frozen.secret_key), frozen.token

    def client(self, region: str, style: Style) -> "S3Client":
        """A new client."""
        proxy = self._outside.network.proxy
        client = self._session.create_client(
            "s3",
            region_name=region,
            endpoint_url=self._settings.endpoint,
            verify=self._outside.network.ca_file,
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
        return cast("S3Client", client)


def judged(what: str, error: Exception, hints: Hints) -> Exception | None:
    """An error of the SDK in archiver's words, None for any other. Its texts are dropped: they may repeat the
    request."""
    if isinstance(error, ClientError):
        meta = error.response.get("ResponseMetadata", {})
        reply = HttpReply(status=meta.get("HTTPStatusCode", 500), headers=meta.get("HTTPHeaders", {}))
        return fault(what, reply, hints, code=str(error.response.get("Error", {}).get("Code", "")))
    if isinstance(error, NoCredentialsError | PartialCredentialsError | ProfileNotFound):
        hint = "set access_key_id and access_key_secret, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return Permanent(f"{what}: no credentials ({type(error).__name__}); {hint}")
    if isinstance(error, ParamValidationError | ValueError):
        return Permanent(f"{what}: the SDK refuses this request ({type(error).__name__})")
    return Transient(f"{what}: {type(error).__name__}") if isinstance(error, BotoCoreError) else None


class _References(Credentials):
    """Credentials that are read anew, from where the configuration says, for every signature."""

    def __init__(self, keys: Callable[[], Keys]) -> None:
        self._keys = keys
        super().__init__("", "", None, "archiver")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return ReadOnlyCredentials(*self._keys())


class _ReferencesProvider(CredentialProvider):
    METHOD = CANONICAL_NAME = "archiver"

    def __init__(self, references: _References) -> None:
        super().__init__()
        self._references = references

    def load(self) -> Credentials:
        return self._references
