"""The command line, from outside: what it prints where, its exit codes, and what it does without secrets."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.wire import Fault
from tests.shells.test_bad_input import job
from tests.world import ARCHIVER, World, file_section, oss_section

PRINTING = (("images",), ("jobs",), ("status",), ("config", "show"), ("lineage", "cat"))


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "user")
    made.folder.mkdir()
    return made


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- first steps ----------------------------------------------------------------------------------------------------


def test_without_a_configuration_the_search_path_is_told(world: World, tmp_path: Path) -> None:
    """Every command that needs one exits with 2 and names each place; a file that was named must be there."""
    for command in (("status",), ("run", "--once"), ("backfill", "x.csv")):
        done = world.run(*command)
        assert (done.returncode, done.stdout) == (2, "")
        for place in (world.folder / "archiver.toml", world.folder / "home/.config/archiver", "/etc/archiver"):
            assert str(place) in done.stderr
    named = world.run("--config", "other.toml", "status")
    assert named.returncode == 2 and "other.toml" in named.stderr
    world.environment["ARCHIVER_CONFIG"] = str(tmp_path / "nowhere.toml")
    assert "nowhere.toml" in world.run("status").stderr


def test_init_writes_an_example_that_works_and_never_over_a_file(world: World) -> None:
    """The example passes `config check`, and `run --once` archives its images with no account; `init` again refuses."""
    world.ok("init")
    written = (world.folder / "archiver.toml").read_bytes()
    refused = world.run("init")
    assert refused.returncode == 2 and "exists already" in refused.stderr
    assert (world.folder / "archiver.toml").read_bytes() == written
    elsewhere = world.run("init", "archiver.toml/below")
    assert elsewhere.returncode == 3 and "cannot write" in elsewhere.stderr
    world.ok("config", "check")
    before = world.run("images")
    assert before.returncode == 3 and "there is no catalogue" in before.stderr and "run --once" in before.stderr
    (due,) = [line for line in world.ok("run", "--once", "--dry-run").splitlines() if line.startswith("hello")]
    assert due.split()[-1] == "2"
    assert world.rows("jobs")[0]["ticks"] == 0
    assert not (world.folder / "data").exists(), "questions and dry runs make nothing"
    assert "2 images archived, 0 lost" in world.run("run", "--once").stderr
    assert {row["prompt"] for row in world.rows("lineage", "月球")} == {"月球上的猫"}


def test_words_that_nobody_knows_are_usage_errors(world: World) -> None:
    """Exit 2, on stderr, and help on how to go on."""
    world.ok("init")
    for arguments, words in (
        (("nosuch",), "No such command 'nosuch'"),
        (("images", "--nope"), "No such option '--nope'"),
        (("images", "--state", "gone"), "'lost', 'missing', 'pending', 'spooled', 'stored'"),
        (("generate", "x", "-n", "0"), "0 is not in the range"),
        (("generate", "x", "--provider", "y"), "there is no provider 'y'; known are: sandbox"),
        (("generate", "x", "--store", "y"), "there is no store 'y'; known are: main"),
        (("run", "--job", "hello"), "go with --once"),
        (("run", "--once", "--job", "nosuch"), "there is no job 'nosuch'; known are: hello"),
        (("run", "--once", "--job", "nosuch", "--dry-run"), "there is no job 'nosuch'"),
        (("run", "--once", "--wait", "5"), 'for example "10m"'),
        (("show",), "Missing argument 'ID'"),
    ):
        done = world.run(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert words in done.stderr
    assert not (world.folder / "data").exists()
    assert re.fullmatch(r".*archiver, version \d+\.\d+\.\d+\n", world.ok("--version"))
    for text in (world.ok("--help"), world.ok("generate", "-h")):
        assert ("Usage:" in text and "Commands:" in text) or "Example" in text


def test_what_is_not_configured_at_all_is_said_so(world: World) -> None:
    world.configure('[stores.main]\nurl = "file://./archive"\n')
    assert "no provider is configured: add a section" in world.run("generate", "x").stderr
    world.configure('[providers.sandbox]\nkind = "sandbox"\n')
    done = world.run("generate", "x")
    assert done.returncode == 2 and "no store is configured: add a section" in done.stderr


# --- the configuration ----------------------------------------------------------------------------------------------


def test_a_wrong_configuration_is_refused_with_the_key_and_without_secrets(
    world: World, provider: ImagesProvider
) -> None:
    """Exit 2 with the key's path; "did you mean"; a literal key is refused and never repeated; nothing is spent."""
    good = file_section("main", world.folder / "archive") + job(["x"])
    secret = "sk-literal0123456789"
    for old, new, words in (
        ('data_dir = "./data"', 'data_dri = "./data"', 'archiver.data_dri: unknown setting; did you mean "data_dir"?'),
        ("base_url", "bas_url", 'providers.double.bas_url: unknown setting; did you mean "base_url"?'),
        ('"env:TEST_PROVIDER_KEY"', f'"{secret}"', "providers.double.api_key: a secret does not belong into"),
        ('provider = "double"', 'provider = "duoble"', "jobs.cats.provider"),
        ('stores = ["main"]', 'stores = ["mian"]', "jobs.cats.stores"),
        ('"every 1h"', '"hourly"', "jobs.cats.schedule"),
        ("n = 1", "n = 1000", "jobs.cats.n"),
        ('kind = "images"', 'kind = "image"', "providers.double.kind"),
        ("[archiver]", "[archiver", "archiver.toml"),
    ):
        world.configure(good, provider=provider)
        path = world.folder / "archiver.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        done = world.run("run", "--once")
        assert (done.returncode, done.stdout) == (2, ""), new
        assert words in done.stderr
        assert secret not in done.stderr and "Traceback" not in done.stderr
    assert provider.requests == [] and not (world.folder / "data").exists()


def test_commands_that_only_read_need_no_secret(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """Without the variables, questions are answered, and what would spend refuses at once: the tick is not used up."""
    with OssDouble() as double:
        world.keys_of(double)
        world.configure(oss_section("main", double) + job(["a cat"]), provider=provider)
        world.ok("config", "check")
        world.ok("generate", "a cat")
        kept = dict(world.environment)
        world.environment.clear()
        (image,) = world.rows("images")
        for command in (*PRINTING, ("show", image["image_id"])):
            assert world.rows(*command)
        for missing in ("TEST_PROVIDER_KEY", "TEST_KEY_SECRET"):
            world.environment = {name: value for name, value in kept.items() if name != missing}
            checked = world.run("config", "check")
            assert checked.returncode == 2
            assert re.search(
                rf"(providers\.double\.api_key|stores\.main\.access_key_secret): .*{missing} is not", checked.stderr
            )
            for command in (("generate", "x"), ("run", "--once"), ("run",)):
                done = world.run(*command)
                assert done.returncode == 2 and missing in done.stderr, command
        assert len(provider.charges) == 1
        assert len(world.sql("select * from generations")) == 1 and world.sql("select * from ticks") == []
        world.environment = kept
        world.ok("run", "--once")
        assert len(provider.charges) == 2


# --- answers --------------------------------------------------------------------------------------------------------


def test_data_goes_to_stdout_and_json_is_one_array(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """Every printing command: a table for people, an array of UTF-8 for programs; odd prompts are shown, not obeyed."""
    prompts = ["一只猫 cat 🐈", "evil \x1b[31mcat\x07\u202e\nline"]
    world.configure(file_section("main", tmp_path / "archive") + job(prompts), provider=provider)
    done = world.run("generate", *prompts, "--json")
    assert done.returncode == 0 and "2 images archived, 0 lost" in done.stderr
    generated = json.loads(done.stdout)
    assert [row["prompt"] for row in generated] == prompts
    assert prompts[0] in done.stdout and "\\u4e00" not in done.stdout
    for command in (*PRINTING, ("show", generated[0]["image_id"])):
        raw = world.run(*command, "--json")
        assert (raw.returncode, raw.stderr) == (0, "")
        rows = json.loads(raw.stdout)
        assert isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
        table = world.run(*command)
        assert table.returncode == 0 and table.stderr == "" and table.stdout.endswith("\n")
        assert not [sign for sign in table.stdout if sign in "\x1b\x07\u202e"]
    assert "evil \\x1b[31mcat\\x07\\u202e line" in world.ok("images")
    by_key = world.rows("lineage", generated[1]["key"])
    assert by_key == world.rows("lineage", generated[1]["image_id"]) == [generated[1]]
    assert len(world.ok("images", "--limit", "1").splitlines()) == 2

    nothing = world.run("lineage", "no", "such", "words")
    assert nothing.returncode == 0 and "nothing is archived" in nothing.stderr
    assert world.rows("lineage", "no such words") == [] == world.rows("images", "--state", "pending")
    for wrong in ("nosuch", generated[0]["image_id"][:-1], "x'; drop table images; --"):
        unknown = world.run("show", wrong)
        assert unknown.returncode == 2 and "there is no image" in unknown.stderr and unknown.stdout == ""


def test_dry_runs_change_nothing_and_spend_nothing(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """`run --once`, `generate` and `drain` with --dry-run tell what they would do; every byte stays as it is."""
    world.configure(file_section("main", tmp_path / "archive") + job(["a", "b"]), provider=provider)
    provider.source.down()
    assert world.run("generate", "pending one").returncode == 1
    before, asked = files(world.folder / "data"), len(provider.requests)
    due = world.run("run", "--once", "--dry-run")
    assert due.returncode == 0 and "would ask for 2 prompts" in due.stderr
    told = world.run("generate", "--dry-run", "c\x1bd", "-n", "3")
    assert told.returncode == 0 and 'would ask double for 3 images of "c\\x1bd", into main' in told.stderr
    waiting = world.run("drain", "--dry-run")
    assert waiting.returncode == 0 and "pending one" in waiting.stdout
    assert files(world.folder / "data") == before and len(provider.requests) == asked
    assert world.sql("select count(*) as n from ticks") == [{"n": 0}]


def test_images_by_state_and_what_status_exits_with(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """Stored, pending and spooled are listed apart; 0 when all is well, 1 when something is unknown or at risk."""
    with OssDouble(fault=lambda request: None if "_canary" in request.path else Fault(status=503)) as double:
        world.keys_of(double)
        world.configure(file_section("main", tmp_path / "archive") + oss_section("far", double), provider=provider)
        world.ok("generate", "fine", "--store", "main")
        assert world.run("status").returncode == 0
        assert world.run("generate", "rescued", "--store", "far").returncode == 1
        provider.source.down()
        assert world.run("generate", "waiting", "--store", "main").returncode == 1
        for state, prompts in (("stored", ["fine"]), ("spooled", ["rescued"]), ("pending", ["waiting"]), ("lost", [])):
            assert [row["prompt"] for row in world.rows("images", "--state", state)] == prompts
        both = world.rows("images", "--state", "pending", "--state", "spooled")
        assert [row["prompt"] for row in both] == ["waiting", "rescued"], "newest first"
        assert world.run("status").returncode == 0, "postponed is not at risk: the URL lives for days"
        provider.script([Mishap(status=500)])
        assert world.run("generate", "who knows", "--store", "main").returncode == 1
        standing = world.run("status")
        assert standing.returncode == 1 and re.search(r"unknown generations: +1\n", standing.stdout)


def test_a_reader_that_leaves_ends_the_command_quietly(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """`archiver images | head -1`: no complaint, whether the reader left before the first line or after it."""
    world.configure(file_section("main", tmp_path / "archive"), provider=provider)
    world.ok("generate", *("long " + "word " * 4000 + str(number) for number in range(10)))
    for arguments in (("images", "--json"), ("lineage", "long"), ("--help",)):
        for lines in (0, 1):
            process = subprocess.Popen(
                [*ARCHIVER, *arguments],
                cwd=world.folder,
                env=world.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None and process.stderr is not None
            for _ in range(lines):
                process.stdout.readline()
            process.stdout.close()
            complaint = process.stderr.read()
            process.stderr.close()
            assert (complaint, process.wait(60)) == ("", 0), arguments
