"""A catalogue on disk for every test, and the eight processes that some of them share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue
from tests.catalogue import racing
from tests.catalogue.filling import opened


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """An empty catalogue."""
    found = opened(tmp_path)
    yield found
    found.close()


race = pytest.fixture(scope="session")(racing.race)
