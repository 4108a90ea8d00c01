"""The price table: the shipped one, a user's own, what is wrong with one, and which budgets can be kept by it."""

import json
import shutil
import subprocess
import sys
import zipfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.config import load_prices
from archiver.core.errors import ConfigurationError
from archiver.core.pricing import Order, Prices
from archiver.wiring import load_config, tariffs
from tests.world import World, file_section

ROOT = Path(__file__).parents[2]
GOOD = {"model": "pro", "usd": 0.04, "from": "2026-01-01", "source": "an invoice"}


def row(**changes: Any) -> str:
    """One row as TOML; None leaves a key out."""
    values = {name: value for name, value in (GOOD | changes).items() if value is not None}
    lines = [f"{name} = {value if name == 'from' else json.dumps(value)}" for name, value in values.items()]
    return "\n".join(["[[prices]]", *lines, ""])


def table(folder: Path, text: str) -> Prices:
    """A user's own table, before the shipped one."""
    path = folder / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return load_prices(path)


@pytest.mark.parametrize(
    ("host", "model", "asked", "micro"),
    [
        ("api.apiyi.com", "gemini-3-pro-image-preview", {"size": "4K"}, 90_000),
        ("vip.apiyi.com", "nano-banana-pro", {"size": "4096x4096"}, 90_000),
        ("api.apiyi.com", "gemini-3.1-flash-image-preview", {}, 55_000),
        ("api.apiyi.com", "gemini-2.5-flash-image", {}, 20_000),
        ("api.apiyi.com", "gemini-2.5-flash-image-preview", {}, 35_000),
        ("generativelanguage.googleapis.com", "gemini-3-pro-image", {}, 134_000),
        ("generativelanguage.googleapis.com", "gemini-3-pro-image-preview", {"size": "4K"}, 240_000),
        ("generativelanguage.googleapis.com", "gemini-3-pro-image", {"size": "2K", "mode": "batch"}, 67_000),
        ("generativelanguage.googleapis.com", "gemini-3-pro-image", {"size": "4K", "mode": "batch"}, 120_000),
        ("generativelanguage.googleapis.com", "gemini-3-pro-image", {"size": "8K"}, None),
        ("relay.example", "gemini-3-pro-image", {}, None),
        ("api.openai.com", "gpt-image-1-mini", {"size": "1024x1536", "parameters": {"quality": "high"}}, 52_000),
        ("api.openai.com", "gpt-image-1-mini", {"size": "1024x1536"}, None),
    ],
)
def test_the_shipped_table_says_what_its_sources_say(
    host: str, model: str, asked: dict[str, Any], micro: int | None
) -> None:
    """And nothing of what they do not."""
    price = load_prices(None).at(host).find(Order(model=model, on=date(2026, 11, 20), **asked))
    assert (price and price.micro) == micro


def test_every_shipped_row_has_a_place_a_day_and_a_source() -> None:
    """No price holds everywhere, none is dated ahead, and a batch costs half."""
    rows = load_prices(None).shipped
    assert len(rows) > 10
    for price in rows:
        assert price.at != "*", price
        assert price.since <= date(2026, 11, 20), price
        assert len(price.source) > 10, price
        if price.mode == "batch":
            order = Order(model=price.model, on=price.since, size=price.sizes[0])
            (now,) = [other for other in rows if other.at == price.at and other.rank(order)]
            assert price.micro * 2 == now.micro


def test_there_is_one_copy_of_the_table() -> None:
    """config/prices.toml, where people look for it, is the file that the package reads."""
    shown, read = ROOT / "config" / "prices.toml", ROOT / "archiver" / "config" / "prices.toml"
    assert shown.samefile(read)
    assert shown.is_symlink()


def test_a_wheel_brings_the_table(tmp_path: Path) -> None:
    """An archiver that was installed has no checkout beside it."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "archiver", source / "archiver", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("archiver/config/prices.toml") == (ROOT / "config" / "prices.toml").read_bytes()


def test_own_rows_win_and_the_shipped_ones_stay(tmp_path: Path) -> None:
    """Also over a shipped row that names the size more closely."""
    prices = table(tmp_path, row(model="gemini-3-pro-image*", size="*", usd=0.01)).at("x.googleapis.com")
    today = date(2026, 11, 20)
    for size, micro in (("4K", 10_000), (None, 10_000)):
        found = prices.find(Order(model="gemini-3-pro-image", on=today, size=size))
        assert found is not None
        assert found.micro == micro
    batch = prices.find(Order(model="gemini-3-pro-image", on=today, mode="batch"))
    assert batch is not None
    assert batch.micro == 67_000


def test_a_row_may_name_several_sizes_in_any_spelling(tmp_path: Path) -> None:
    prices = table(tmp_path, row(size=["1024 X 1024", "4k"], per="request"))
    for size, micro in (("1024x1024", 40_000), ("4096x4096", 40_000), ("2K", None)):
        found = prices.find(Order(model="pro", on=date(2026, 11, 20), size=size, n=3))
        assert (found and found.cost(3)) == micro


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (row(usd=None), "prices[0].usd: is missing"),
        (row(usd=-1), "prices[0].usd: should be greater"),
        (row(usd=True), "prices[0].usd: is no amount"),
        (row(source=None), "prices[0].source: is missing"),
        (row(source=""), "prices[0].source: is empty"),
        (row(**{"from": '"2026-01-01"'}), "prices[0].from: is no day; write one without quotes"),
        (row(**{"from": "2026-01-01T10:00:00"}), "prices[0].from: is no day"),
        (row(mode="later"), "prices[0].mode: "),
        (row(per="pixel"), "prices[0].per: "),
        (row(modus="x"), 'prices[0].modus: unknown setting; did you mean "mode"?'),
        (row(form="x"), 'prices[0].form: unknown setting; did you mean "from"?'),
        (row() + row(usd=1), "prices[1]: says the same as a row before it"),
        (row(size=["4K", "1K"]) + row(size="4096x4096") + row(size="4k"), "prices[2]: says the same"),
        ("prices = 3", "may only hold rows that begin with [[prices]]"),
        ("[price]\nusd = 3", "may only hold rows that begin with [[prices]]"),
        ("[[prices", "is no valid TOML"),
    ],
)
def test_a_row_that_nobody_can_check_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """With its place and the file."""
    with pytest.raises(ConfigurationError) as caught:
        table(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path / "prices.toml") in str(caught.value)


def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"archiver\.prices_file: cannot read .*gone\.toml"):
        load_prices(tmp_path / "gone.toml")
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"archiver\.prices_file: .*is not UTF-8"):
        load_prices(tmp_path / "odd.toml")


PROVIDERS = """
prices_file = "own.toml"
{archiver}
[providers.google]
kind = "images"
base_url = ["https://generativelanguage.googleapis.com/v1beta/openai", "https://elsewhere.example"]
model = "gemini-3-pro-image"
{provider}

[[jobs]]
name = "cats"
schedule = "0 9 * * *"
provider = "google"
prompts = ["a cat"]
{job}
"""


def configured(world: World, tmp_path: Path, own: str = "", **parts: str) -> Any:
    """The whole configuration, checked as every command does."""
    text = PROVIDERS.format(**({"archiver": "", "provider": "", "job": ""} | parts))
    world.configure(text + file_section("main", tmp_path / "store"))
    (world.folder / "own.toml").write_text(own, "utf-8")
    return load_config(str(world.folder / "archiver.toml"))


BUDGET = "budget_usd_per_day = 1"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"archiver": BUDGET}, None),
        ({"provider": BUDGET, "job": 'size = "4K"'}, None),
        ({"job": BUDGET}, None),
        (
            {"job": f'{BUDGET}\nsize = "8K"'},
            "jobs.cats.budget_usd_per_day: there is no price for what job cats asks of",
        ),
        ({"archiver": BUDGET, "job": 'size = "8192x8192"'}, "model gemini-3-pro-image, size 8192x8192; set providers."),
        ({"provider": BUDGET, "job": 'parameters = { imageSize = "8K" }'}, "size 8K; set providers.google.price_usd"),
        ({"provider": f"{BUDGET}\nprice_usd = 0.5", "job": 'size = "8K"'}, None),
        ({"job": 'size = "8K"'}, None),
    ],
)
def test_a_budget_needs_a_price_for_each_size_that_is_asked_for(
    tmp_path: Path, parts: dict[str, str], words: str | None
) -> None:
    """A size that the table does not know is an error that names it, unless no budget holds for it."""
    world = World(tmp_path / "user")
    if words is None:
        configured(world, tmp_path, **parts)
        return
    with pytest.raises(ConfigurationError) as caught:
        configured(world, tmp_path, **parts)
    assert words in str(caught.value)
    # A row of one's own mends it.
    own = row(model="gemini-*", at="*.googleapis.com", size=["8K", "8192x8192"])
    configured(world, tmp_path, own, **parts)


def test_prices_are_those_at_the_first_address_on_the_day(tmp_path: Path) -> None:
    relay = """
[providers.relay]
kind = "images"
base_url = ["https://elsewhere.example", "https://generativelanguage.googleapis.com"]
model = "gemini-3-pro-image"
"""
    known = tariffs(configured(World(tmp_path / "user"), tmp_path, provider=relay))
    google = known["google"]
    today = date(2026, 11, 20)
    order = Order(model="gemini-3-pro-image", on=today, n=2)
    assert google.expected(order) == 268_000
    assert known["relay"].expected(order) is None
    assert google.expected(Order(model="gemini-3-pro-image", on=today - timedelta(days=300))) is None
