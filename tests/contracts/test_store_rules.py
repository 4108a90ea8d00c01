"""`rules()` of S3 and OSS against rules that the servers' own SDKs wrote: what would delete or move the archive."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from oss2.models import (
    AbortMultipartUpload,
    BucketLifecycle,
    FilterNot,
    LifecycleExpiration,
    LifecycleFilter,
    LifecycleRule,
    NoncurrentVersionExpiration,
    StorageTransition,
    Tagging,
    TaggingRule,
)

from archiver.core.bucket_rules import BucketRule
from archiver.core.errors import Permanent, Transient
from archiver.core.ports import Ruled
from tests.contracts.conftest import Subject, _s3, subject_named
from tests.doubles.whole_s3 import WholeS3
from tests.doubles.wire import Fault

DAY = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture
def pair(request: Any, engine: Any, tmp_path: Any, s3_servers: Any) -> Iterator[Subject]:
    """A store below `pre/fix/`, and the reference SDK."""
    with contextlib.ExitStack() as stack:
        if request.param == "s3-whole":
            server = stack.enter_context(WholeS3())
            yield _s3(server, engine, tmp_path, "checksum-sha256")
        else:
            yield stack.enter_context(subject_named(request.param, engine, tmp_path, s3_servers))


def found(subject: Subject) -> tuple[BucketRule, ...]:
    assert isinstance(subject.store, Ruled)
    return subject.store.rules()


def s3_put(subject: Subject, *rules: dict[str, Any]) -> None:
    subject.client.put_bucket_lifecycle_configuration(
        Bucket=subject.server.bucket,
        LifecycleConfiguration={"Rules": [{"Status": "Enabled", "Filter": {"Prefix": ""}, **rule} for rule in rules]},
    )


def oss_put(subject: Subject, *rules: LifecycleRule) -> None:
    subject.client.put_bucket_lifecycle(BucketLifecycle(list(rules)))


S3 = pytest.mark.parametrize("pair", ["s3-moto", "s3-whole"], indirect=True)
OSS = pytest.mark.parametrize("pair", ["oss-v1", "oss-v4", "oss-v4-token"], indirect=True)
BOTH = pytest.mark.parametrize("pair", ["s3-moto", "s3-whole", "oss-v1", "oss-v4"], indirect=True)


@BOTH
def test_a_bucket_without_rules_has_none(pair: Subject) -> None:
    assert found(pair) == ()


@S3
def test_s3_rules_that_delete_or_move_are_told(pair: Subject) -> None:
    s3_put(
        pair,
        {"ID": "all", "Expiration": {"Days": 30}},
        {"ID": "day", "Filter": {"Prefix": "pre/"}, "Expiration": {"Date": DAY}},
        {
            "ID": "cold",
            "Filter": {"Prefix": "pre/fix/daily/"},
            "Transitions": [
                {"Days": 10, "StorageClass": "STANDARD_IA"},
                {"Days": 60, "StorageClass": "GLACIER"},
                {"Days": 365, "StorageClass": "DEEP_ARCHIVE"},
            ],
        },
        {
            "ID": "some",
            "Filter": {"And": {"Prefix": "pre/fix/", "Tags": [{"Key": "a", "Value": "b"}]}},
            "Expiration": {"Days": 1},
        },
    )
    assert found(pair) == (
        BucketRule(name="all", action="delete", days=30),
        BucketRule(name="day", action="delete", prefix="pre/", on=DAY),
        BucketRule(name="cold", action="move", prefix="pre/fix/daily/", days=60),
        BucketRule(name="cold", action="move", prefix="pre/fix/daily/", days=365),
        BucketRule(name="some", action="delete", prefix="pre/fix/", days=1, narrowed=True),
    )


@S3
def test_s3_rules_that_do_no_harm_are_passed_over(pair: Subject) -> None:
    s3_put(
        pair,
        {"ID": "off", "Status": "Disabled", "Expiration": {"Days": 1}},
        {"ID": "elsewhere", "Filter": {"Prefix": "other/"}, "Expiration": {"Days": 1}},
        {"ID": "beside", "Filter": {"Prefix": "pre/fixed/"}, "Expiration": {"Days": 1}},
        {"ID": "warm", "Transitions": [{"Days": 30, "StorageClass": "GLACIER_IR"}]},
        {"ID": "parts", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
        {
            "ID": "old",
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
            "NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "GLACIER"}],
        },
        {"ID": "markers", "Expiration": {"ExpiredObjectDeleteMarker": True}},
    )
    assert found(pair) == ()


@OSS
def test_oss_rules_that_delete_or_move_are_told(pair: Subject) -> None:
    tagging = Tagging(TaggingRule())
    tagging.tag_set.add("a", "b")
    oss_put(
        pair,
        LifecycleRule("all", "", expiration=LifecycleExpiration(days=30)),
        LifecycleRule("before", "pre/", expiration=LifecycleExpiration(created_before_date=date(2027, 1, 1))),
        LifecycleRule("ever", "pre/", expiration=LifecycleExpiration(date=date(2027, 1, 1))),
        LifecycleRule(
            "cold",
            "pre/fix/daily/",
            storage_transitions=[
                StorageTransition(days=10, storage_class="IA"),
                StorageTransition(days=60, storage_class="Archive"),
                StorageTransition(days=180, storage_class="ColdArchive"),
                StorageTransition(created_before_date=date(2027, 1, 1), storage_class="DeepColdArchive"),
            ],
        ),
        LifecycleRule("tagged", "pre/fix/", expiration=LifecycleExpiration(days=1), tagging=tagging),
        LifecycleRule(
            "sized", "pre/", expiration=LifecycleExpiration(days=1), filter=LifecycleFilter(object_size_less_than=500)
        ),
        LifecycleRule(
            "but", "", expiration=LifecycleExpiration(days=1), filter=LifecycleFilter([FilterNot("pre/fix/keep/")])
        ),
        LifecycleRule(
            "unread",
            "",
            storage_transitions=[StorageTransition(days=90, storage_class="Archive", is_access_time=True)],
        ),
    )
    cold = {"name": "cold", "prefix": "pre/fix/daily/", "action": "move"}
    assert found(pair) == (
        BucketRule(name="all", action="delete", days=30),
        BucketRule(name="before", action="delete", prefix="pre/", on=DAY),
        BucketRule(name="ever", action="delete", prefix="pre/", on=DAY),
        BucketRule(**cold, days=60),  # type: ignore[arg-type]
        BucketRule(**cold, days=180),  # type: ignore[arg-type]
        BucketRule(**cold, on=DAY),  # type: ignore[arg-type]
        BucketRule(name="tagged", action="delete", prefix="pre/fix/", days=1, narrowed=True),
        BucketRule(name="sized", action="delete", prefix="pre/", days=1, narrowed=True),
        BucketRule(name="but", action="delete", days=1, narrowed=True),
        BucketRule(name="unread", action="move", days=90, narrowed=True),
    )


@OSS
def test_oss_rules_that_do_no_harm_are_passed_over(pair: Subject) -> None:
    oss_put(
        pair,
        LifecycleRule("off", "", status=LifecycleRule.DISABLED, expiration=LifecycleExpiration(days=1)),
        LifecycleRule("elsewhere", "other/", expiration=LifecycleExpiration(days=1)),
        LifecycleRule("beside", "pre/fixed/", expiration=LifecycleExpiration(days=1)),
        LifecycleRule("warm", "", storage_transitions=[StorageTransition(days=30, storage_class="IA")]),
        LifecycleRule("parts", "", abort_multipart_upload=AbortMultipartUpload(days=1)),
        LifecycleRule("old", "", noncurrent_version_expiration=NoncurrentVersionExpiration(1)),
    )
    assert found(pair) == ()
    # By hand: the SDK writes a boolean that it cannot read itself.
    marker = "<Expiration><ExpiredObjectDeleteMarker>{}</ExpiredObjectDeleteMarker></Expiration>"
    rule = f"<Rule><ID>markers</ID><Prefix></Prefix><Status>Enabled</Status>{marker}</Rule>"
    document = f"<LifecycleConfiguration>{rule}</LifecycleConfiguration>"
    pair.server.lifecycle = document.format("true").encode()
    assert found(pair) == ()
    for odd in (document.format("True").encode(), b"<html>", b"", b"<ListBucketResult></ListBucketResult>"):
        pair.server.lifecycle = odd
        with pytest.raises(Permanent, match=r"does not understand the rules|something else than rules"):
            found(pair)


@pytest.mark.parametrize("pair", ["s3-whole", "oss-v4"], indirect=True)
def test_rules_that_may_not_be_seen_are_not_none(pair: Subject) -> None:
    """Denied is Permanent, weather is Transient, and nothing of the server's prose is repeated."""
    pair.server.script(lambda request: Fault(status=403, code="AccessDenied"))
    with pytest.raises(Permanent, match="main: lifecycle was answered 403 AccessDenied"):
        found(pair)
    pair.server.script(lambda request: Fault(status=500, code="InternalError"))
    with pytest.raises(Transient):
        found(pair)
    pair.server.down()
    with pytest.raises(Transient):
        found(pair)


@pytest.mark.parametrize("pair", ["s3-bare", "s3-rclone"], indirect=True)
def test_a_server_that_knows_of_no_rules_is_not_taken_for_one_without(pair: Subject) -> None:
    """The one refuses, the other answers with a listing of the bucket."""
    with pytest.raises(Permanent):
        found(pair)


@pytest.mark.parametrize("pair", ["local"], indirect=True)
def test_a_folder_has_no_rules_to_tell(pair: Subject) -> None:
    assert not isinstance(pair.store, Ruled)
