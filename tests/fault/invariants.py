"""The invariants I1 to I26 that apply to what exists, one function each: `inv_NN(world)` raises AssertionError.

They compare what the catalogue says with what is true outside: the ledger of charges, the bytes that were made, the
objects in the stores, the files on disk. `Memory` carries what must be remembered from one look to the next. Not here:
I12 to I15, I18, I20 to I22, I27 and I29 have tests of their own; I28 and I30 belong to what is not built yet or to the
command line.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from archiver.catalogue import as_time
from archiver.core import policy, states
from tests.fault.virtual_outside import named_in, picture
from tests.fault.virtual_world import VirtualWorld

Row = dict[str, Any]
_ENDS = {"generation": {"cancelled", "completed"}, "image": {"stored"}}
_TOLD_BY = {"rescued": "spooled", "rotten": "pending", "requeued": "pending", "lost": "lost"}


@dataclass
class Memory:
    """What was seen, and what the test itself did to the world that changes what may be expected."""

    images: dict[str, str] = field(default_factory=dict)
    generations: dict[str, str] = field(default_factory=dict)
    born: dict[str, str] = field(default_factory=dict)
    planted: dict[tuple[str, str], bytes] = field(default_factory=dict)
    rotted: set[str] = field(default_factory=set)
    refreshed: set[str] = field(default_factory=set)
    records: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    links: dict[str, set[str]] = field(default_factory=dict)


@dataclass
class View:
    """One look at the catalogue."""

    images: list[Row]
    generations: list[Row]
    copies: list[Row]
    events: list[Row]

    @classmethod
    def of(cls, world: VirtualWorld) -> "View":
        """Look now."""
        images = world.rows("select images.*, urls.url from images left join urls using (seq)")
        return cls(images, *(world.rows(f"select * from {table}") for table in ("generations", "copies", "events")))


def true_name(world: VirtualWorld, image: Row, generation: Row) -> str:
    """Which picture this row must hold."""
    if generation["origin"] == "backfill":
        return named_in(image["source"])
    return world.providers[generation["provider"]].made[generation["id"]][image["idx"]]


def inv_01(world: VirtualWorld, view: View) -> None:
    """Every answer that was sent to its end is in the catalogue, or lies in the inbox."""
    recorded = {image["generation_id"] for image in view.images}
    lying = {path.stem: path.read_bytes() for path in (world.folder / "inbox").iterdir()}
    for provider in world.providers.values():
        for generation_id, body in provider.whole.items():
            assert generation_id in recorded or body in lying.get(generation_id, b""), generation_id


def inv_02(world: VirtualWorld, view: View) -> None:
    """Nothing was charged without an intent; what was charged and is not recorded is unknown or still under way."""
    states_of = {row["id"]: row for row in view.generations}
    for provider in world.providers.values():
        for generation_id in provider.charges:
            row = states_of[generation_id]
            assert row["submitted_at"] is not None
            assert row["state"] in ("submitted", "accepted", "completed", "unknown", "failed"), row["state"]
            if row["state"] == "failed":  # never by a free refusal, and never with images that could be had
                assert not provider.made[generation_id] or f"task-{generation_id}" in provider.tasks, row["error"]


def inv_03(world: VirtualWorld, view: View) -> None:
    """No generation is charged twice, and a tick plans each of its prompts once."""
    for provider in world.providers.values():
        assert max(Counter(provider.charges).values(), default=0) <= 1
    ticks = Counter((row["job"], row["scheduled_for"]) for row in view.generations if row["scheduled_for"])
    assert max(ticks.values(), default=0) <= 1


def inv_04(world: VirtualWorld, view: View) -> None:
    """Every confirmed copy is in its store, byte for byte what was made, with the catalogue's digest and size."""
    generations = {row["id"]: row for row in view.generations}
    images = {row["id"]: row for row in view.images}
    for copy in view.copies:
        if copy["state"] != "confirmed":
            assert images[copy["image_id"]]["state"] != "stored"
            continue
        image = images[copy["image_id"]]
        held = world.stores[copy["store"]].objects[copy["key"]]
        assert held == picture(true_name(world, image, generations[image["generation_id"]]))
        assert (hashlib.sha256(held).hexdigest(), len(held)) == (copy["sha256"], copy["size"])
        assert image["state"] != "stored" or image["sha256"] == copy["sha256"]


def inv_05(view: View, memory: Memory) -> None:
    """No image goes back, but for a spool file that rotted and a lost one with a fresh URL."""
    known = states.states("image")
    for image in view.images:
        before, now = memory.images.get(image["id"]), image["state"]
        assert now in known
        if before == "spooled" and image["id"] not in memory.rotted:
            assert now in ("spooled", "stored"), f"{before} -> {now}: {image['error']}"
        if before == "lost" and image["id"] not in memory.refreshed:
            assert now == "lost"
        memory.born.setdefault(image["id"], now)
        if image["url"] is not None:
            memory.links.setdefault(image["id"], set()).add(image["url"])
        memory.images[image["id"]] = now


def inv_06(world: VirtualWorld, view: View, memory: Memory) -> None:
    """What is spooled lies in the spool with its digest; a stored image names no file of it."""
    for image in view.images:
        if image["state"] == "spooled" and image["id"] not in memory.rotted:
            data = (world.folder / "spool" / image["spool"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == image["sha256"]
        assert image["spool"] is None or image["state"] == "spooled"


def inv_07(world: VirtualWorld, view: View, memory: Memory) -> None:
    """Lost only after deadline and grace, three attempts and two refusals apart; said so; never what we once held."""
    generations = {row["id"]: row for row in view.generations}
    told = {event["image_id"] for event in view.events if event["kind"] == "lost"}
    held = {event["image_id"] for event in view.events if event["kind"] == "rescued"}
    for image in view.images:
        if image["state"] != "lost":
            continue
        name = true_name(world, image, generations[image["generation_id"]])
        assert image["id"] in told
        assert image["attempts"] >= policy.LEAST_ATTEMPTS_BEFORE_LOSS
        assert as_time(image["refused_at"]) - as_time(image["refused_before_at"]) >= policy.REFUSALS_APART
        assert sum(word in ("gone", "page") for word in world.source.answers[name]) >= 2
        assert image["give_up_at"] >= image["deadline"] or generations[image["generation_id"]]["origin"] == "backfill"
        lost_at = max(
            event["at"] for event in view.events if (event["image_id"], event["kind"]) == (image["id"], "lost")
        )
        assert lost_at >= image["give_up_at"]
        links = memory.links.get(image["id"]) or [text for text, link in world.source.links.items() if link[0] == name]
        assert world.source.is_dead(links) or name in world.source.refused_alive
        assert image["id"] not in held or image["id"] in memory.rotted


def inv_08(view: View) -> None:
    """A claim has an owner and an end, or neither; what has come to its end is claimed by nobody."""
    for image in view.images:
        assert (image["claimed_by"] is None) == (image["claimed_until"] is None)
        assert image["state"] not in ("stored", "lost") or image["claimed_by"] is None


def inv_09(world: VirtualWorld, view: View, memory: Memory) -> None:
    """Keys are written once: what somebody else put there is untouched, and two rows never share a key."""
    keys = Counter((copy["store"], copy["key"]) for copy in view.copies if copy["state"] == "confirmed")
    assert max(keys.values(), default=0) <= 1
    for (store, key), data in memory.planted.items():
        assert world.stores[store].objects[key] == data
        assert (store, key) not in keys


def inv_10(view: View) -> None:
    """The deadline is no later than any evidence that is held."""
    for image in view.images:
        for item in json.loads(image["evidence"]):
            assert image["deadline"] <= item["at"]


def inv_11(view: View) -> None:
    """Attempts are a second apart, and before the deadline there is time for another one."""
    for image in view.images:
        if image["not_before"] is None or image["state"] != "pending":
            continue
        tried, again, end = (as_time(image[name]) for name in ("attempted_at", "not_before", "deadline"))
        assert timedelta(seconds=1) <= again - tried <= timedelta(hours=1)
        assert again < end or end - tried <= timedelta(seconds=10)


def inv_16(world: VirtualWorld, view: View) -> None:
    """From every stored image there is a way to prompt, model, provider, cost and times, and back by its key."""
    lineage = {(row["image_id"], row["store"]): row for row in world.rows("select * from lineage")}
    generations = {row["id"]: row for row in view.generations}
    stored = {image["id"]: image for image in view.images if image["state"] == "stored"}
    for copy in view.copies:
        if (image := stored.get(copy["image_id"])) is None:
            continue
        row, generation = lineage[copy["image_id"], copy["store"]], generations[image["generation_id"]]
        assert row["prompt"] == generation["prompt"]
        assert (row["key"], row["sha256"]) == (copy["key"], copy["sha256"])
        assert row["created_at"] <= row["archived_at"] or world.time.was_wrong
        assert None not in (row["content_type"], row["width"], row["height"])
        if generation["origin"] != "backfill":
            assert round(row["cost_usd"], 6) == 0.04  # the price per image, whatever came of the answer


def inv_17(world: VirtualWorld, view: View, memory: Memory) -> None:
    """What the bucket says of a copy is what the catalogue says. (A ghost may have said it too.)"""
    lineage = {(row["image_id"], row["store"]): row for row in world.rows("select * from lineage")}
    for copy in view.copies:
        if copy["lineage_key"] is None:
            continue
        place = (copy["store"], copy["lineage_key"])
        if place not in memory.records:
            text = world.stores[copy["store"]].objects[copy["lineage_key"]].decode()
            memory.records[place] = [json.loads(line) for line in text.splitlines()]
        row = dict(lineage[copy["image_id"], copy["store"]])
        row |= {name: json.loads(row[name]) for name in ("tags", "parameters", "inputs")}
        assert row in [{name: line[name] for name in row} for line in memory.records[place]]


def inv_19(world: VirtualWorld, view: View) -> None:
    """A stored or lost image has no URL any more, and no URL is in any store or event."""
    for image in view.images:
        assert image["state"] not in ("stored", "lost") or image["url"] is None
        assert "secret" not in f"{image['source']} {image['error']}"
    assert not any("Signature=" in str(event["detail"]) for event in view.events)
    for store in world.stores.values():
        assert not any(b"Signature=" in data for key, data in store.objects.items() if "_lineage" in key)


def inv_23(view: View, memory: Memory) -> None:
    """What has come to its end stays there."""
    for row in view.generations:
        before = memory.generations.get(row["id"])
        assert before not in _ENDS["generation"] or row["state"] == before
        assert before not in ("unknown", "failed") or row["state"] in (before, "completed")
        memory.generations[row["id"]] = row["state"]


def inv_24(view: View, memory: Memory) -> None:
    """The events of an image, folded from its birth on, lead to its state. (A clean life has no events.)"""
    folded = dict(memory.born)
    for event in view.events:
        if event["kind"] in _TOLD_BY and event["image_id"] in folded:
            folded[event["image_id"]] = _TOLD_BY[event["kind"]]
    for image in view.images:
        if image["state"] != "stored" and memory.born[image["id"]] in states.BIRTH["image"]:
            assert folded[image["id"]] == image["state"], image["id"]


def inv_26(world: VirtualWorld, view: View, owner: str) -> None:
    """A process that ended in order has left no claim, no request under way and no lock."""
    assert not any(image["claimed_by"] == owner for image in view.images)
    assert not any((row["state"], row["owner"]) == ("submitted", owner) for row in view.generations)
    assert not (world.folder / "owners" / owner).exists()


def check_all(world: VirtualWorld, memory: Memory) -> None:
    """Everything that must hold at every moment at which no process is in the middle of a step."""
    view = View.of(world)
    inv_05(view, memory)
    inv_23(view, memory)
    inv_01(world, view)
    inv_02(world, view)
    inv_03(world, view)
    inv_04(world, view)
    inv_06(world, view, memory)
    inv_07(world, view, memory)
    inv_08(view)
    inv_09(world, view, memory)
    inv_10(view)
    inv_11(view)
    inv_16(world, view)
    inv_17(world, view, memory)
    inv_19(world, view)
    inv_24(view, memory)
