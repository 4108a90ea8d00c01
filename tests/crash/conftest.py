"""What the tests of this folder share: the nursery that their processes come from."""

from collections.abc import Iterator

import pytest

from tests.crash.nursery import Nursery


@pytest.fixture(scope="package")
def nursery() -> Iterator[Nursery]:
    """As many servers as there are cores in a small machine: so many runs go on at a time."""
    with Nursery(2) as running:
        yield running
