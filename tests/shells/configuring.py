"""A small configuration, written and loaded, for the tests."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from archiver.config import Config, load
from archiver.core.errors import ConfigurationError

SHIPPED = Path(__file__).parents[2] / "config" / "archiver.toml"
SMALL = """
[archiver]
zone = "Asia/Shanghai"

[providers.apiyi]
kind = "images"
api_key = "env:APIYI_API_KEY"

[stores.main]
url = "file:///srv/images"

[[jobs]]
name = "daily-cats"
schedule = "0 9 * * *"
provider = "apiyi"
prompts = ["a cat"]
"""


def configured(folder: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = folder / "archiver.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {}, "UTC")


def complaint(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configured(folder, text, environ)
    assert caught.value.exit_code == 2
    assert not isinstance(caught.value.__context__, ValidationError), "a report of pydantic shows values"
    return str(caught.value)


def uncommented(text: str) -> str:
    """The shipped file with every setting switched on that begins with `#` and no space."""
    return re.sub(r"^#(?=[\[a-z])", "", text, flags=re.MULTILINE)
