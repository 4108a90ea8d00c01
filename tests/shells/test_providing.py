"""`archiver providers`, remarks before spending, and reuse, as a user meets them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.provider import ImagesProvider, Mishap
from tests.world import World, file_section

JOB = """
[[jobs]]
name = "foxes"
schedule = "every 1s"
provider = "double"
prompts = ["a fox in the forest"]
"""


@pytest.fixture
def double() -> Iterator[ImagesProvider]:
    with ImagesProvider() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def configure(world: World, double: ImagesProvider, more: str = "", **settings: object) -> None:
    """One store, one provider that costs four cents."""
    sections = file_section("main", world.folder / "archive")
    world.configure(sections + more, provider=double, **{"price_usd": 0.04, **settings})


# --- list ------------------------------------------------------------------------------------------------------------


def test_list_tells_what_is_configured_and_how_it_went(world: World, double: ImagesProvider) -> None:
    configure(world, double, pace="30/m", concurrency=3, lifetime="7d")
    (row,) = world.rows("providers", "list")
    assert (row["provider"], row["kind"], row["model"]) == ("double", "images", "nano-banana-pro")
    assert (row["address"], row["pace"], row["concurrency"]) == (double.endpoint, "30/m", 3)
    assert (row["lifetime"], row["price_usd"], row["price_from"]) == ("7d", 0.04, "price_usd")
    assert row["last_success_at"] is row["last_error"] is None
    assert not (world.folder / "data").exists(), "a question makes no catalogue"
    double.script([None, Mishap(status=500)])
    world.ok("generate", "a fox in the forest")
    world.run("generate", "a cat in the forest")
    (row,) = world.rows("providers", "list")
    assert row["last_success_at"] and "answered 500" in row["last_error"]
    assert double.api_key not in world.ok("providers", "list")


def test_a_price_that_nobody_knows_is_unknown(world: World, double: ImagesProvider) -> None:
    world.configure(file_section("main", world.folder / "archive"), provider=double, model="nobodys-model")
    (row,) = world.rows("providers", "list")
    assert (row["price_usd"], row["price_from"]) == (None, "unknown")


def test_a_price_that_depends_on_the_size_is_called_so(world: World, double: ImagesProvider) -> None:
    world.configure("", provider=double, model="by-size")
    prices = 'model = "by-size"\nsize = ["1K", "2K"]\nusd = 0.05\nfrom = 2026-01-01\nsource = "x"\n'
    (world.folder / "prices.toml").write_text("[[prices]]\n" + prices, "utf-8")
    world.environment["ARCHIVER_ARCHIVER__PRICES_FILE"] = "prices.toml"
    (row,) = world.rows("providers", "list")
    assert (row["price_usd"], row["price_from"]) == (None, "by size")


# --- test ------------------------------------------------------------------------------------------------------------


def test_a_trial_makes_one_call_and_shows_what_came_of_it(world: World, double: ImagesProvider) -> None:
    configure(world, double)
    done = world.run("providers", "test", "double", "--json")
    assert done.returncode == 0, done.stderr
    (charge,) = double.charges
    assert (charge.n, charge.size) == (1, "1024x1024")
    assert "$0.04 (price_usd)" in done.stderr
    (row,) = world.rows("providers", "test", "double")
    assert (row["state"], row["shape"], row["image_state"], row["price_usd"]) == ("completed", "url", "stored", 0.04)
    assert row["request_id"] == "req-00000002"
    assert row["image_type"] == "image/png" and row["latency_s"] >= 0
    assert any("(decided)" in one and "says the url" in one for one in row["expires"])
    (image,) = [image for image in world.rows("images") if image["image_id"] == row["image"][0]]
    assert image["state"] == "stored"
    (story,) = world.rows("show", row["image"][0])
    assert (story["generation"]["origin"], story["generation"]["tags"]) == ("generate", ["providers-test"])


def test_a_trial_of_inline_images_says_so(world: World, double: ImagesProvider) -> None:
    configure(world, double, response_format="b64_json")
    (row,) = world.rows("providers", "test", "double", "--prompt", "a cat in the forest")
    assert (row["shape"], row["expires"]) == ("b64", [])
    assert double.charges[0].prompt == "a cat in the forest"


@pytest.mark.parametrize("price", [{"price_usd": 0.11}, {"model": "nobodys-model"}])
def test_a_trial_that_may_be_dear_wants_a_word(world: World, double: ImagesProvider, price: dict[str, object]) -> None:
    sections = file_section("main", world.folder / "archive")
    world.configure(sections, provider=double, **price)
    done = world.run("providers", "test", "double")
    assert (done.returncode, len(double.charges)) == (2, 0)
    assert "--yes" in done.stderr
    assert world.run("providers", "test", "double", "--dry-run").returncode == 0
    assert double.charges == []
    world.ok("providers", "test", "double", "--yes")
    assert len(double.charges) == 1


def test_a_trial_says_what_is_missing_before_it_spends(world: World, double: ImagesProvider) -> None:
    configure(world, double)
    del world.environment["TEST_PROVIDER_KEY"]
    done = world.run("providers", "test", "double", "--dry-run")
    assert done.returncode == 2
    assert "providers.double.api_key" in done.stderr and "TEST_PROVIDER_KEY" in done.stderr
    assert world.run("providers", "test", "nobody").returncode == 2


def test_a_trial_that_fails_shows_why(world: World, double: ImagesProvider) -> None:
    configure(world, double)
    double.script([Mishap(status=400)])
    done = world.run("providers", "test", "double")
    assert done.returncode == 1
    assert "failed" in done.stdout and "400" in done.stdout


# --- remarks ---------------------------------------------------------------------------------------------------------


def test_what_would_be_refused_is_not_asked_for(world: World, double: ImagesProvider) -> None:
    job = JOB.replace('"double"', '"double"\nn = 2')
    configure(world, double, job, model="dall-e-3")
    done = world.run("generate", "a fox in the forest", "-n", "2")
    assert (done.returncode, len(double.charges)) == (2, 0)
    assert "dall-e-3 makes at most one image a request, not 2" in done.stderr
    assert not (world.folder / "data").exists(), "nothing was planned"
    assert "job foxes: error: dall-e-3" in world.run("config", "check").stderr
    assert world.run("config", "check").returncode == 2
    assert "job foxes: error: dall-e-3" in world.run("run", "--once", "--dry-run").stderr


def test_what_is_only_odd_is_told_and_asked_for(world: World, double: ImagesProvider) -> None:
    configure(world, double, model="dall-e-3")
    done = world.run("generate", "a fox in the forest", "--size", "512x512")
    assert (done.returncode, len(double.charges)) == (0, 1)
    assert "warning: dall-e-3 is not known to make the size 512x512" in done.stderr


def test_a_model_is_unknown_when_nobody_knows_it_and_nobody_has_a_price_for_it(
    world: World, double: ImagesProvider
) -> None:
    configure(world, double, model="nobodys-model")
    words = 'the model "nobodys-model" is not known here'
    assert words in world.run("generate", "a fox in the forest").stderr
    (world.folder / "prices.toml").write_text(
        '[[prices]]\nmodel = "nobodys-model"\nusd = 0.01\nper = "image"\nfrom = 2026-01-01\nsource = "a letter"\n',
        "utf-8",
    )
    path = world.folder / "archiver.toml"
    path.write_text(path.read_text("utf-8").replace("[archiver]", '[archiver]\nprices_file = "prices.toml"'), "utf-8")
    done = world.run("generate", "a fox in the forest")
    assert done.returncode == 0 and words not in done.stderr


# --- reuse -----------------------------------------------------------------------------------------------------------


def test_reuse_on_the_command_line_and_in_a_job(world: World, double: ImagesProvider) -> None:
    configure(world, double, JOB + 'reuse = "24h"\n')
    (first,) = world.rows("generate", "a fox in the forest")
    done = world.run("generate", "a fox in the forest", "--reuse", "1h", "--json")
    assert (done.returncode, len(double.charges)) == (0, 1)
    assert first["key"] in done.stdout
    assert f"the images of {first['generation_id']}, at no cost" in done.stderr
    assert world.run("run", "--once").returncode == 0
    assert len(double.charges) == 1
    reused = world.sql("select id, state, cost_micro from generations where reused_from is not null order by seq")
    assert [(row["state"], row["cost_micro"]) for row in reused] == [("reused", 0)] * 2
    assert world.rows("lineage", reused[0]["id"]) == world.rows("lineage", first["generation_id"])
    assert world.rows("show", reused[0]["id"]) == world.rows("show", first["image_id"])
    world.ok("generate", "a fox in the forest")
    assert len(double.charges) == 2


def test_another_setting_of_the_provider_makes_another_request(world: World, double: ImagesProvider) -> None:
    configure(world, double)
    world.ok("generate", "a fox in the forest")
    configure(world, double, response_format="b64_json")
    world.ok("generate", "a fox in the forest", "--reuse", "1h")
    assert len(double.charges) == 2


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_refused_key_is_an_alert_until_it_works_again(world: World, double: ImagesProvider) -> None:
    configure(world, double)
    path = world.folder / "archiver.toml"
    text = path.read_text("utf-8")
    path.write_text(text.replace('"env:TEST_PROVIDER_KEY"', '["env:OLD_KEY", "env:TEST_PROVIDER_KEY"]'), "utf-8")
    world.environment["OLD_KEY"] = "sk-revoked-0000000001"
    world.ok("generate", "a fox in the forest")
    (standing,) = world.rows("status")
    assert [(alert["kind"], alert["level"], alert["subject"]) for alert in standing["alerts"]] == [
        ("key", "warn", "double")
    ]
    assert "env:OLD_KEY" in standing["alerts"][0]["text"]
    assert "sk-revoked" not in (world.folder / "data" / "catalogue.db").read_bytes().decode("latin-1")
    world.environment["OLD_KEY"] = double.api_key
    world.ok("generate", "a cat in the forest")
    assert world.rows("status")[0]["alerts"] == []


def test_an_account_without_a_key_that_works_pages_and_loses_nothing(world: World, double: ImagesProvider) -> None:
    configure(world, double, JOB)
    world.environment["TEST_PROVIDER_KEY"] = "sk-wrong-000000000001"
    done = world.run("run", "--once")
    assert done.returncode == 1
    assert "alert (page): provider double refused every key (env:TEST_PROVIDER_KEY)" in done.stderr
    shown = world.run("status")
    assert "waiting for providers" in shown.stdout and "401" in shown.stdout
    assert double.charges == []
