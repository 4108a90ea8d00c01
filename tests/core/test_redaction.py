"""Secrets vanish from any text, what is innocent stays, and redacting again changes nothing."""

import json
import random
import string

import pytest

from archiver.core.redaction import names_a_secret, redact
from archiver.core.tempurl import TemporaryURL

OSS = "https://b.oss-cn-hangzhou.aliyuncs.com/7d/i.png?Expires=1762956644&OSSAccessKeyId=TMP.3Kx9fQ&Signature=sEcReT%2B1%3D"
S3 = (
    "https://b.s3.amazonaws.com/i.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F2026"
    "&X-Amz-Date=20261120T090000Z&X-Amz-Expires=3600&X-Amz-Security-Token=sEcReTtOkEn&X-Amz-Signature=sEcReT1234"
)
KEY = "sk-sEcReT1234567890abcdefghijklmnop"
ACCESS = "LTAI5tsEcReT1234567890"
PRINTED = {"OSS": OSS, "S3": S3, "key": KEY}

# A text, and what must not be left of it.
SECRETS = [
    (OSS, "sEcReT"),
    (S3, "sEcReT"),
    (S3, "AKIAIOSFODNN7EXAMPLE"),
    (f"GET <{OSS}> failed", "sEcReT"),
    (OSS.replace("https://", "HTTPS://"), "sEcReT"),
    (json.dumps({"url": OSS}), "sEcReT"),
    (json.dumps({"url": OSS}).replace("&", "\\u0026"), "sEcReT"),
    (OSS.replace("&", "&amp;"), "sEcReT"),
    (OSS.replace("?", "%3F"), "sEcReT"),
    (f"two: {OSS} {S3}", "sEcReT"),
    ("http://me:sEcReT@proxy.example:3128/ refused the connection", "sEcReT"),
    (f"Incorrect API key provided: {KEY}.", "sEcReT"),
    (f"Authorization: Bearer {KEY}", "sEcReT"),
    ("authorization: Bearer sEcReT", "sEcReT"),
    ("Authorization: OSS LTAI5tabcdefghijkl:sEcReT+signature=", "sEcReT"),
    ("Authorization: Basic c0VjUmVUOnNFY1JlVA==", "c0VjUmVUOnNFY1JlVA"),
    (
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/2026, SignedHeaders=host, Signature=sEcReT",
        "sEcReT",
    ),
    ("{'Authorization': 'Bearer sEcReT', 'Host': 'h'}", "sEcReT"),
    ('{"Authorization": "Bearer sEcReT"}', "sEcReT"),
    (json.dumps({"event": json.dumps({"Authorization": "Bearer sEcReT"})}), "sEcReT"),
    ("[('Authorization', 'x'), ('Cookie', 'y')] Cookie: a=b; session=sEcReT", "sEcReT"),
    ("Set-Cookie: id=1; token=sEcReT; Path=/", "sEcReT"),
    ("invalid header value b'Bearer sEcReT1234567890abcdef\\n'", "sEcReT"),
    (f"The OSS Access Key Id you provided does not exist: {ACCESS}", "sEcReT"),
    ("AWSAccessKeyId AKIAIOSFODNN7EXAMPLE unknown", "IOSFODNN7EXAMPLE"),
    ("temporary ASIAIOSFODNN7EXAMPLE unknown", "IOSFODNN7EXAMPLE"),
    ("x-amz-security-token: sEcReT", "sEcReT"),
    ("x-oss-security-token=sEcReT", "sEcReT"),
    ("security_token=sEcReT", "sEcReT"),
    ("'SecurityToken': 'sEcReT'", "sEcReT"),
    ('"x-oss-signature": "sEcReT"', "sEcReT"),
    ("access_token=sEcReT&expires_in=7200", "sEcReT"),
    ("AccessKeySecret: sEcReT", "sEcReT"),
    ("aws_secret_access_key = sEcReT", "sEcReT"),
    ("OSS_ACCESS_KEY_SECRET=sEcReT", "sEcReT"),
    ('{"api_key": "sEcReT", "model": "nano"}', "sEcReT"),
    ("x-api-key: sEcReT", "sEcReT"),
    ("password => sEcReT", "sEcReT"),
    ("Signature=sEcReT", "sEcReT"),
    ("CAIS" + "sEcReT/+" * 60, "sEcReT"),
    ('{"b64_json": "' + "iVBORw0KGgo" * 40 + '"}', "iVBORw0KGgoiVBORw0KGgo"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_planted_secrets_vanish(text: str, secret: str) -> None:
    """Whatever carries them: a URL, a header, a dictionary, JSON in JSON, a plain sentence."""
    assert secret in text
    shown = redact(text)
    assert secret not in shown
    assert "[redacted]" in shown


@pytest.mark.parametrize("text", [text for text, _ in SECRETS])
def test_redacting_again_changes_nothing(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fetch failed: connection reset by peer",
        "https://r2cdn.copilotbase.com/r2cdn2/6b1f.png",
        "stored 2048576 bytes in 1.2 s as s3://bucket/images/daily/2026/11/20/01jd-5e5e5e5e5e5e.png",
        "prompt: a fox in the snow, 猫, 100%",
        "max_tokens=4096, prompt_tokens: 12, completion_tokens: 8",
        "the bearer of bad news",
        "task-1234567890 is disk-1234567890",
        "429 Too Many Requests; Retry-After: 30",
        "sha256 " + "5e" * 32,
        "2026-11-20T09:00:00.000Z [info] archived",
        "why? because: it is so",
        "mailto:me@example.com http://[::1]:8080/a:b@c",
    ],
)
def test_innocent_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_what_is_left_can_still_be_told_apart() -> None:
    """Host and path stay, and one signature differs from another by a mark that tells nothing."""
    first, second = redact(OSS), redact(OSS.replace("sEcReT", "other"))
    assert first.startswith("https://b.oss-cn-hangzhou.aliyuncs.com/7d/i.png?[redacted]#")
    assert first != second
    assert first == redact(OSS)
    assert redact('{"api_key": "sEcReT", "model": "nano"}') == '{"api_key": "[redacted]", "model": "nano"}'
    assert redact("Authorization: Bearer sEcReT\nHost: h") == "Authorization: [redacted]\nHost: h"
    assert redact("access_token=sEcReT&expires_in=7200") == "access_token=[redacted]&expires_in=7200"


@pytest.mark.parametrize("address", [OSS, S3])
def test_what_a_temporary_url_shows_of_itself_needs_no_redaction(address: str) -> None:
    shown = f"fetching {TemporaryURL(address)}"
    assert redact(shown) == shown


def test_random_text_around_a_secret() -> None:
    """Nothing before or after a credential brings it back, and redacting twice is redacting once."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    pieces = [
        *"\"'<>\\ \n\t=:;,&?@/#%[]{}",
        "token",
        "Bearer ",
        "https://",
        "signature",
        "cookie",
        "[redacted]",
        "猫",
        "x" * 90,
    ]
    for _ in range(3000):
        before, after = (
            "".join(chance.choices([*pieces, *string.ascii_letters], k=chance.randrange(12))) for _ in "12"
        )
        text = f"{before} {chance.choice([OSS, S3, KEY, ACCESS])} {after}"
        shown = redact(text)
        assert "sEcReT" not in shown, text
        assert redact(shown) == shown, text


def test_long_text_takes_no_time() -> None:
    """Many times one word, names without values, or half a URL: every pattern is linear (a square would time out)."""
    for piece in ("a", "token", "x-amz-", "x-oss-signature", "https://", "://", "a:", "bearer ", "sk-", "'", "\\", " "):
        text = piece * (300_000 // len(piece))
        assert "[redacted]" in redact(text + f" {KEY}")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("api_key", True),
        ("Authorization", True),
        ("secret_access_key", True),
        ("x-oss-security-token", True),
        ("password", True),
        ("Cookie", True),
        ("keyword", False),
        ("tokens", False),
        ("colour", False),
        ("author", False),
        ("月球", False),
    ],
)
def test_a_name_tells_a_secret_whatever_its_value_looks_like(name: str, is_one: bool) -> None:
    assert names_a_secret(name) is is_one


def test_a_text_that_nothing_is_looked_for_in_holds_nothing() -> None:
    """A mark that every text is searched for stands in front: what is found behind it is found without it."""
    chance = random.Random(seed := random.randrange(2**32))
    print("seed", seed)
    pieces = [
        "bearer ",
        "Bearer\t",
        "sk-",
        "LTAI",
        "AKIA",
        "ASIA",
        "a" * 150,
        "b/_+" * 20,
        "0123456789abcdef",
        " ",
        "x",
        "-",
    ]
    for _ in range(5000):
        text = "".join(chance.choice(pieces) for _ in range(chance.randrange(1, 8)))
        assert redact(f"@: {text}") == f"@: {redact(text)}", text
