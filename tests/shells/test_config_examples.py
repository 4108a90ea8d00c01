"""Every file of config/examples is a configuration that works as it is, once the variables that it names are set."""

import re
from pathlib import Path

import pytest

from archiver.config import load, validate_section
from tests.shells.test_config import settings_of
from tests.world import ROOT, World

EXAMPLES = sorted((ROOT / "config" / "examples").glob("*"))
WORDS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
NAMES = {"apiyi-oss", "dashscope-oss", "gemini-r2", "minio", "openai-s3", "two-stores"}


def _named(path: Path) -> str:
    return path.stem


def variables(text: str) -> set[str]:
    """The environment variables that hold the secrets of an example."""
    live = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return set(re.findall(r'"env:([A-Z0-9_]+)"', live))


def test_these_are_the_examples() -> None:
    assert {path.stem for path in EXAMPLES} == NAMES
    assert {path.suffix for path in EXAMPLES} == {".toml"}


@pytest.mark.parametrize("path", EXAMPLES, ids=_named)
def test_config_check_is_content(tmp_path: Path, path: Path) -> None:
    """`archiver config check`, in the place where a person would put the file, and with nothing but its secrets set."""
    text = path.read_text("utf-8")
    world = World(tmp_path / "user", dict.fromkeys(variables(text), "some-secret"))
    world.folder.mkdir()
    (world.folder / "archiver.toml").write_text(text, "utf-8")
    done = world.run("config", "check")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert re.fullmatch(r".*/archiver\.toml is fine; providers: 1, stores: [12], jobs: [012]\n", done.stderr)


@pytest.mark.parametrize("path", EXAMPLES, ids=_named)
def test_without_its_secrets_each_says_which_one_is_missing(tmp_path: Path, path: Path) -> None:
    world = World(tmp_path / "user")
    world.folder.mkdir()
    (world.folder / "archiver.toml").write_bytes(path.read_bytes())
    done = world.run("config", "check")
    assert done.returncode == 2
    assert any(name in done.stderr for name in variables(path.read_text("utf-8")))


@pytest.mark.parametrize("path", EXAMPLES, ids=_named)
def test_adapters_know_every_key(path: Path) -> None:
    config = load(path, {}, "UTC")
    for name, provider in config.providers.items():
        validate_section(settings_of(provider.kind), provider.settings, f"providers.{name}")
    for name, store in config.stores.items():
        validate_section(settings_of(store.scheme), store.settings, f"stores.{name}")


@pytest.mark.parametrize("path", EXAMPLES, ids=_named)
def test_each_says_how_it_is_used_and_is_named_somewhere(path: Path) -> None:
    """In both languages; and the `export` line at its top sets what it needs."""
    text = path.read_text("utf-8")
    head = text.partition("\n[")[0]
    assert f"cp config/examples/{path.name} archiver.toml" in head
    assert all(f"{name}=..." in head for name in variables(text))
    assert re.search(r"[一-鿿]", text) and len(text.splitlines()) < 50
    naming = [page.name for page in WORDS if f"config/examples/{path.name}" in page.read_text("utf-8")]
    assert {"stores.md", "stores.zh-CN.md"} <= set(naming)
