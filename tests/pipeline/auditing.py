"""Checks and repairs of a workshop's archive, and the damage that they are to find."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archiver.core.auditing import Share, exit_code, exit_code_of_repair
from archiver.core.ports import Outside, Store
from archiver.pipeline.examining import Examination
from archiver.pipeline.repairing import Repair
from archiver.stores import local
from tests.doubles.provider import ImagesProvider
from tests.pipeline.workshop import Workshop, open_workshop

BOTH = ("near", "other")
KINDS = ("deleted", "cut", "flipped", "emptied")


def examination(shop: Workshop, *names: str, share: Share | None = None, believes_empty: bool = False) -> Examination:
    """A check of these stores, or of all."""
    stores = shop.pipeline.carrier.stores
    return Examination(
        catalogue=shop.catalogue,
        stores={name: stores[name] for name in names or stores},
        known=frozenset(stores),
        spool=shop.pipeline.spool,
        inbox=shop.pipeline.inbox,
        now=shop.clock,
        share=share,
        believes_empty=believes_empty,
    )


def check(shop: Workshop, *names: str, **how: Any) -> tuple[dict[str, int], int]:
    """What a check finds, and its exit code."""
    examination(shop, *names, **how).run()
    counts = shop.catalogue.audit.counts()
    return counts, exit_code(counts, shop.catalogue.audit.hopeless())


def named(shop: Workshop) -> list[tuple[str, str, str]]:
    """Word, store and image of everything that the last check found."""
    return [(row["word"], row["store"], row["image_id"]) for row in shop.catalogue.audit.first(10**6)]


def mending(shop: Workshop) -> Repair:
    """A repair of what the last check found."""
    pipeline = shop.pipeline
    return Repair(
        catalogue=shop.catalogue,
        owner=pipeline.owner,
        stores=pipeline.carrier.stores,
        spool=pipeline.spool,
        carrier=pipeline.carrier,
        settler=pipeline.settler,
        now=shop.clock,
        new_id=shop.new_id,
    )


def repair(shop: Workshop, *names: str, **how: Any) -> tuple[dict[tuple[str, str], int], int]:
    """Check and repair, a while later; what became of it, and the exit code."""
    shop.clock.advance(minutes=5)
    examination(shop, *names, **how).run()
    mending(shop).run()
    fates = shop.catalogue.audit.fates()
    return fates, exit_code_of_repair(fates, shop.catalogue.audit.hopeless())


@contextmanager
def two_folders(folder: Path, name: str = "data") -> Iterator[tuple[Workshop, ImagesProvider]]:
    """A process with the stores `near` and `other`, two folders that outlive it."""

    def others(outside: Outside) -> dict[str, Store]:
        settings = local.Settings(url=f"file://{folder / 'other'}")
        return {"other": local.connect("other", settings, outside)}

    with (
        ImagesProvider() as double,
        open_workshop(folder / name, near=folder / "near", double=double, others=others) as shop,
    ):
        yield shop, double


def archive(shop: Workshop, prompts: int, *, n: int = 1, stores: tuple[str, ...] = BOTH) -> list[str]:
    """Make and archive images; their ids."""
    wanted = shop.plan("double", *(f"prompt {number}" for number in range(prompts)), stores=stores, n=n)
    shop.ask("double")
    shop.copy()
    assert set(shop.states()) == {"stored"}
    rows = shop.catalogue._database.rows("select id from images order by seq")
    assert len(rows) >= len(wanted) * n
    return [row["id"] for row in rows]


def file_of(folder: Path, shop: Workshop, image_id: str, store: str) -> Path:
    """Where a copy lies in a folder."""
    statement = "select key from copies where image_id = ? and store = ?"
    return folder / store / str(shop.catalogue._database.rows(statement, (image_id, store))[0]["key"])


def damage(path: Path, kind: str) -> str:
    """Damage one object; the word by which a check that reads calls it."""
    content = path.read_bytes()
    if kind == "deleted":
        path.unlink()
        return "missing"
    spoilt = bytearray(content)
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes({"cut": content[:-1], "flipped": bytes(spoilt), "emptied": b""}[kind])
    return "altered"


def damage_many(
    folder: Path, shop: Workshop, image_ids: Sequence[str], chance: random.Random
) -> list[tuple[str, str, str]]:
    """Damage one copy of each image in one way or another; what a check must find."""
    expected = []
    for number, image_id in enumerate(image_ids):
        store = chance.choice(BOTH)
        word = damage(file_of(folder, shop, image_id, store), KINDS[number % len(KINDS)])
        expected.append((word, store, image_id))
    return sorted(expected)
