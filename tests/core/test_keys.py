"""Permanent keys: one per image, readable, and safe in every store."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from archiver.core.policy import DEFAULT_KEY, alternative_key, check_key_template, permanent_key

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
IDENT = "01KAGK3W0V5Y8Z7Q2M4N6P8R9S"
DIGEST = "0123456789abcdef" * 4

always = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def key(template: str = DEFAULT_KEY, **changes: str | datetime) -> str:
    """The key of one image of the job `daily`."""
    values: dict[str, object] = {
        "prefix": "images",
        "job": "daily",
        "created": NOW,
        "image_id": IDENT,
        "sha256": DIGEST,
        "ext": "png",
    }
    return permanent_key(template, **(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "changes", "expected"),
    [
        (DEFAULT_KEY, {}, f"images/daily/2026/11/20/{IDENT.lower()}-0123456789ab.png"),
        (DEFAULT_KEY, {"prefix": ""}, f"daily/2026/11/20/{IDENT.lower()}-0123456789ab.png"),
        (DEFAULT_KEY, {"prefix": "/My/Images/"}, f"My/Images/daily/2026/11/20/{IDENT.lower()}-0123456789ab.png"),
        (DEFAULT_KEY, {"prefix": "a//b"}, f"a/b/daily/2026/11/20/{IDENT.lower()}-0123456789ab.png"),
        ("{id}", {}, IDENT.lower()),
        ("{id}.{ext}", {"ext": "JPG"}, f"{IDENT.lower()}.jpg"),
        ("{sha256}/{id}", {}, f"{DIGEST}/{IDENT.lower()}"),
        ("{sha256:2}/{id}", {}, f"01/{IDENT.lower()}"),
        ("Fox Images/{id}", {}, f"fox-images/{IDENT.lower()}"),
        ("{job}/{id}", {"job": "Täglich 猫!"}, f"t-glich---/{IDENT.lower()}"),
        ("{job}/{id}", {"job": "../../etc"}, f"etc/{IDENT.lower()}"),
        ("../{prefix}/./{id}", {"prefix": ".."}, IDENT.lower()),
        ("//{id}//", {}, IDENT.lower()),
        ("{{literal}}/{id}", {}, f"-literal-/{IDENT.lower()}"),
    ],
)
def test_template_becomes_key(template: str, changes: dict[str, str], expected: str) -> None:
    check_key_template(template)
    assert key(template, **changes) == expected


def test_the_date_is_the_utc_date() -> None:
    """Five in the morning in Shanghai is still yesterday."""
    shanghai = datetime(2026, 1, 1, 5, 0, tzinfo=timezone(timedelta(hours=8)))
    assert key("{yyyy}-{mm}-{dd}/{id}", created=shanghai) == f"2025-12-31/{IDENT.lower()}"


awkward = some.text(max_size=30) | some.sampled_from(["..", ".", "/", "a/../b", "%2e%2e", "~", "\\", "\0", " ", "İ"])


@always
@given(job=awkward, prefix=some.text("aZ09-_./", max_size=12), ext=some.sampled_from(["png", "jpg", "bin"]))
def test_a_key_is_plain_whatever_the_job_is_called(job: str, prefix: str, ext: str) -> None:
    """Lower-case ASCII below the prefix, the whole id in it, and no segment that a client would walk up."""
    whole = key(job=job, prefix=prefix, ext=ext)
    segments = whole.split("/")
    assert not {"", ".", ".."} & set(segments)
    kept = [segment for segment in prefix.split("/") if segment not in ("", ".", "..")]
    assert segments[: len(kept)] == kept
    assert re.fullmatch(r"[a-z0-9./~_-]+", "/".join(segments[len(kept) :]))
    assert IDENT.lower() in segments[-1]
    assert segments[-1].endswith(f".{ext}")


def test_two_images_never_share_a_key() -> None:
    """Same job, same day, same bytes."""
    assert key(image_id="01A") != key(image_id="01B")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("", "needs the whole {id}"),
        ("{sha256}.{ext}", "needs the whole {id}"),
        ("{{id}}/{sha256}", "needs the whole {id}"),
        ("{id}/{day}", "unknown field {day}"),
        ("{id}/{}", "unknown field {}"),
        ("{id.real}", "unknown field {id.real}"),
        ("{id:4}", "{id} stands whole"),
        ("{{id}}/{id:4}", "{id} stands whole"),
        ("{id!r}", "{id} stands whole"),
        ("{id}/{job:3}", "{job} stands whole"),
        ("{id}/{sha256:>12}", "{sha256} stands whole"),
        ("{id}/{sha256:²}", "{sha256} stands whole"),
        ("{id}/{sha256:{yyyy}}", "{sha256} stands whole"),
        ("{id", "expected '}'"),
        ("{id}}", "Single '}'"),
    ],
)
def test_a_template_that_cannot_work_is_refused(template: str, reason: str) -> None:
    """Before anything is stored under it."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_key_template(template)


@pytest.mark.parametrize(
    ("taken", "other"),
    [
        ("images/daily/i.png", "images/daily/i~01234567.png"),
        ("images/daily/i", "images/daily/i~01234567"),
        ("my.images/daily/i", "my.images/daily/i~01234567"),
        ("i.tar.gz", "i.tar~01234567.gz"),
        ("i", "i~01234567"),
    ],
)
def test_a_taken_key_gets_the_digest_before_its_extension(taken: str, other: str) -> None:
    """In the same folder."""
    assert alternative_key(taken, DIGEST) == other
