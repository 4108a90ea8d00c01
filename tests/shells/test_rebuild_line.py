"""`archiver rebuild` from outside: 500 images, no catalogue any more, and the bucket alone."""

import json
from pathlib import Path

from tests.doubles.oss import OssDouble
from tests.world import World, file_section, oss_section

SANDBOX = """
[providers.sandbox]
kind = "sandbox"
"""
VIEW = "select * from lineage order by image_id, store"


def forget(world: World) -> None:
    for path in (world.folder / "data").glob("catalogue.db*"):
        path.unlink()


def test_a_catalogue_that_was_deleted_comes_back_row_for_row(tmp_path: Path) -> None:
    with OssDouble() as far:
        world = World(tmp_path / "user")
        world.keys_of(far)
        world.configure(SANDBOX + file_section("near", tmp_path / "near") + oss_section("far", far))
        (tmp_path / "prompts.txt").write_text("\n".join(f"雪中的红狐狸 {number}" for number in range(250)), "utf-8")
        both = ("--provider", "sandbox", "--store", "near", "--store", "far", "-n", "2")
        world.ok("generate", *both, "--yes", "--prompts-file", str(tmp_path / "prompts.txt"))
        before = world.sql(VIEW)
        assert len(before) == 1000
        forget(world)
        told = json.loads(world.ok("rebuild", "--from", "near", "--from", "far", "--dry-run", "--json"))
        assert told["counts"]["missing"] == 1000 and not (world.folder / "data" / "catalogue.db").exists()
        told = json.loads(world.ok("rebuild", "--from", "near", "--from", "far", "--json"))
        assert told["counts"]["added"] == 1000 and told["named"] == []
        assert world.sql(VIEW) == before
        # A second time it asks, and then finds nothing to do.
        refused = world.run("rebuild", "--from", "near")
        assert refused.returncode == 2 and "--yes" in refused.stderr
        assert "500 copies known before" in world.ok("rebuild", "--from", "near", "--yes")
        assert world.sql(VIEW) == before
        world.ok("generate", *both, "one more")
        assert world.run("drain").returncode == 0 and len(world.sql(VIEW)) == 1004


def test_what_is_no_record_is_named_and_a_store_that_is_not_there_is_no_catalogue(tmp_path: Path) -> None:
    world = World(tmp_path / "user")
    world.configure(SANDBOX + file_section("near", tmp_path / "near"))
    world.ok("generate", "--provider", "sandbox", "a fox")
    before = world.sql(VIEW)
    forget(world)
    torn = tmp_path / "near" / "_lineage" / "2026" / "11" / "20" / "torn.jsonl"
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.write_text('{"v": 1, "\x1b[31m')
    done = world.run("rebuild", "--from", "near")
    assert done.returncode == 1 and "torn.jsonl:1" in done.stderr and "\x1b" not in done.stderr
    assert world.sql(VIEW) == before
    assert world.run("rebuild").returncode == 2
    assert world.run("rebuild", "--from", "nowhere").returncode == 2
