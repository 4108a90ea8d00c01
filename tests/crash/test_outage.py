"""A real bucket outage, in short; `scripts/soak/outage.py` makes it long."""

from pathlib import Path

import pytest

from tests.crash.outage import live_through


@pytest.mark.parametrize("seed", [7])
def test_a_real_bucket_outage_in_which_all_urls_die_loses_nothing(seed: int, tmp_path: Path) -> None:
    """Every image that was asked for while both buckets were gone is stored in both, though no URL lived to see it."""
    lived = live_through(seconds=5, images=40, lifetime=4, seed=seed, folder=tmp_path)
    assert lived.verdict.images >= 40
    assert lived.verdict.copies == 2 * lived.verdict.images
    assert lived.died >= 20, "most images were to be asked for during the outage"
