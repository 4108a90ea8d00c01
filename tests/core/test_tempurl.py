"""A temporary URL keeps its text, hides its signature, and knows the same object under a new signature."""

import copy
import dataclasses
import json
import pickle
from dataclasses import dataclass
from datetime import timedelta

import pytest

from archiver.core.tempurl import LONGEST, TemporaryURL, host_lifetime, is_signed

SECRET = "S3cretSignature"
OSS = (
    f"https://Bucket.oss-us-west-1.aliyuncs.com:8443/a/b.png?Expires=1762956644&OSSAccessKeyId=LTAI&Signature={SECRET}"
)


@pytest.mark.parametrize(
    "text",
    [
        OSS,
        "HTTP://h/%7e%2F/../x.png?b=2&a=1&&c=%e4%b8%ad+x#frag",
        "https://cdn.discordapp.com/attachments/1/2/image.png?ex=65d903de&is=65c68ede&hm=aa&",
        "https://h",
        "http://[2001:db8::1]:80/x",
        "https://h/图.png?x=;,'()*",
    ],
)
def test_text_is_revealed_byte_for_byte(text: str) -> None:
    """Order, case, escapes, empty pieces and the fragment are all kept."""
    assert TemporaryURL(text).reveal() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h/x.png",
        "//h/x.png",
        "/x.png",
        "ftp://h/x.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "https://",
        "https:///x.png",
        "https://?q=1",
        "https:/h/x.png",
        f"https://user:{SECRET}@h/x.png",
        "https://user@h/x.png",
        "http://evil.com\\@127.0.0.1/",
        f"https://h/x.png?a=1\\u0026b={SECRET}",
        f"https://h/x.png?a=1 {SECRET}",
        f"https://h/x.png?a={SECRET}\n",
        "https://h/\u00a0x.png",
        "https://h/\u202ex.png",
        "https://h/\ud800x.png",
        "https://h/\x7f",
        "https://h/\0",
        "https://h:0/x.png",
        "https://h:65536/x.png",
        "https://h:٣/x.png",
        "https://h:a/x.png",
        "https://h%2eevil/x.png",
        "https://中.cn/x.png",
        "https://[::1/x.png",
        "https://[fe80::1%25eth0]/x.png",
        " https://h/x.png",
        f"https://h/x.png?a={SECRET}" + "a" * LONGEST,
    ],
)
def test_what_is_no_plain_web_address_is_refused_without_quoting_it(text: str) -> None:
    """Two parsers could disagree on these, or nothing could fetch them."""
    with pytest.raises(ValueError, match="URL") as caught:
        TemporaryURL(text)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_longest_text_is_still_accepted() -> None:
    """The limit itself is inside."""
    text = "https://h/" + "a" * (LONGEST - 10)
    assert TemporaryURL(text).reveal() == text


def test_shown_text_is_redacted_in_every_way_of_showing() -> None:
    """str, repr, format, %-formatting and JSON with a default never show the query."""
    url = TemporaryURL(OSS)
    redacted = "https://bucket.oss-us-west-1.aliyuncs.com:8443/a/b.png?[redacted]#"
    assert str(url).startswith(redacted)
    assert len(str(url)) == len(redacted) + 8
    shown = [repr(url), f"{url}", f"{url!r:>200}", "%s" % (url,), repr([url]), json.dumps({"u": url}, default=str)]  # noqa: UP031
    assert all(redacted in text and SECRET not in text and "LTAI" not in text for text in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://H/a/b.png", "https://h/a/b.png"),
        ("https://h", "https://h"),
        (f"https://h/a#{SECRET}", "https://h/a#"),
        (f"https://h/202404060334/{'5e' * 16}/a.png", "https://h/202404060334/[redacted]/a.png"),
        (f"https://h/{'5e' * 16}/6610524e/a.png", "https://h/[redacted]/6610524e/a.png"),
        (f"https://h/a.png%3FSignature={SECRET}", "https://h/a.png[redacted]"),
        (f"https://h/a.png&Signature={SECRET}", "https://h/a.png[redacted]"),
    ],
)
def test_signature_outside_the_query_is_redacted_too(text: str, shown: str) -> None:
    """CDN signatures live in the path, and a mangled query ends up there; the mark says that something is hidden."""
    result = str(TemporaryURL(text))
    plain, _, mark = result.partition("#")
    assert plain == shown.partition("#")[0]
    assert bool(mark) == (plain.lower() != text.lower())
    assert SECRET not in result and "5e5e" not in result


def test_two_signatures_are_told_apart_in_logs() -> None:
    """The mark behind the redacted query differs with the text."""
    assert str(TemporaryURL(OSS)) != str(TemporaryURL(OSS + "x"))


def test_equality_and_hash_go_by_the_exact_text() -> None:
    """Two spellings of one address are two URLs, and a URL never equals a string."""
    assert TemporaryURL(OSS) == TemporaryURL(OSS)
    assert len({TemporaryURL(OSS), TemporaryURL(OSS), TemporaryURL(OSS.lower())}) == 2
    assert TemporaryURL(OSS) != OSS


def test_url_does_not_change_and_has_no_place_for_more() -> None:
    """No attribute can be set, removed or added."""
    url = TemporaryURL(OSS)
    for name in ("_text", "host", "other"):
        with pytest.raises(AttributeError):
            setattr(url, name, "x")
    with pytest.raises(AttributeError):
        del url.host
    assert not hasattr(url, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_url_is_never_pickled(protocol: int) -> None:
    """A pickle is a file with the secret in it."""
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(TemporaryURL(OSS), protocol)


def test_copies_of_a_record_keep_the_url_hidden() -> None:
    """Dataclass tools copy deeply; the copy is the URL itself, still redacted."""

    @dataclass(frozen=True)
    class Record:
        url: TemporaryURL

    record = Record(TemporaryURL(OSS))
    assert copy.deepcopy(record) == copy.copy(record) == record
    assert SECRET not in repr(dataclasses.asdict(record))


def test_host_and_scheme_are_lower_case_without_port() -> None:
    """What policies compare."""
    url = TemporaryURL("HTTPS://CDN.Example.COM:8443/X")
    assert (url.host, url.scheme) == ("cdn.example.com", "https")


AGAIN = {
    "S3 V4": (
        "https://H/k.png?x-id=GetObject&X-Amz-Date=20250830T034303Z&X-Amz-Expires=7200&X-Amz-Signature=aa",
        "https://h/k.png?X-Amz-Security-Token=t&x-id=GetObject&X-Amz-Signature=bb&X-Amz-Date=20250901T000000Z&X-Amz-Expires=9",
    ),
    "OSS V1": (
        "https://h/k.png?Expires=1762956644&OSSAccessKeyId=a&Signature=b&x-oss-process=image/resize,w_9",
        "https://h/k.png?x-oss-process=image/resize,w_9&OSSAccessKeyId=c&expires=1762956999&signature=d#f",
    ),
    "Azure": (
        "https://h/k.png?st=2024-01-03T11:13:02Z&se=2024-01-03T13:13:02Z&sp=r&sv=2021-08-06&sr=b&sig=aa",
        "https://h/k.png?se=2024-02-03&sig=bb",
    ),
    "Discord": (
        "https://cdn.discordapp.com/a/k.png?ex=65d903de&is=65c68ede&hm=aa&",
        "https://cdn.discordapp.com/a/k.png?ex=75d903de&is=75c68ede&hm=bb",
    ),
    "CDN type B": (f"https://h/202404060334/{'5e' * 16}/d/k.png", f"https://h/202504060334/{'6f' * 16}/d/k.png"),
    "CDN type C": (f"https://h/{'5e' * 16}/6610524e/d/k.png", f"https://h/{'6f' * 16}/6710524e/d/k.png"),
    "imgix": (f"https://h/k.png?w=9&expires=1728262583&s={'5e' * 16}", f"https://h/k.png?w=9&expires=9&s={'6f' * 16}"),
    "unknown vendor": (
        "https://h/k.png?Expires=1728262583&Signature=a",
        "https://h/k.png?Expires=1828262583&Signature=b",
    ),
}


@pytest.mark.parametrize("name", AGAIN)
def test_same_object_signed_again_has_the_same_identity(name: str) -> None:
    """Signature parameters and path segments do not count, in any order and case."""
    first, second = (TemporaryURL(text) for text in AGAIN[name])
    assert first.identity == second.identity
    assert first != second
    assert len(first.identity) == 64


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "https://h/k.png?Expires=1&OSSAccessKeyId=a&Signature=b&v=1",
            "https://h/k.png?Expires=1&OSSAccessKeyId=a&Signature=b&v=2",
        ),
        ("https://h/k.png?sig=1", "https://h/k.png?sig=2"),
        ("https://h/k.png?a=1&b=2", "https://h/k.png?b=2&a=1"),
        ("https://h/k.png?a=1&", "https://h/k.png?a=1"),
        ("https://h/k.png", "http://h/k.png"),
        ("https://h/k.png", "https://h:8443/k.png"),
        ("https://h/k.png", "https://h/K.png"),
        ("https://h/k.png?expires=1&s=100", "https://h/k.png?expires=1&s=200"),
        (f"https://h/202404060334/{'5e' * 16}/a.png", f"https://h/202404060334/{'5e' * 16}/b.png"),
        (f"https://h/x/202404060334/{'5e' * 16}/a.png", f"https://h/x/202404060335/{'5e' * 16}/a.png"),
        (f"https://h/202404060334/{'5e' * 16}/d/a.png", f"https://h/202404060334/{'5e' * 16}/e/a.png"),
        (f"https://h/{'5e' * 16}/6610524e/d/a.png", f"https://h/{'5e' * 16}/6610524e/e/a.png"),
    ],
)
def test_different_objects_have_different_identities(first: str, second: str) -> None:
    """Everything that is not a recognised signature counts; a URL without one counts whole."""
    assert TemporaryURL(first).identity != TemporaryURL(second).identity


@pytest.mark.parametrize(
    ("host", "lifetime"),
    [
        ("delivery-eu1.bfl.ai", timedelta(minutes=10)),
        ("bfldeliverysc.blob.core.windows.net", timedelta(minutes=10)),
        ("oaidalleapiprodscus.blob.core.windows.net", timedelta(minutes=60)),
        ("replicate.delivery", timedelta(hours=1)),
        ("fal.media", timedelta(hours=1)),
        ("pbxt.replicate.delivery", timedelta(hours=1)),
        ("V3B.fal.media", timedelta(hours=1)),
        ("aiart-1258344699.cos.ap-guangzhou.myqcloud.com", timedelta(hours=1)),
        ("dashscope-result-sh.oss-cn-shanghai.aliyuncs.com", timedelta(hours=24)),
        ("r2cdn.copilotbase.com", timedelta(hours=24)),
        ("ark-content-generation-v2-cn-beijing.tos-cn-beijing.volces.com", timedelta(hours=24)),
        ("apiyi-oss.oss-cn-beijing.aliyuncs.com", None),
        ("notfal.media", None),
        ("fal.media.evil.com", None),
        ("account.blob.core.windows.net", None),
    ],
)
def test_known_hosts_have_a_lifetime_and_others_none(host: str, lifetime: timedelta | None) -> None:
    """The provider of the first articles promises 7 days, and its host is not in the table."""
    assert host_lifetime(TemporaryURL(f"https://{host}/7d/a.png")) == lifetime


def test_a_signature_is_known_when_it_is_seen() -> None:
    """By the table of schemes: what is signed is one object, never a page."""
    for signed in (
        "https://h/a?Expires=1&Signature=x&OSSAccessKeyId=LTAI",
        "https://h/a?sig=x&se=2026-01-01T00:00:00Z",
    ):
        assert is_signed(TemporaryURL(signed))
    for bare in ("https://h/a.png", "https://h/a?page=2&sort=date", "https://h/?q=signature"):
        assert not is_signed(TemporaryURL(bare))
