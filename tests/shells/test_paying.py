"""Paying, from outside: budgets over two days, generations and resolve, and what a wrong budget is told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from archiver.core.errors import ConfigurationError
from archiver.wiring import load_config
from tests.doubles.provider import ImagesProvider, Mishap
from tests.world import World, file_section

PROMPTS = [f"a fox, number {number}" for number in range(5)]
ANOTHER_TIME = """
import sys
from datetime import timedelta
import archiver.wiring as wiring
from archiver.wiring import surroundings
real, shift = surroundings.now, timedelta(seconds=float(sys.argv[1]))
wiring.now = surroundings.now = lambda: real() + shift
sys.argv = ["archiver", *sys.argv[2:]]
from archiver.cli import main
main()
"""


def jobs(**settings: object) -> str:
    """One job that is due once in this test's days."""
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    return f"""
[[jobs]]
name = "foxes"
schedule = "every 30d"
provider = "double"
prompts = {json.dumps(PROMPTS)}
{lines}"""


def at_noon(days: int, zone: str) -> float:
    """Seconds from now to noon of a day from today in a zone: no test runs into midnight."""
    here = datetime.now(UTC).astimezone(ZoneInfo(zone))
    noon = datetime.combine(here.date() + timedelta(days=days), datetime.min.time(), here.tzinfo) + timedelta(hours=12)
    return (noon - here).total_seconds()


def run_at(world: World, days: int, *arguments: str, zone: str = "Asia/Shanghai") -> subprocess.CompletedProcess[str]:
    """One command at noon of another day."""
    return subprocess.run(
        [sys.executable, "-c", ANOTHER_TIME, str(at_noon(days, zone)), *arguments],
        cwd=world.folder,
        env=world.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as double:
        yield double


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


@pytest.mark.parametrize("where", ["archiver", "job"])
def test_a_budget_for_three_of_five_prompts(world: World, tmp_path: Path, provider: ImagesProvider, where: str) -> None:
    """Today three are paid for, tomorrow the other two; what waits is shown, and the ledger says the same."""
    budget = {"budget_usd_per_day": 0.13}
    store = file_section("main", tmp_path / "store")
    world.configure(jobs(**(budget if where == "job" else {})) + store, provider=provider, price_usd=0.04)
    if where == "archiver":
        world.environment["ARCHIVER_ARCHIVER__BUDGET_USD_PER_DAY"] = "0.13"
    scope = {"archiver": "archiver", "job": "jobs.foxes"}[where]
    for _ in range(2):
        done = run_at(world, 0, "run", "--once")
        assert done.returncode == 1, done.stderr
        assert f"budget of {scope} for" in done.stderr
        assert len(provider.charges) == 3
    waiting = json.loads(run_at(world, 0, "generations", "--state", "planned", "--json").stdout)
    assert [row["price_usd"] for row in waiting] == [0.04, 0.04]
    (standing,) = json.loads(run_at(world, 0, "status", "--json").stdout)
    assert [(row["scope"], row["spent_usd"], row["limit_usd"]) for row in standing["budgets"]] == [(scope, 0.12, 0.13)]

    done = run_at(world, 1, "run", "--once")
    assert done.returncode == 0, done.stderr
    assert sorted(charge.prompt for charge in provider.charges) == PROMPTS
    assert len(world.sql("select * from lineage")) == 5
    assert f"{scope} " in run_at(world, 1, "status").stdout
    assert {row["cost_usd"] for row in world.sql("select cost_usd from lineage")} == {0.04}


def test_a_raised_budget_holds_from_the_next_start_on(world: World, tmp_path: Path, provider: ImagesProvider) -> None:
    """Two today; the user writes four, and two more go today; a dry run before it spends nothing."""
    store = file_section("main", tmp_path / "store")
    world.configure(jobs(budget_usd_per_day=0.08) + store, provider=provider, price_usd=0.04)
    assert run_at(world, 0, "run", "--once").returncode == 1
    assert len(provider.charges) == 2
    world.configure(jobs(budget_usd_per_day=0.16) + store, provider=provider, price_usd=0.04)
    assert run_at(world, 0, "run", "--once", "--dry-run").returncode == 0
    assert len(provider.charges) == 2
    assert run_at(world, 0, "run", "--once").returncode == 1
    assert len(provider.charges) == 4
    world.configure(jobs() + store, provider=provider, price_usd=0.04)
    assert run_at(world, 0, "run", "--once").returncode == 0
    assert len(provider.charges) == 5


def doubtful(world: World, tmp_path: Path, provider: ImagesProvider, **settings: Any) -> str:
    """A world with one generation whose answer was lost after it was charged; its id."""
    provider.script([Mishap(cut="after")])
    world.configure(file_section("main", tmp_path / "store"), provider=provider, **settings)
    assert world.run("generate", "a fox").returncode == 1
    (row,) = world.sql("select id, state from generations")
    assert row["state"] == "unknown"
    assert len(provider.charges) == 1
    return str(row["id"])


def everything(world: World) -> list[Any]:
    """All that the catalogue says of generations, events and budgets."""
    return [world.sql(f"select * from {table}") for table in ("generations", "events", "budgets")]


def test_an_unknown_generation_is_shown_and_asked_again_only_on_request(
    world: World, tmp_path: Path, provider: ImagesProvider
) -> None:
    ident = doubtful(world, tmp_path, provider, price_usd=0.04)
    (row,) = world.rows("generations", "--state", "unknown")
    assert (row["generation_id"], row["price_usd"], row["prompt"]) == (ident, 0.04, "a fox")
    standing = world.run("status")
    assert standing.returncode == 1
    assert "unknown price usd:        0.04" in standing.stdout
    before = everything(world)
    dry = world.run("resolve", ident, "--retry", "--dry-run")
    assert dry.returncode == 0
    assert "would ask again unknown generation" in dry.stderr
    assert everything(world) == before

    (resolved,) = world.rows("resolve", ident.upper(), "--retry")
    assert resolved["state"] == "planned"
    assert len(provider.charges) == 1
    assert world.run("run", "--once").returncode == 0
    assert len(provider.charges) == 2
    assert [row["prompt"] for row in world.sql("select prompt from lineage")] == ["a fox"]
    (event,) = world.sql("select detail from events where kind = 'resolved'")
    assert "ask again, by an operator; it was unknown and may have cost $0.04" in event["detail"]
    assert world.run("status").returncode == 0
    refused = world.run("resolve", ident, "--write-off")
    assert refused.returncode == 2
    assert f"generation {ident} is completed; only unknown and failed ones" in refused.stderr


def test_a_planned_generation_that_is_cancelled_is_never_asked(world: World, tmp_path: Path) -> None:
    """The provider wanted a pause; meanwhile somebody thought better of it."""
    with ImagesProvider([Mishap(status=429, headers={"Retry-After": "3600"})]) as provider:
        world.configure(file_section("main", tmp_path / "archive"), provider=provider)
        assert world.run("generate", "a fox").returncode == 1
        (row,) = world.sql("select id, state from generations")
        assert row["state"] == "planned"
        assert "would cancel" in world.run("resolve", row["id"], "--cancel", "--dry-run").stderr
        assert world.sql("select state from generations") == [{"state": "planned"}]
        assert "--cancel keeps it" in world.run("resolve", row["id"], "--write-off").stderr
        world.ok("resolve", row["id"], "--cancel")
        world.ok("run", "--once")
        again = world.run("resolve", row["id"], "--cancel")
    assert (again.returncode, "is cancelled; only a planned one" in again.stderr) == (2, True)
    assert provider.charges == [] and len(provider.requests) == 1


def test_a_written_off_generation_is_never_asked_again(world: World, tmp_path: Path, provider: ImagesProvider) -> None:
    """It no longer counts as open, it stays spent, and it can still be asked for when somebody changes his mind."""
    ident = doubtful(world, tmp_path, provider, price_usd=0.04, budget_usd_per_month=10.0)
    before = everything(world)
    dry = world.run("resolve", ident, "--write-off", "--dry-run")
    assert "would write off unknown generation" in dry.stderr
    assert everything(world) == before
    assert world.ok("resolve", ident, "--write-off")
    assert world.run("status").returncode == 0
    assert [row["spent_micro"] for row in world.sql("select spent_micro from budgets")] == [40_000]
    assert [row["kind"] for row in world.sql("select kind from events order by id")][-1] == "written-off"
    assert world.run("run", "--once").returncode == 0
    assert len(provider.charges) == 1
    again = world.run("resolve", ident, "--write-off")
    assert (again.returncode, "was written off at" in again.stderr) == (2, True)
    world.ok("resolve", ident, "--retry")
    assert world.run("run", "--once").returncode == 0
    assert len(provider.charges) == 2
    assert [row["spent_micro"] for row in world.sql("select spent_micro from budgets")] == [80_000]


def test_a_price_that_nobody_knows_is_no_zero(world: World, tmp_path: Path, provider: ImagesProvider) -> None:
    ident = doubtful(world, tmp_path, provider)
    assert world.rows("generations")[0]["price_usd"] is None
    assert world.ok("generations").splitlines()[1].count(" unknown ") == 2, "the state, and the price"
    assert "unknown price usd:        unknown" in world.run("status").stdout
    assert "(an unknown amount) counts as spent" in world.run("resolve", ident, "--write-off").stderr


def test_resolve_refuses_what_it_cannot_mean(world: World, tmp_path: Path, provider: ImagesProvider) -> None:
    """Each is refused with 2 and a reason, and changes nothing."""
    ident = doubtful(world, tmp_path, provider)
    before = everything(world)
    for arguments, words in (
        ((ident,), "say either --retry, --write-off or --cancel"),
        ((ident, "--retry", "--write-off"), "say either --retry, --write-off or --cancel"),
        (("nobody", "--retry"), "there is no generation 'nobody'"),
    ):
        done = world.run("resolve", *arguments)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    answer = world.folder / "data" / "inbox" / f"{ident}.answer"
    answer.write_text("{}\n")
    done = world.run("resolve", ident, "--retry")
    assert (done.returncode, "its answer is on disk" in done.stderr) == (2, True), done.stderr
    answer.unlink()
    world.configure(file_section("main", tmp_path / "store"))
    done = world.run("resolve", ident, "--retry")
    assert (done.returncode, "its provider 'double' is not configured" in done.stderr) == (2, True), done.stderr
    assert everything(world) == before


@pytest.mark.parametrize(
    ("text", "own", "words"),
    [
        ("", {"budget_usd_per_day": 1.0}, "providers.double.budget_usd_per_day: its provider double has no price"),
        (
            jobs(budget_usd_per_month=1.0, size="2048x2048"),
            {},
            "job foxes asks of provider double: model nano-banana-pro, size 2048x2048; set providers.double.price_usd",
        ),
        (
            "budget_usd_per_day = 1",
            {},
            "archiver.budget_usd_per_day: its provider double has no price for the model nano-banana-pro; set",
        ),
        (jobs(budget_usd_per_day=0), {"price_usd": 1}, "jobs.foxes.budget_usd_per_day: should be greater"),
        (jobs(budget_usd_per_day=True), {"price_usd": 1}, "jobs.foxes.budget_usd_per_day: is no amount"),
        (jobs(budget_usd_per_day="much"), {"price_usd": 1}, "jobs.foxes.budget_usd_per_day: "),
        ("budget_usd_per_day = inf", {"price_usd": 1}, "archiver.budget_usd_per_day: "),
        ("", {"price_usd": 1, "budget_usd_per_month": -5}, "providers.double.budget_usd_per_month: should be greater"),
        ("", {"price_usd": 1, "budget_usd_per_week": 5}, "providers.double.budget_usd_per_week: unknown setting"),
    ],
)
def test_a_wrong_budget_is_a_configuration_error(
    world: World, tmp_path: Path, provider: ImagesProvider, text: str, own: dict[str, Any], words: str
) -> None:
    """With the path of the key."""
    world.configure(file_section("main", tmp_path / "store"), provider=provider, **own)
    file = world.folder / "archiver.toml"
    if text.startswith("budget"):
        file.write_text(file.read_text("utf-8").replace("[archiver]", f"[archiver]\n{text}"), "utf-8")
    else:
        file.write_text(file.read_text("utf-8") + text, "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_config(str(file))
    assert words in str(caught.value)


def test_nothing_is_spent_under_a_budget_without_a_price(
    world: World, tmp_path: Path, provider: ImagesProvider
) -> None:
    world.configure(jobs(budget_usd_per_day=1) + file_section("main", tmp_path / "store"), provider=provider)
    done = world.run("run", "--once")
    assert done.returncode == 2
    assert "set providers.double.price_usd to what one image costs" in done.stderr
    assert provider.charges == []
