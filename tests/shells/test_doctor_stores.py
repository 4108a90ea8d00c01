"""`archiver doctor` about stores: each mistake is made for real, and told in one line."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.doctor.endpoints import advice, mistakes
from archiver.pipeline.preflight import PROBE
from archiver.stores import oss, s3
from tests.doubles.bare_s3 import BareS3
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.servers import rclone_s3
from tests.doubles.whole_s3 import WholeS3
from tests.doubles.wire import Fault
from tests.shells.doctored import doctor, section, set_up, verdicts
from tests.world import World, file_section

LATE = timedelta(minutes=20)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture(params=["s3", "oss"])
def bucket(request: Any) -> Iterator[Any]:
    """A bucket of each kind, strict with everything."""
    with WholeS3() if request.param == "s3" else OssDouble() as running:
        yield running


def test_a_missing_bucket(world: World, bucket: Any) -> None:
    set_up(world, bucket)
    bucket.bucket = "renamed"
    found = doctor(world, code=3)
    assert "NoSuchBucket" in found["store main", "put"]["text"]
    assert "create the bucket, or correct its name" in found["store main", "put"]["advice"]
    assert found["stores", "all"]["verdict"] == "bad"


def test_one_store_of_two_that_works_is_enough_to_go_on(world: World, bucket: Any, tmp_path: Path) -> None:
    set_up(world, bucket, file_section("near", tmp_path / "near"))
    bucket.down()
    found = doctor(world, code=1)
    assert "no connection" in found["store main", "put"]["text"]
    assert found["store main", "put"]["advice"].startswith("TCP: correct endpoint and region")
    assert found["store near", "put"]["verdict"] == "ok" and ("stores", "all") not in found


def test_a_wrong_region_names_the_right_one(world: World) -> None:
    with WholeS3(region="eu-west-1") as server:
        world.keys_of(server)
        world.configure(section(server).replace("eu-west-1", "us-east-1"))
        row = doctor(world, code=3)["store main", "put"]
        assert "AuthorizationHeaderMalformed" in row["text"] and 'region = "eu-west-1"' in row["advice"]
        server.elsewhere = "ap-east-1"
        world.configure(section(server))
        row = doctor(world, code=3)["store main", "put"]
        assert "PermanentRedirect" in row["text"]
        assert 'write endpoint = "https://s3.ap-east-1.amazonaws.com"' in row["advice"]
    with OssDouble() as double:
        world.keys_of(double)
        world.configure(section(double).replace("cn-test", "cn-other"))
        row = doctor(world, code=3)["store main", "put"]
        assert "InvalidArgument" in row["text"] and "is the region that of the bucket?" in row["advice"]
        double.elsewhere = "oss-cn-shanghai.aliyuncs.com"
        world.configure(section(double))
        row = doctor(world, code=3)["store main", "put"]
        assert row["advice"].endswith(
            'write endpoint = "https://oss-cn-shanghai.aliyuncs.com" and region = "cn-shanghai"'
        )


def test_an_account_that_may_not_use_the_public_endpoint(world: World) -> None:
    with OssDouble(fault=lambda _: Fault(status=400, code="PublicEndpointForbidden")) as double:
        set_up(world, double)
        row = doctor(world, code=3)["store main", "put"]
    assert "PublicEndpointForbidden" in row["text"]
    assert "bind a domain of your own" in row["advice"] and "cname = true" in row["advice"]


@pytest.mark.parametrize("by", [LATE, -LATE])
def test_a_clock_that_is_wrong_by_twenty_minutes(world: World, by: timedelta) -> None:
    with WholeS3(now=lambda: datetime.now(UTC) + by) as server:
        set_up(world, server)
        found = doctor(world, code=3)
    assert "20 min " + ("behind" if by > timedelta(0) else "ahead of") in found["clock", "date"]["text"]
    assert found["clock", "date"]["verdict"] == "bad" and "NTP" in found["clock", "date"]["advice"]
    assert "RequestTimeTooSkewed" in found["store main", "put"]["text"]
    assert "clock" in found["store main", "put"]["advice"]


def test_a_clock_that_is_a_little_wrong_is_a_warning(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    with ImagesProvider(now=lambda: datetime.now(UTC) + timedelta(minutes=3)) as late:
        world.configure(file_section("main", tmp_path / "archive"), provider=late)
        assert doctor(world)["clock", "date"]["verdict"] == "warn"


def deny(what: Callable[[Any], bool]) -> Callable[[Any], Fault | None]:
    return lambda request: Fault(status=403, code="AccessDenied") if what(request) else None


def test_rights_that_are_missing_are_named(world: World, bucket: Any) -> None:
    set_up(world, bucket)
    scheme = "oss" if isinstance(bucket, OssDouble) else "s3"
    bucket.script(deny(lambda request: "list-type" in dict(request.query)))
    row = doctor(world)["store main", "list"]
    right = {"s3": "s3:ListBucket", "oss": "oss:ListObjects"}[scheme]
    assert row["verdict"] == "warn" and f"check and rebuild needs the right {right}" in row["advice"]
    bucket.script(deny(lambda request: "lifecycle" in dict(request.query)))
    row = doctor(world)["store main", "rules"]
    right = {"s3": "s3:GetLifecycleConfiguration", "oss": "oss:GetBucketLifecycle"}[scheme]
    assert row["verdict"] == "warn" and right in row["advice"]
    bucket.script(deny(lambda request: request.method == "PUT"))
    row = doctor(world, code=3)["store main", "put"]
    assert row["verdict"] == "bad" and f"archiving needs the right {scheme}:PutObject" in row["advice"]
    bucket.script(deny(lambda request: request.method in ("GET", "HEAD")))
    row = doctor(world, code=3)["store main", "put"]
    assert row["verdict"] == "bad", "the probe is there, and cannot be compared"
    assert f"{scheme}:" in row["advice"]


@pytest.mark.parametrize("mode", ["ignore", "refuse"])
def test_a_server_that_overwrites_is_told_of_and_the_probe_put_back(world: World, mode: Any) -> None:
    with BareS3(mode=mode) as bare:
        set_up(world, bare)
        for _ in range(2):
            found = doctor(world)
            held = bare.objects["archive/_canary/probe"].body
            assert held == PROBE
        assert verdicts(found, "store main") == {
            "put": "ok",
            "proof": "ok",
            "metadata": "warn",
            "read": "ok",
            "overwrite": "warn",
            "list": "warn",
            "presign": "ok",
            "anonymous": "ok",
            "rules": "warn",
        }
        assert "reading them back" in found["store main", "proof"]["text"]
        assert set(bare.objects) == {"archive/_canary/probe"}


def test_a_real_server_of_others(world: World, tmp_path: Path) -> None:
    """rclone overwrites in spite of the condition, and answers the question for rules with a listing."""
    with rclone_s3(tmp_path / "rclone") as server:
        set_up(world, server)
        found = verdicts(doctor(world), "store main")
    assert {check for check, verdict in found.items() if verdict != "ok"} == {"overwrite", "rules"}
    assert (tmp_path / "rclone/archive/archive/_canary/probe").read_bytes() == PROBE


def test_an_object_that_changes_in_spite_of_a_refusal_is_bad(world: World, bucket: Any) -> None:
    """The server says that the key is taken, and gives other bytes from then on."""
    set_up(world, bucket)
    doctor(world)
    puts = iter(range(100))
    after: list[int] = []

    def script(request: Any) -> Fault | None:
        if request.method == "PUT" and next(puts) == 1:
            after.append(1)
        elif after and request.method == "GET" and "_canary/probe" in request.path:
            after.append(1)
            return Fault(flip=True) if len(after) > 2 else None
        return None

    bucket.script(script)
    row = doctor(world, code=1)["store main", "overwrite"]
    assert row["verdict"] == "bad" and "changed all the same" in row["text"]


def test_bytes_of_somebody_else_under_the_probe_are_left(world: World, bucket: Any) -> None:
    set_up(world, bucket)
    doctor(world)
    probe = bucket.objects["archive/_canary/probe"]
    bucket.objects["archive/_canary/probe"] = type(probe)(b"other", *[getattr(probe, n) for n in probe.__slots__[1:]])
    found = doctor(world)
    assert found["store main", "read"]["verdict"] == "warn"
    assert found["store main", "overwrite"]["verdict"] == "ok"
    assert bucket.objects["archive/_canary/probe"].body == b"other"


RULE = "<Rule><ID>tidy</ID>{}<Status>Enabled</Status>{}</Rule>"
DELETE, MOVE = "<Expiration><Days>30</Days></Expiration>", "<Transition><Days>9</Days>{}</Transition>"


def test_rules_that_would_take_the_archive(world: World, bucket: Any) -> None:
    is_oss = isinstance(bucket, OssDouble)
    cold = MOVE.format(f"<StorageClass>{'Archive' if is_oss else 'GLACIER'}</StorageClass>")
    set_up(world, bucket)

    def told(prefix: str, action: str, code: int) -> dict[str, str]:
        named = f"<Prefix>{prefix}</Prefix>"
        rule = RULE.format(named if is_oss else f"<Filter>{named}</Filter>", action)
        bucket.lifecycle = f"<LifecycleConfiguration>{rule}</LifecycleConfiguration>".encode()
        return doctor(world, "--store", "main", code=code)["store main", "rules"]

    row = told("archive/", DELETE, 1)
    assert row["verdict"] == "bad" and 'the rule "tidy" deletes' in row["text"] and "30 days after" in row["text"]
    assert told("", cold, 0)["verdict"] == "warn"
    assert told("elsewhere/", DELETE, 0)["verdict"] == "ok"
    row = told("archive/_catalogue/", DELETE, 0)
    assert row["verdict"] == "ok" and "backups only" in row["text"]
    bucket.lifecycle = None
    assert "no rule" in doctor(world, "--store", "main")["store main", "rules"]["text"]


def test_public_addresses(world: World) -> None:
    with WholeS3() as server, WholeS3() as other:
        server.public = True
        base = f"{server.endpoint}/{server.bucket}"
        set_up(world, server, f'public_base_url = "{base}/"\n')
        found = doctor(world)
        assert found["store main", "public address"]["verdict"] == "ok"
        assert found["store main", "anonymous"]["verdict"] == "warn"
        assert "_lineage/" in found["store main", "anonymous"]["text"]
        server.public = False
        row = doctor(world)["store main", "public address"]
        assert row["verdict"] == "warn" and "answered 403 for archive/_canary/probe" in row["text"]
        other.public, other.objects["archive/_canary/probe"] = (
            True,
            type(next(iter(server.objects.values())))(b"other", "text/plain", datetime.now(UTC)),
        )
        other.meta["archive/_canary/probe"] = {}
        set_up(world, server, f'public_base_url = "{other.endpoint}/{other.bucket}"\n')
        assert "other bytes" in doctor(world)["store main", "public address"]["text"]
        other.down()
        assert "no connection" in doctor(world)["store main", "public address"]["text"]


@pytest.mark.parametrize(
    ("endpoint", "says", "more"),
    [
        ("https://pics.s3.example.com", 'write endpoint = "https://s3.example.com"', {}),
        ("https://minio.example.com/pics", 'write endpoint = "https://minio.example.com"', {}),
        ("http://s3.example.com", 'write endpoint = "https://s3.example.com"', {}),
        ("https://s3.example.com", None, {}),
        ("http://192.168.1.9:9000", None, {}),
        ("http://minio:9000", None, {}),
        ("http://localhost:9000", None, {}),
        (
            "https://pics.oss-cn-beijing.aliyuncs.com",
            'write endpoint = "https://oss-cn-beijing.aliyuncs.com"',
            {"o": 1},
        ),
        ("pics.oss-cn-beijing.aliyuncs.com", 'write endpoint = "https://oss-cn-beijing.aliyuncs.com"', {"o": 1}),
        ("https://pics.example.com", None, {"o": 1, "cname": True}),
        ("http://oss-cn-beijing-internal.aliyuncs.com", None, {"o": 1}),
    ],
)
def test_addresses_that_look_wrong(endpoint: str, says: str | None, more: dict[str, Any]) -> None:
    kind: Any = oss.Settings if more.pop("o", 0) else s3.Settings
    settings = kind(url=f"{'oss' if kind is oss.Settings else 's3'}://pics/archive", endpoint=endpoint, **more)
    found = [finding.advice for finding in mistakes("store main", settings)]
    assert (says in found[0] if found else False) if says else found == []


def test_an_internal_endpoint_from_outside() -> None:
    settings = oss.Settings(url="oss://pics", endpoint="https://oss-cn-beijing-internal.aliyuncs.com")
    _, what = advice("put", "host: no connection (Connection timed out)", settings, None)
    assert 'write endpoint = "https://oss-cn-beijing.aliyuncs.com"' in what
