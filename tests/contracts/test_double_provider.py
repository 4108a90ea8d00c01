"""The provider double: what it charges, what it answers, and each of its scripted mishaps."""

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.doubles.pngs import png
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.source import Behaviour

ASK: dict[str, Any] = {"prompt": "a fox on the moon 月球", "model": "nano-banana-pro", "size": "1024x1024", "n": 2}


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    """A running provider."""
    with ImagesProvider() as running:
        yield running


def post(provider: ImagesProvider, ask: Any = None, key: str | None = None, timeout: float = 10) -> requests.Response:
    """One request, as an adapter would send it."""
    headers = {"Authorization": f"Bearer {key or provider.api_key}"}
    return requests.post(
        f"{provider.endpoint}/v1/images/generations", json=ask or ASK, headers=headers, timeout=timeout
    )


def chunks_are_whole(data: bytes) -> bool:
    """Whether `data` is a PNG whose chunks have right CRCs and end with IEND."""
    at, kind = 8, b""
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        at = end + 4
    return data.startswith(b"\x89PNG\r\n\x1a\n") and kind == b"IEND" and at == len(data)


def test_urls_lead_to_distinct_real_images(provider: ImagesProvider) -> None:
    """An answer in URLs is charged once; each URL serves the bytes that the double says it serves."""
    answer = post(provider).json()
    urls = [item["url"] for item in answer["data"]]
    bodies = [requests.get(url, timeout=10).content for url in urls]
    assert bodies == [provider.image(ASK["prompt"], 0), provider.image(ASK["prompt"], 1)]
    assert bodies == [provider.served[urlsplit(url).path] for url in urls]
    assert bodies[0] != bodies[1] and all(chunks_are_whole(body) for body in bodies)
    assert set(parse_qs(urlsplit(urls[0]).query)) == {"Expires", "OSSAccessKeyId", "Signature"}
    (charge,) = provider.charges
    assert (charge.prompt, charge.model, charge.n, charge.size) == (ASK["prompt"], ASK["model"], 2, "1024x1024")
    assert charge.amount_micro == 80_000


def test_base64_is_inline(provider: ImagesProvider) -> None:
    """With b64_json the bytes are in the answer and nothing is served."""
    answer = post(provider, {**ASK, "response_format": "b64_json"}).json()
    assert base64.b64decode(answer["data"][1]["b64_json"]) == provider.image(ASK["prompt"], 1)
    assert provider.served == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"prompt": ""}, "image_generation_user_error"),
        ({"model": None}, "image_generation_user_error"),
        ({"n": 0}, "image_generation_user_error"),
        ({"n": True}, "image_generation_user_error"),
        ({"size": "big"}, "image_generation_user_error"),
        ({"response_format": "png"}, "image_generation_user_error"),
        ({"promt": "x"}, "unknown_parameter"),
        ({"stream": True}, "unknown_parameter"),
    ],
)
def test_invalid_requests_are_free(provider: ImagesProvider, change: dict[str, Any], code: str) -> None:
    """What the double does not understand is refused in OpenAI's envelope and not charged."""
    refused = post(provider, {**ASK, **change})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
    assert provider.charges == [] and provider.served == {}


def test_wrong_key_and_wrong_path_are_free(provider: ImagesProvider) -> None:
    """401 without the right key, 404 elsewhere."""
    assert post(provider, key="sk-other").status_code == 401
    assert requests.get(f"{provider.endpoint}/v1/models", timeout=10).status_code == 404
    assert provider.charges == []
    assert [seen.status for seen in provider.requests] == [401, 404]


def test_mishaps(provider: ImagesProvider) -> None:
    """Each scripted mishap answers and charges as it says, in order; afterwards the provider works."""
    html = Mishap(body=b"<html>", headers={"Content-Type": "text/html"})
    busy = Mishap(status=429, headers={"Retry-After": "3"})
    provider.script([busy, html, Mishap(body=b""), Mishap(data_null=True), Mishap(images=1), Mishap(url_null=True)])
    reply = post(provider)
    assert (reply.status_code, reply.headers["Retry-After"], provider.charges) == (429, "3", [])
    assert post(provider).headers["Content-Type"] == "text/html"
    assert post(provider).content == b""
    assert post(provider).json()["data"] is None
    assert len(post(provider).json()["data"]) == 1
    assert [item["url"] for item in post(provider).json()["data"]] == [None, None]
    assert len(provider.charges) == 5
    provider.script([Mishap(truncated=True), Mishap(status=502, charged=True, body=b"<html>")])
    with pytest.raises(json.JSONDecodeError):
        json.loads(post(provider).content)
    assert post(provider).status_code == 502
    assert len(provider.charges) == 7
    assert len(post(provider).json()["data"]) == 2


def test_cut_connections_and_stalls(provider: ImagesProvider) -> None:
    """A cut before charging is free; after charging, midway through the answer and with a stall, it was paid."""
    provider.script([Mishap(cut="before"), Mishap(cut="after"), Mishap(cut="midway"), Mishap(stall=True)])
    for paid in (0, 1):
        with pytest.raises(requests.exceptions.ConnectionError):
            post(provider)
        assert len(provider.charges) == paid
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        post(provider)
    with pytest.raises(requests.exceptions.ReadTimeout):
        post(provider, timeout=0.2)
    assert len(provider.charges) == 3


def test_urls_expire_and_images_can_fail_first() -> None:
    """With `enforce` the injected clock kills URLs; `image_first` troubles each new image once."""
    clock = datetime(2026, 1, 1, tzinfo=UTC)
    first = (Behaviour(status=503),)
    with ImagesProvider(now=lambda: clock, enforce=True, lifetime=timedelta(hours=1), image_first=first) as provider:
        url = post(provider).json()["data"][0]["url"]
        assert [requests.get(url, timeout=10).status_code for _ in range(2)] == [503, 200]
        clock += timedelta(hours=1)
        assert requests.get(url, timeout=10).status_code == 403
        assert provider.charges[0].at == datetime(2026, 1, 1, tzinfo=UTC)
    with ImagesProvider(signed=False) as provider:
        assert "?" not in post(provider).json()["data"][0]["url"]


def test_png_maker_is_deterministic() -> None:
    """The same seed gives the same bytes, another gives others, and the header states the size."""
    assert png("a") == png("a") != png("b")
    assert struct.unpack(">II", png("a", 30, 20)[16:24]) == (30, 20)
    assert chunks_are_whole(png("a", 30, 20)) and not chunks_are_whole(png("a")[:-1] + b"\0")
