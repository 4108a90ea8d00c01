"""The time of death written in a URL is read for every known signing scheme, and nonsense is no evidence."""

import base64
import json
import random
import string
from datetime import UTC, datetime, timedelta

import pytest

from archiver.core import expiry as schemes
from archiver.core.tempurl import TemporaryURL, expiry

MD5 = "5e" * 16


def encoded(content: object) -> str:
    """JSON in base64 without padding, as tokens carry it."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def cloudfront(content: object) -> str:
    """JSON in base64 with CloudFront's three substitutions."""
    text = base64.b64encode(json.dumps(content).encode()).decode()
    return text.replace("+", "-").replace("=", "_").replace("/", "~")


def policy(at: object) -> dict[str, object]:
    """A CloudFront custom policy."""
    condition = {"DateLessThan": {"AWS:EpochTime": at}}
    return {"Statement": [{"Resource": "https://h/?????>>>>", "Condition": condition}]}


def found(address: str, issued_at: datetime) -> list[tuple[str, str, bool]]:
    """What the URL says: scheme, UTC time, lower bound or not."""
    url = TemporaryURL(address if address.startswith("https://") else f"https://h.example/{address}")
    return [(one.scheme, one.at.strftime("%Y-%m-%dT%H:%M:%SZ"), one.lower_bound) for one in expiry(url, issued_at)]


DISCORD = "attachments/1/2/i.png?ex=65d903de&is=65c68ede&hm=aa&"
# Each address with the UTC time that the vendor's own rule gives; the numbers were taken from live URLs where one was
# known, else from the vendor's description.
STATED = [
    ("U01", "i?X-Amz-Date=20250830T034303Z&X-Amz-Expires=7200&X-Amz-Signature=a", "2025-08-30T05:43:03Z"),
    ("U01", "i?x-amz-date=20250830T034303Z&X%2DAmz%2DExpires=7200", "2025-08-30T05:43:03Z"),
    ("U02", "i?AWSAccessKeyId=a&Expires=1755681051&Signature=b", "2025-08-20T09:10:51Z"),
    ("U03", "7d/eb/20251105/i?Expires=1762956644&OSSAccessKeyId=a&Signature=b%3D", "2025-11-12T14:10:44Z"),
    ("U04", "i?x-oss-date=20260101T000000Z&x-oss-expires=86400&x-oss-signature=a", "2026-01-02T00:00:00Z"),
    ("U05", "i?X-Goog-Date=20250628T112257Z&X-Goog-Expires=3600", "2025-06-28T12:22:57Z"),
    ("U06", "i?GoogleAccessId=a&Expires=1712345678&Signature=b", "2024-04-05T19:34:38Z"),
    ("U07", "i?st=2024-01-03T11%3A13%3A02Z&se=2024-01-03T13%3A13%3A02Z&sp=r&sig=a%2Bb", "2024-01-03T13:13:02Z"),
    ("U07", "i?se=2024-01-03T13:13:02Z&ske=2024-01-03T12:00:00Z&sig=a", "2024-01-03T12:00:00Z"),
    ("U07", "i?se=2024-01-03T13:13:02Z&ske=2024-01-04T12:00:00Z&sig=a", "2024-01-03T13:13:02Z"),
    ("U07", "i?se=2024-01-03&sig=a", "2024-01-03T00:00:00Z"),
    ("U07", "i?se=2024-01-03T21:13:02%2B08:00&sig=a", "2024-01-03T13:13:02Z"),
    ("U08", "i?Expires=1724630400&Key-Pair-Id=a&Signature=b", "2024-08-26T00:00:00Z"),
    ("U09", f"i?Policy={cloudfront(policy(1724630400))}&Key-Pair-Id=a&Signature=b", "2024-08-26T00:00:00Z"),
    ("U10", "i?q-ak=a&q-sign-time=1497530202%3B1497610202&q-key-time=1497530202;1497610202", "2017-06-16T10:50:02Z"),
    ("U10", "i?q-sign-time=1497530202;1497610203&q-key-time=1497530202;1497610202", "2017-06-16T10:50:02Z"),
    ("U11", "i?X-Tos-Date=20250910T015107Z&X-Tos-Expires=86400&X-Tos-Policy=a", "2025-09-11T01:51:07Z"),
    ("U12", f"https://cdn.discordapp.com/{DISCORD}", "2024-02-23T20:45:18Z"),
    ("U12", f"https://media.discordapp.net/{DISCORD}", "2024-02-23T20:45:18Z"),
    ("U13", "api/images/ephemeral/i?exp=1743867804&sig=a", "2025-04-05T15:43:24Z"),
    ("U13", "i?exp=1777100321935&sig=a", "2026-04-25T06:58:41Z"),
    ("U14", "i?AccessKeyId=a&Expires=1656054988&Signature=b", "2022-06-24T07:16:28Z"),
    ("U15", "i?e=1451491200&token=ak:sign=", "2015-12-30T16:00:00Z"),
    ("U16", "i?authorization=bce-auth-v1%2Fak%2F2022-04-20T03%3A30%3A42Z%2F300%2Fhost%2Faa", "2022-04-20T03:35:42Z"),
    ("U19", "i?expires=1728262583176&w=100", "2024-10-07T00:56:23Z"),
    ("U19", f"i?s={MD5}&expires=1728262583", "2024-10-07T00:56:23Z"),
    ("U20", f"i?token=eyJ.{encoded({'exp': 1724630400, 'a': '?>?>~'})}.sig", "2024-08-26T00:00:00Z"),
    ("U20", f"i?token=eyJ.{encoded({'exp': 1724630400.0, 'ab': '?>?>~'})}.sig", "2024-08-26T00:00:00Z"),
    ("U20", f"i?token={encoded({'alg': 'HS256'})}.eyJleHAiOjE3MjQ2MzA0MDB9.sig", "2024-08-26T00:00:00Z"),
]
AT_LEAST = [
    ("U17", f"i?auth_key=1712345678-0-0-{MD5}", "2024-04-05T19:34:38Z"),
    ("U18", f"202404060334/{MD5}/i", "2024-04-05T19:34:00Z"),
    ("U18", f"{MD5}/6610524e/i", "2024-04-05T19:34:38Z"),
    ("U18", f"i?sign={MD5}&time=1712345678", "2024-04-05T19:34:38Z"),
    ("U18", f"i?sign={MD5}&t=6610524e", "2024-04-05T19:34:38Z"),
    ("U18", f"i?sign=1712345678-rand-0-{MD5}", "2024-04-05T19:34:38Z"),
]


@pytest.mark.parametrize(("scheme", "address", "at"), STATED)
def test_expiry_of_every_scheme_is_read(scheme: str, address: str, at: str) -> None:
    """One reading per scheme, in UTC, whatever the case and the escaping of the names."""
    issued_at = datetime.fromisoformat(at) - timedelta(hours=1)
    assert found(address, issued_at) == [(scheme, at, False)]


@pytest.mark.parametrize(("scheme", "address", "at"), AT_LEAST)
def test_content_network_times_are_lower_bounds(scheme: str, address: str, at: str) -> None:
    """Only the server knows how long after this time the URL still works; paths of type B are in UTC+8."""
    issued_at = datetime.fromisoformat(at) - timedelta(hours=1)
    assert found(address, issued_at) == [(scheme, at, True)]


def test_every_scheme_of_the_reference_has_a_row_and_an_example() -> None:
    """U01 to U20, none forgotten."""
    ids = {f"U{number:02}" for number in range(1, 21)}
    assert {scheme.id for scheme in schemes.SCHEMES} == ids
    assert {row[0] for row in STATED + AT_LEAST} == ids


def test_two_clocks_in_one_url_are_both_read() -> None:
    """A content network in front of a signed origin: either can end it."""
    address = (
        "i?X-Amz-Date=20240826T000000Z&X-Amz-Expires=7200&Expires=1724632200&Key-Pair-Id=a&Signature=b"
        f"&auth_key=1724630400-0-0-{MD5}"
    )
    assert found(address, datetime(2024, 8, 26, tzinfo=UTC)) == [
        ("U01", "2024-08-26T02:00:00Z", False),
        ("U08", "2024-08-26T00:30:00Z", False),
        ("U17", "2024-08-26T00:00:00Z", True),
    ]


def test_query_is_split_before_it_is_decoded() -> None:
    """A separator inside a value starts no parameter, and the first of two equal names counts."""
    issued_at = datetime(2024, 8, 26, tzinfo=UTC)
    assert found("i?name=a%26Expires%3D1724630400", issued_at) == []
    assert found("i?expires=1724630400&Expires=1724630999", issued_at) == [("U19", "2024-08-26T00:00:00Z", False)]


def test_expiry_that_is_past_is_told_and_an_absurd_one_is_not() -> None:
    """A backfill may try a dead URL once; a number ten years away from the issue date hides nothing."""
    issued_at = datetime(2025, 6, 1, tzinfo=UTC)
    url = "i?expires={}"
    ten_years = timedelta(days=3653)
    for distance in (-ten_years, timedelta(days=-1), timedelta(0), ten_years):
        assert len(found(url.format(int((issued_at + distance).timestamp())), issued_at)) == 1
    for distance in (-ten_years - timedelta(seconds=1), ten_years + timedelta(seconds=1)):
        assert found(url.format(int((issued_at + distance).timestamp())), issued_at) == []


def test_one_absurd_number_does_not_hide_a_sound_one() -> None:
    """Weaker evidence stands when the stronger is nonsense."""
    address = "i?exp=99999999999&sig=a&X-Amz-Date=20250830T034303Z&X-Amz-Expires=7200"
    assert [row[0] for row in found(address, datetime(2025, 8, 30, tzinfo=UTC))] == ["U01"]


@pytest.mark.parametrize(
    "address",
    [
        "i",
        "i?",
        "i?w=100&h=100",
        "i?X-Amz-Date=20250830T034303Z",
        "i?X-Amz-Date=20250830T034303Z&X-Amz-Expires=0",
        "i?X-Amz-Date=20250830T034303Z&X-Amz-Expires=604801",
        "i?X-Amz-Date=20250830T034303Z&X-Amz-Expires=-60",
        "i?X-Amz-Date=20250832T034303Z&X-Amz-Expires=60",
        "i?X-Amz-Date=2025-08-30&X-Amz-Expires=60",
        "i?X-Amz-Date=99991231T235959Z&X-Amz-Expires=60",
        "i?Expires=&AWSAccessKeyId=a&Signature=b",
        "i?Expires=1e9",
        "i?Expires=%D9%A1%D9%A7%D9%A2%D9%A4%D9%A6%D9%A3%D9%A0%D9%A4%D9%A0%D9%A0",
        "i?Expires=" + "9" * 5000,
        "i?se=never&sig=a",
        "i?se=0001-01-01T00:00:00%2B23:00&sig=a",
        "i?se=2025-08-30",
        f"https://cdn.example.com/{DISCORD}",
        "https://cdn.discordapp.com/i.png?ex=65d903de",
        "https://cdn.discordapp.com/i.png?ex=zz&is=65c68ede&hm=aa",
        "i?q-sign-time=1497530202",
        "i?exp=1743867804",
        "i?e=soon&token=a",
        "i?authorization=bce-auth-v1/ak/2022-04-20T03:30:42Z/-1/host/aa",
        "i?authorization=bce-auth-v1/ak",
        "i?authorization=Bearer%20x",
        "i?auth_key=1712345678",
        f"i?sign={MD5}",
        f"i?sign={MD5}&t=soon",
        f"209913320000/{MD5}/i",
        f"deep/202404060334/{MD5}/i",
        "i?token=eyJhbGciOiJIUzI1NiJ9",
        "i?token=eyJhbGciOiJIUzI1NiJ9.!!!.sig",
        f"i?token=eyJhbGciOiJIUzI1NiJ9.{encoded([])}.sig",
        f"i?token=eyJhbGciOiJIUzI1NiJ9.{encoded({'exp': 'soon'})}.sig",
        f"i?token=eyJhbGciOiJIUzI1NiJ9.{encoded({'exp': float('inf')})}.sig",
        f"i?token=eyJhbGciOiJIUzI1NiJ9.{encoded({'exp': float('nan')})}.sig",
        f"i?token=eyJ.{base64.urlsafe_b64encode(b'[' * 5000).decode()}.sig",
        "i?Policy=a&Key-Pair-Id=b",
        f"i?Policy={cloudfront(policy('soon'))}&Key-Pair-Id=b",
        f"i?Policy={cloudfront({'Statement': []})}&Key-Pair-Id=b",
        f"i?Policy={cloudfront({'Statement': {}})}&Key-Pair-Id=b",
        f"i?Policy={cloudfront('text')}&Key-Pair-Id=b",
    ],
)
def test_url_that_states_nothing_readable_gives_no_evidence(address: str) -> None:
    """Half a scheme, a damaged value or "never" is the same as silence, and raises nothing."""
    assert found(address, datetime(2025, 1, 1, tzinfo=UTC)) == []


def test_random_queries_never_raise() -> None:
    """Whatever the parameters hold, the answer is a tuple of aware times in UTC."""
    seed = 5
    print("seed", seed)
    rng = random.Random(seed)
    names = sorted({name for scheme in schemes.SCHEMES for name in scheme.needs | scheme.names})
    values = [row[1].rpartition("=")[2] for row in STATED] + ["", "-1", "eyJ.e30.x", "bce-auth-v1/a/b/5", MD5]
    readings = 0
    for _ in range(4000):
        pairs = []
        for _ in range(rng.randrange(8)):
            value = rng.choice(values)
            noise = "".join(rng.choices(string.digits + "TZ-:;./~_%", k=rng.randrange(12)))
            pairs.append(rng.choice(names) + "=" + rng.choice([value, noise, value + noise]))
        url = TemporaryURL("https://cdn.discordapp.com/i?" + "&".join(pairs))
        result = expiry(url, datetime(2025, 1, 1, tzinfo=UTC))
        assert all(one.at.tzinfo is UTC for one in result)
        readings += len(result)
    assert readings
