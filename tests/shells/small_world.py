"""A small real world in which a bit of everything has happened, for tests that ask questions.

One store, two providers and a batch, and images and generations in every state that a question is about: archived,
edited, waiting, at risk, lost; failed, unknown, planned, reused, in a batch.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from archiver.catalogue import Catalogue
from tests.doubles.batches import BatchDouble
from tests.doubles.provider import ImagesProvider, Mishap
from tests.shells.test_bad_input import job
from tests.world import World, file_section

FIRST, EDIT, WAITING, LOST = "a lighthouse in the fog", "the same in winter", "on its way", "gone for ever"
FAILED, UNKNOWN, PLANNED = "in vain", "who knows", "not now"
_MISHAPS = {
    FAILED.encode(): Mishap(data_null=True),
    UNKNOWN.encode(): Mishap(status=500, charged=True),
    PLANNED.encode(): Mishap(status=429, headers={"Retry-After": "36000"}),
}
_OTHERS = """
[providers.second]
kind = "images"
model = "nano-banana-pro"
base_url = "{double}"
api_key = "env:TEST_PROVIDER_KEY"
price_usd = 0.04
budget_usd_per_month = 30

[providers.many]
kind = "batch"
base_url = "{batches}"
api_key = "env:TEST_BATCH_KEY"
price_usd = 0.02
gather = "0s"
poll_interval = "1h"
"""


@contextmanager
def small_world(folder: Path) -> Iterator[World]:
    """The world, and its providers while it lasts."""
    world = World(folder / "user")
    with ImagesProvider() as double, BatchDouble("openai", running=10**6) as batches:
        double.script(lambda request: next((one for words, one in _MISHAPS.items() if words in request.body), None))
        others = _OTHERS.format(double=double.endpoint, batches=batches.endpoint)
        lines = "".join(
            f"{name} = {value!r}\n" for name, value in batches.settings.items() if name in ("dialect", "model")
        )
        world.configure(
            file_section("main", folder / "store") + others + lines + job(["a cat"]), provider=double, price_usd=0.04
        )
        world.environment["TEST_BATCH_KEY"] = batches.api_key
        _fill(world, double)
        double.source.up()
        yield world


def image_of(world: World, prompt: str) -> str:
    """The id of the one image of this prompt."""
    (row,) = world.sql(
        "select i.id from images as i join generations as g on g.id = i.generation_id where prompt = ?", prompt
    )
    return str(row["id"])


def generation_of(world: World, prompt: str) -> str:
    """The id of the first generation of this prompt."""
    return str(world.sql("select id from generations where prompt = ? order by seq", prompt)[0]["id"])


def _fill(world: World, double: ImagesProvider) -> None:
    ask = ("generate", "--provider", "double")
    wish = f'{{"prompt": "{FIRST}", "tags": ["shop"], "parameters": {{"quality": "high"}}}}'
    world.ok(*ask, "--prompts-file", "-", "--format", "jsonl", text=wish)
    world.ok(*ask, EDIT, "--input", f"image:{image_of(world, FIRST)}", "--param", "quality=low")
    world.ok(*ask, EDIT, "--input", f"image:{image_of(world, FIRST)}", "--param", "quality=low", "--reuse", "1h")
    assert world.run(*ask, FAILED).returncode == 1
    assert world.run(*ask, UNKNOWN).returncode == 1
    assert world.run("generate", "--provider", "second", PLANNED).returncode == 1
    world.ok("generate", "--provider", "many", "by the dozen")
    double.source.down()
    assert world.run(*ask, WAITING, "on its way too", LOST).returncode == 1
    with closing(Catalogue.open(world.folder / "data", create=False)) as catalogue:
        assert catalogue.images.lose(image_of(world, LOST), datetime.now(UTC))
    with closing(sqlite3.connect(world.folder / "data" / "catalogue.db")) as raw, raw:  # half of its life is over
        raw.execute("update images set created_at = '2020-01-01T00:00:00.000Z' where state = 'pending'")
