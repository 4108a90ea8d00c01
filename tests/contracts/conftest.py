"""The stores under contract: each adapter against every server that can be run here, with what that server lacks.

A lack is declared, so that a test asserts it instead of skipping: the day a server learns something, a test fails.
"""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import oss2
import pytest
from botocore.config import Config

from archiver.core.errors import ConfigurationError
from archiver.core.model import Network, SecretReference
from archiver.core.ports import Outside, Store
from archiver.stores import local, oss, s3
from archiver.transport import AddressGuard, CurlEngine
from tests.doubles.bare_s3 import BareS3
from tests.doubles.oss import OssDouble
from tests.doubles.servers import S3Server, moto_s3, rclone_s3

Secrets = dict[str, str]

_buckets = itertools.count(1)
_session = boto3.Session()


@dataclass
class Subject:
    """One store, what proves its copies, what its server lacks, and the server's own SDK pointed at the same place."""

    store: Store
    proof: str
    lacks: frozenset[str] = frozenset()
    connect: Callable[..., Store] | None = None  # again, with other settings; None for a folder
    secrets: Secrets = field(default_factory=dict)
    server: Any = None
    client: Any = None  # the reference: a boto3 client or an oss2 bucket


def outside(state_dir: Path, secrets: Mapping[str, str], engine: CurlEngine) -> Outside:
    """What wiring would hand to an adapter, with secrets from a dictionary."""

    def secret(reference: SecretReference) -> str:
        try:
            return secrets[reference.text]
        except KeyError:
            raise ConfigurationError(f"{reference} is not set") from None

    return Outside(
        secret=secret,
        now=lambda: datetime.now(UTC),
        elapsed=time.monotonic,
        network=Network(),
        engine=engine,
        state_dir=state_dir,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[CurlEngine]:
    made = CurlEngine(Network(), AddressGuard(), temp_dir=tmp_path / "bodies")
    yield made
    made.close()


def _s3(server: Any, engine: CurlEngine, tmp_path: Path, proof: str, *lacks: str, **more: Any) -> Subject:
    secrets = {"env:ID": server.access_key, "env:SECRET": server.secret_key}

    def connect(**changed: Any) -> Store:
        settings = {
            "url": f"s3://{server.bucket}/pre/fix",
            "endpoint": server.endpoint,
            "region": server.region,
            "access_key_id": "env:ID",
            "access_key_secret": "env:SECRET",
        }
        made = s3.Settings.model_validate({**settings, **more, **changed})
        return s3.connect("main", made, outside(tmp_path / "state", secrets, engine))

    return Subject(connect(), proof, frozenset(lacks), connect, secrets, server, _reference(server))


def _reference(server: Any) -> Any:
    """The SDK's own way to the same bucket."""
    return _session.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}),
    )


def _oss(server: OssDouble, engine: CurlEngine, tmp_path: Path, *, v4: bool) -> Subject:
    secrets = {"env:ID": server.access_key, "env:SECRET": server.secret_key}
    if server.security_token:
        secrets["env:TOKEN"] = server.security_token

    def connect(**changed: Any) -> Store:
        settings: dict[str, Any] = {
            "url": f"oss://{server.bucket}/pre/fix",
            "endpoint": server.endpoint,
            "access_key_id": "env:ID",
            "access_key_secret": "env:SECRET",
        }
        settings |= {"region": server.region} if v4 else {}
        settings |= {"session_token": "env:TOKEN"} if server.security_token else {}
        made = oss.Settings.model_validate({**settings, **changed})
        return oss.connect("main", made, outside(tmp_path / "state", secrets, engine))

    provider = oss2.StaticCredentialsProvider(server.access_key, server.secret_key, server.security_token or "")
    auth = oss2.ProviderAuthV4(provider) if v4 else oss2.ProviderAuth(provider)
    bucket = oss2.Bucket(auth, server.endpoint, server.bucket, region=server.region if v4 else None)
    return Subject(connect(), "crc64", frozenset(), connect, secrets, server, bucket)


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, S3Server]]:
    """The servers that take long to start, once: every test gets a bucket of its own."""
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as rclone, moto_s3() as moto:
        yield {"s3-rclone": rclone, "s3-moto": moto}


def _with_new_bucket(server: S3Server) -> S3Server:
    fresh = dataclasses.replace(server, bucket=f"bucket-{next(_buckets)}")
    _reference(fresh).create_bucket(Bucket=fresh.bucket)
    return fresh


@contextlib.contextmanager
def subject_named(name: str, engine: CurlEngine, tmp_path: Path, servers: dict[str, S3Server]) -> Iterator[Subject]:
    """One subject, with its server started when it is a double, and stopped."""
    if name == "local":
        settings = local.Settings(url=(tmp_path / "archive").as_uri())
        store = local.connect("main", settings, outside(tmp_path / "state", {}, engine))
        yield Subject(store, "read-back", frozenset({"metadata", "signatures", "etag", "http"}))
    elif name == "s3-moto":
        yield _s3(_with_new_bucket(servers[name]), engine, tmp_path, "etag-md5", "signatures")
    elif name == "s3-rclone":
        yield _s3(_with_new_bucket(servers[name]), engine, tmp_path, "etag-md5", "conditional", "slashes")
    elif name in ("s3-bare", "s3-bare-refusing"):
        with BareS3("refuse" if name.endswith("refusing") else "ignore") as bare:
            yield _s3(bare, engine, tmp_path, "read-back", "conditional", "metadata", "listing", "deletion", "etag")
    else:
        token = "to+ken/with=odd==signs" if name.endswith("-token") else None
        with OssDouble(security_token=token) as double:
            yield _oss(double, engine, tmp_path, v4="v4" in name)


SUBJECTS = (
    "local", "s3-moto", "s3-rclone", "s3-bare", "s3-bare-refusing", "oss-v1", "oss-v4", "oss-v1-token", "oss-v4-token",
)  # fmt: skip


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, engine: CurlEngine, tmp_path: Path, s3_servers: Any) -> Iterator[Subject]:
    with subject_named(request.param, engine, tmp_path, s3_servers) as made:
        yield made


@pytest.fixture(params=SUBJECTS[1:])
def remote(request: pytest.FixtureRequest, engine: CurlEngine, tmp_path: Path, s3_servers: Any) -> Iterator[Subject]:
    """Every subject but the folder."""
    with subject_named(request.param, engine, tmp_path, s3_servers) as made:
        yield made
