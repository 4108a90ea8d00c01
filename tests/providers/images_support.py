"""How the tests of the kind `images` make a provider."""

from pathlib import Path

import pytest

from archiver.core.errors import AdapterError
from archiver.core.model import Network
from archiver.providers import images
from tests.providers.paid import Kept, Paid, ask, outside

HTTPS = "https://api.example.com"


def settings(**values: object) -> images.Settings:
    return images.Settings.model_validate({"base_url": HTTPS, "model": "m-1", "api_key": "env:KEY"} | values)


def provider(base_url: str, state: Path, network: Network | None = None, **values: object) -> images.Images:
    return images.connect("apiyi", settings(base_url=base_url, **values), outside(state, network=network))


def failure(endpoint: Paid, state: Path, network: Network | None = None, **values: object) -> AdapterError:
    """Submit once against `endpoint` and return what was raised."""
    sink = Kept()
    with pytest.raises(AdapterError) as caught:
        provider(endpoint.base_url, state, network, **values).submit(ask(), sink)
    return caught.value
