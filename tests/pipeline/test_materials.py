"""What goes into a request besides its prompt: input images and dialogues, and the lineage that comes of them."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.core.errors import UsageError
from archiver.core.model import Ask, Json
from archiver.pipeline.planning import inputs_of
from tests.data.images import png
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.pipeline.workshop import Workshop, open_workshop


def rows(shop: Workshop, statement: str) -> list[dict[str, object]]:
    """Straight from the file."""
    return [dict(row) for row in shop.catalogue._database.rows(statement)]


def plan(shop: Workshop, prompt: str, **changes: object) -> str:
    """Plan one generation of the double with `changes` to its draft."""
    from archiver.catalogue import Draft

    draft = Draft(
        id=f"g{len(rows(shop, 'select 1 from generations'))}",
        origin="generate",
        prompt=prompt,
        provider="double",
        model="nano-banana-pro",
        stores=("near",),
    )
    shop.catalogue.generations.add([replace(draft, **changes)], shop.clock())  # type: ignore[arg-type]
    return draft.id


def archive(shop: Workshop, prompt: str, **changes: object) -> str:
    """Plan, ask and keep one. Returns the id of its image."""
    generation = plan(shop, prompt, **changes)
    assert shop.ask("double") == 1
    shop.copy()
    (found,) = rows(shop, f"select id, state from images where generation_id = '{generation}'")
    assert found["state"] == "stored"
    return str(found["id"])


def test_an_input_file_reaches_the_provider_and_its_digest_the_lineage(tmp_path: Path) -> None:
    picture = tmp_path / "me.png"
    picture.write_bytes(png(8, 8))
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        archive(shop, "in winter", inputs=inputs_of(shop.catalogue, [str(picture)]))
        assert double.edited == [[picture.read_bytes()]]
        (line,) = rows(shop, "select inputs, parent_image_id from lineage")
    assert json.loads(str(line["inputs"])) == [{"sha256": digest, "image_id": None}]
    assert line["parent_image_id"] is None


def test_an_archived_image_that_is_edited_is_the_parent_by_whatever_name_it_came(tmp_path: Path) -> None:
    """By `image:ID` from the store, and as a file with the same digest."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        parent = archive(shop, "a fox")
        (copy,) = rows(shop, "select key from copies where state = 'confirmed'")
        bytes_of_it = b"".join(shop.pipeline.carrier.stores["near"].open(str(copy["key"])))
        (tmp_path / "saved.png").write_bytes(bytes_of_it)
        named = archive(shop, "in winter", inputs=inputs_of(shop.catalogue, [f"image:{parent}"]))
        saved = archive(shop, "in spring", inputs=inputs_of(shop.catalogue, [str(tmp_path / "saved.png")]))
        assert double.edited == [[bytes_of_it], [bytes_of_it]]
        children = rows(shop, f"select image_id from lineage where parent_image_id = '{parent}'")
    assert {str(row["image_id"]) for row in children} == {named, saved}


def test_an_input_that_one_store_has_lost_comes_from_the_other_one(tmp_path: Path) -> None:
    with ImagesProvider() as double, OssDouble() as far, open_workshop(tmp_path / "d", double=double, far=far) as shop:
        parent = archive(shop, "a fox", stores=("near", "far"))
        (copy,) = rows(shop, "select key from copies where store = 'near'")
        shop.pipeline.carrier.stores["near"].delete(str(copy["key"]))
        archive(shop, "in winter", inputs=inputs_of(shop.catalogue, [f"image:{parent}"]))
        assert len(double.edited) == 1


def test_a_file_that_changed_or_went_away_is_not_asked_with(tmp_path: Path) -> None:
    """What was planned is not what would be sent: nothing is spent, and the row says why."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        for number, harm in enumerate((lambda path: path.write_bytes(png(9, 9)), Path.unlink)):
            picture = tmp_path / f"{number}.png"
            picture.write_bytes(png(8, 8))
            generation = plan(shop, "in winter", inputs=inputs_of(shop.catalogue, [str(picture)]))
            harm(picture)
            shop.ask("double")
            (row,) = rows(shop, f"select state, cost_micro, error from generations where id = '{generation}'")
            assert (row["state"], row["cost_micro"]) == ("failed", 0)
            assert str(picture) in str(row["error"])
        assert double.requests == []


def test_an_input_that_cannot_be_one_is_refused_before_anything_is_planned(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"<html>no</html>")
    (tmp_path / "empty.png").write_bytes(b"")
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        for reference in ("page.png", "empty.png", "nowhere.png"):
            with pytest.raises(UsageError, match=reference):
                inputs_of(shop.catalogue, [str(tmp_path / reference)])
        with pytest.raises(UsageError, match="no archived image"):
            inputs_of(shop.catalogue, ["image:nobody"])


def test_a_dialogue_is_kept_and_handed_on(tmp_path: Path) -> None:
    """The third turn knows the first two, with their images; its image descends from the second one's."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        first = archive(shop, "a fox")
        second = archive(shop, "with a hat", continues="g0")
        third = plan(shop, "in the snow", continues="g1")
        submission = shop.catalogue.generations.begin_submit("double", shop.pipeline.owner.id, shop.clock())
        assert submission is not None
        ask = shop.pipeline.gathering.complete(submission)
        assert [turn.prompt for turn in ask.turns] == ["a fox", "with a hat"]
        assert [len(turn.images) for turn in ask.turns] == [1, 1]
        parents = rows(shop, "select image_id, parent_image_id, continues from lineage order by created_at, image_id")
    assert ask.generation_id == third
    assert [(row["image_id"], row["parent_image_id"], row["continues"]) for row in parents] == [
        (first, None, None),
        (second, first, "g0"),
    ]


def test_parameters_reach_the_provider_and_the_lineage(tmp_path: Path) -> None:
    wanted: dict[str, Json] = {"quality": "high", "output_compression": 80}
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        archive(shop, "a fox", parameters=wanted)
        (line,) = rows(shop, "select parameters from lineage")
        (record,) = (tmp_path / "d" / "near").rglob("*.jsonl")
        written = json.loads(record.read_text())
    assert json.loads(str(line["parameters"])) == written["parameters"] == wanted


def test_an_ask_without_materials_is_left_as_it_is(tmp_path: Path) -> None:
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        plan(shop, "a fox", created_at=shop.clock() - timedelta(hours=1))
        submission = shop.catalogue.generations.begin_submit("double", shop.pipeline.owner.id, shop.clock())
        assert submission is not None
        ask = shop.pipeline.gathering.complete(submission)
    assert ask == Ask(generation_id="g0", prompt="a fox", model="nano-banana-pro")
