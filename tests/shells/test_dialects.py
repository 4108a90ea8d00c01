"""The kinds `chat` and `gemini` from outside: asked on the command line, archived, and one charge for each request."""

import json
from pathlib import Path
from typing import Any

from tests.data.images import png
from tests.doubles.chat import ChatProvider
from tests.doubles.gemini import GeminiProvider
from tests.doubles.ledger import Mishap, Paid
from tests.world import World, file_section


def world_of(tmp_path: Path, kind: str, double: Paid, **settings: object) -> World:
    """A user whose only provider is the double."""
    world = World(tmp_path / "user", {"TEST_PROVIDER_KEY": double.api_key})
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    world.configure(f"""
[providers.double]
kind = "{kind}"
base_url = "{double.endpoint}"
api_key = "env:TEST_PROVIDER_KEY"
model = "nano-banana-pro"
{lines}
[fetch]
allow_cidrs = ["127.0.0.1/32"]
{file_section("main", tmp_path / "archive")}""")
    return world


def stored(tmp_path: Path, row: dict[str, Any]) -> bytes:
    return (tmp_path / "archive" / row["key"]).read_bytes()


def test_a_chat_is_archived_and_gone_on_with(tmp_path: Path) -> None:
    """Three turns: each sees the ones before with their images, and its image descends from the last one's."""
    with ChatProvider() as double:
        world = world_of(tmp_path, "chat", double, system="You draw.")
        (fox,) = world.rows("generate", "a fox")
        (hat,) = world.rows("generate", "with a hat", "--continue", fox["image_id"], "--param", "preset=high")
        (snow,) = world.rows("generate", "in snow", "--continue", hat["generation_id"])
        assert [charge.prompt for charge in double.charges] == ["a fox", "with a hat", "in snow"]
        drawn = [double.image(prompt, 0) for prompt in ("a fox", "with a hat", "in snow")]
        assert [stored(tmp_path, row) for row in (fox, hat, snow)] == drawn
        assert double.shown == [[], drawn[:1], drawn[:2]]
        said = [(message["role"], message["content"]) for message in double.dialogues[2]]
        assert [role for role, _ in said] == ["system", "user", "assistant", "user", "assistant", "user"]
        assert said[2][1] == "Here it is.\n\n[image 1]"
        assert [asked["temperature"] for asked in double.asked] == [0.7, 0.5, 0.7]
    rows = world.sql("select image_id, parent_image_id, prompt from lineage order by created_at")
    assert [(row["image_id"], row["parent_image_id"]) for row in rows] == [
        (fox["image_id"], None),
        (hat["image_id"], fox["image_id"]),
        (snow["image_id"], hat["image_id"]),
    ]
    assert not list((tmp_path / "user/data/inbox").iterdir())


def test_a_chat_that_names_a_url_is_archived_too(tmp_path: Path) -> None:
    with ChatProvider(form="markdown") as double:
        world = world_of(tmp_path, "chat", double, inline=False)
        (row,) = world.rows("generate", "a fox")
        assert stored(tmp_path, row) == double.image("a fox", 0)
        assert len(double.charges) == 1
    text = b"".join(path.read_bytes() for path in (tmp_path / "user/data").rglob("*") if path.is_file())
    assert b"Signature=" not in text


def test_gemini_is_archived_with_its_drafts(tmp_path: Path) -> None:
    """An input goes in; sketches come out beside the result, and are told from it."""
    (tmp_path / "me.png").write_bytes(png(8, 8))
    with GeminiProvider(form="drafts", auth="google") as double:
        world = world_of(tmp_path, "gemini", double, auth="google", aspect_ratio="16:9")
        world.ok("generate", "a fox", "--size", "2K", "--input", str(tmp_path / "me.png"))
        assert [(charge.prompt, charge.size) for charge in double.charges] == [("a fox", "2K")]
        assert double.asked[0]["generationConfig"]["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "2K"}
        drawn = {
            double.image("a fox (thought)", 0): "draft",
            double.image("a fox (draft)", 0): "draft",
            double.image("a fox", 0): "final",
        }
    rows = world.sql("select l.key, i.role from lineage as l join images as i on i.id = l.image_id")
    assert {stored(tmp_path, row): row["role"] for row in rows} == drawn


def test_a_url_in_the_text_of_gemini_is_archived(tmp_path: Path) -> None:
    with GeminiProvider(form="url") as double:
        world = world_of(tmp_path, "gemini", double)
        (row,) = world.rows("generate", "a fox")
        assert stored(tmp_path, row) == double.image("a fox", 0)


def test_a_refusal_that_was_paid_is_told_as_one(tmp_path: Path) -> None:
    """Status 200 without an image: failed, paid, with the provider's reason and its id of the request."""
    with GeminiProvider([Mishap(data_null=True)]) as double:
        world = world_of(tmp_path, "gemini", double)
        done = world.run("generate", "a fox")
        assert done.returncode == 1
        assert len(double.charges) == 1
    (row,) = world.sql("select state, error from generations")
    assert row["state"] == "failed"
    assert "paid, but without an image" in row["error"] and "PROHIBITED_CONTENT" in row["error"]


def test_what_cannot_be_meant_is_refused_without_a_charge(tmp_path: Path) -> None:
    with ChatProvider() as double:
        world = world_of(tmp_path, "chat", double)
        for option, value, words in (
            ("--size", "2K", "no field for a size"),
            ("--param", "preset=fast", "draft, standard"),
        ):
            done = world.run("generate", "a fox", option, value)
            assert done.returncode == 2 and words in done.stderr
        assert double.requests == []
