"""`archiver show`: the whole story of an image or a generation, for people and for programs."""

from collections.abc import Iterator

import pytest

from tests.doubles.gemini import GeminiProvider
from tests.shells.small_world import (
    EDIT,
    FIRST,
    LOST,
    PLANNED,
    UNKNOWN,
    WAITING,
    generation_of,
    image_of,
    small_world,
)
from tests.world import World, file_section


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with small_world(tmp_path_factory.mktemp("told")) as made:
        yield made


def test_an_archived_image_tells_everything(world: World) -> None:
    """What was asked for, when, what says when its URL dies, what proves the copy, what it cost, and its family."""
    (story,) = world.rows("show", image_of(world, FIRST).upper())
    assert (story["state"], story["role"], story["number"], story["cost_usd"]) == ("stored", "final", 1, 0.04)
    assert (story["parents"], story["children"], story["parent_image_id"]) == (0, 1, None)
    assert (story["copies"][0]["state"], story["copies"][0]["proof"]) == ("confirmed", "read-back")
    assert [item["source"] for item in story["evidence"]] == ["url"]
    generation = story["generation"]
    assert (generation["parameters"], generation["inputs"]) == ({"quality": "high"}, [])
    assert (generation["tags"], generation["request_id"], generation["attempts"]) == (["shop"], "req-00000001", 1)
    assert story["created_at"] <= story["fetched_at"] <= story["archived_at"]
    text = world.ok("show", image_of(world, FIRST))
    for words in (
        f"prompt: {FIRST}\n",
        "cost: $0.04\n",
        '  parameters: {"quality": "high"}\n',
        "  inputs: none\n",
        "  request_id: req-00000001\n",
        "proof=read-back",
        "source=url",
        f"family: made of 0 images, and 1 made of it; `archiver tree {image_of(world, FIRST)}` shows them\n",
    ):
        assert words in text, words
    assert "None" not in text and "null" not in text


def test_an_edit_tells_what_it_was_made_of(world: World) -> None:
    first = image_of(world, FIRST)
    (story,) = world.rows("show", image_of(world, EDIT))
    assert (story["parents"], story["children"], story["parent_image_id"]) == (1, 0, first)
    (item,) = story["generation"]["inputs"]
    (parent,) = world.rows("show", first)
    assert (item["image_id"], item["sha256"], item["path"]) == (first, parent["sha256"], None)
    text = world.ok("show", image_of(world, EDIT))
    assert f"image_id={first}" in text and "family: made of 1 image, and 0 made of it" in text
    assert len(world.rows("tree", image_of(world, EDIT))) == 2


def test_a_lost_and_a_waiting_image_say_why(world: World) -> None:
    for prompt, state, kinds in ((LOST, "lost", ["postponed", "lost"]), (WAITING, "pending", ["postponed"])):
        (story,) = world.rows("show", image_of(world, prompt))
        assert (story["state"], [event["kind"] for event in story["events"]]) == (state, kinds)
        assert "no connection" in story["error"] and story["copies"][0]["key"] is None


def test_a_generation_without_an_image_has_a_story(world: World) -> None:
    """Its id is enough; what belongs to an image is null, and what happened is told."""
    for prompt, state in ((UNKNOWN, "unknown"), (PLANNED, "planned")):
        ident = generation_of(world, prompt)
        (story,) = world.rows("show", ident)
        assert (story["image_id"], story["generation_id"], story["prompt"]) == (None, ident, prompt)
        assert (story["generation"]["state"], story["copies"], story["evidence"]) == (state, [], [])
        done = world.run("show", ident)
        assert (done.returncode, done.stderr) == (0, "this generation has no image\n")
        assert f"  state: {state}\n" in done.stdout and "  cost: an unknown amount\n" in done.stdout
    (story,) = world.rows("show", generation_of(world, UNKNOWN))
    assert [event["kind"] for event in story["events"]] == ["unknown"]
    assert "answered 500" in story["generation"]["error"]
    assert (story["generation"]["request_id"], story["generation"]["expected_usd"]) == ("req-00000004", 0.04)


def test_a_generation_that_was_reused_shows_the_images_that_serve(world: World) -> None:
    (reused,) = world.sql("select id from generations where state = 'reused'")
    assert world.rows("show", reused["id"]) == world.rows("show", image_of(world, EDIT))


def test_lists_end_where_they_are_told(world: World) -> None:
    for command in ("at-risk", "images", "generations"):
        rows = world.rows(command)
        assert len(rows) > 1, command
        assert world.rows(command, "--limit", "1") == rows[:1], command


def test_drafts_are_shown_with_their_role_and_their_share(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of three images in one answer, the last is final; the cost is divided among all of them."""
    folder = tmp_path_factory.mktemp("drafts")
    world = World(folder / "user")
    with GeminiProvider(form="drafts", auth="google") as provider:
        world.configure(
            file_section("main", folder / "store"),
            provider=provider,
            kind="gemini",
            model="gemini-3-pro-image-preview",
            auth="google",
            price_usd=0.12,
        )
        world.ok("generate", "a fox")
    stories = world.rows("show", generation_of(world, "a fox"))
    assert [(story["number"], story["role"]) for story in stories] == [(1, "draft"), (2, "draft"), (3, "final")]
    whole = stories[0]["generation"]["cost_usd"]
    assert whole > 0 and [story["cost_usd"] for story in stories] == [pytest.approx(whole / 3)] * 3
    assert world.ok("show", generation_of(world, "a fox")).count("role: draft") == 2
