"""The kind `images`: which settings are refused, and what they promise."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from archiver.core.model import Promise
from archiver.settings import Section
from tests.providers.images_support import HTTPS, provider, settings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"base_url": "http://api.apiyi.com:16888"}, "write https, or set allow_http = true"),
        ({"base_url": "http://10.0.0.5"}, "write https, or set allow_http = true"),
        ({"base_url": "http://localhost.example.com"}, "write https"),
        ({"base_url": "api.apiyi.com"}, "write an address such as https://"),
        ({"base_url": "ftp://host"}, "write an address such as https://"),
        ({"base_url": "https://"}, "write an address such as https://"),
        ({"base_url": "https://host/a b"}, "write an address such as https://"),
        ({"base_url": "https://host\\@evil"}, "write an address such as https://"),
        ({"base_url": "https://sk-abc@host"}, "the key belongs into api_key"),
        ({"base_url": "https://host?key=sk-abc"}, "the key belongs into api_key"),
        ({"api_key": "sk-abc"}, "env:NAME"),
        ({"model": ""}, "at least 1 character"),
        ({"concurrency": 0}, "greater than or equal to 1"),
        ({"price_usd": -1}, "greater than or equal to 0"),
        ({"lifetime": "0s"}, "greater than datetime"),
        ({"lifetime": 600}, "is no duration"),
        ({"free_statuses": [200]}, "greater than or equal to 400"),
        ({"response_format": "png"}, "'url', 'b64_json' or 'omit'"),
        ({"base_ulr": "x"}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused_with_the_way_out(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**values)
    assert words in str(caught.value)
    assert "sk-abc" not in str(caught.value)


@pytest.mark.parametrize("base_url", ["http://localhost:8080", "http://127.0.0.2", "http://[::1]:1/v1", "https://host"])
def test_http_is_allowed_on_this_machine(base_url: str) -> None:
    assert settings(base_url=base_url).base_url == (base_url,)


def test_http_elsewhere_is_allowed_by_name() -> None:
    assert settings(base_url="http://api.apiyi.com:16888", allow_http=True).allow_http


def test_settings_become_the_promise(tmp_path: Path) -> None:
    asked = provider(HTTPS, tmp_path, lifetime="1d", price_usd=0.055, concurrency=3)
    assert isinstance(settings(), Section)
    assert (asked.name, asked.model, asked.concurrency) == ("apiyi", "m-1", 3)
    assert asked.promise == Promise(lifetime=dt.timedelta(days=1), price_micro=55_000)
    assert provider(HTTPS, tmp_path, price_usd=Decimal("0.0000014")).promise == Promise(lifetime=None, price_micro=1)
    assert provider(HTTPS, tmp_path).promise == Promise()
