"""Prompts from outside: files, templates and picks of a job, and a batch on the command line with its report."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.doubles.http1 import Request
from tests.doubles.pngs import png
from tests.doubles.provider import ImagesProvider, Mishap
from tests.shells.test_paying import run_at
from tests.world import World, file_section


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


def job(*lines: str, name: str = "cats", schedule: str = "every 30d") -> str:
    head = f'[[jobs]]\nname = "{name}"\nschedule = "{schedule}"\nprovider = "double"\n'
    return head + "".join(line + "\n" for line in lines)


def asked(provider: ImagesProvider) -> list[str]:
    return sorted(charge.prompt for charge in provider.charges)


def listen(provider: ImagesProvider, mishaps: dict[str, Mishap] | None = None) -> dict[str, dict[str, Any]]:
    """What is sent from now on, by prompt; `mishaps` are what becomes of the first request of a prompt."""
    heard: dict[str, dict[str, Any]] = {}
    left = dict(mishaps or {})

    def script(request: Request) -> Mishap | None:
        if not request.body.startswith(b"{"):  # the form of an edit
            return None
        body = json.loads(request.body)
        heard[body["prompt"]] = body
        return left.pop(body["prompt"], None)

    provider.script(script)
    return heard


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_template_is_asked_for_in_every_combination_and_the_dry_run_tells_which(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Lists in the file and beside it; what a line of CSV says wins over the job, its tags are added."""
    world.folder.mkdir()
    (world.folder / "prompts.csv").write_text(
        'prompt,size,n,tags,quality\n"{animal} in {style}, {date:%Y}, no {n}",,2,"shop, red",\n'
        "{{json}},1024x1024,,,low\n",
        "utf-8",
    )
    (world.folder / "styles.txt").write_text("# ways of painting\noil\n水墨\n", "utf-8")
    lines = [
        'prompts_file = "prompts.csv"',
        'lists = { animal = ["cat", "fox"], style = "file:styles.txt" }',
        'size = "2048x2048"',
        'tags = ["daily"]',
        'parameters = { quality = "high" }',
    ]
    world.configure(file_section("main", tmp_path / "archive") + job(*lines), provider=provider)
    world.ok("config", "check")
    shown = world.run("run", "--once", "--dry-run")
    assert shown.returncode == 0 and shown.stdout.splitlines()[1].split()[-1] == "5"
    assert "would ask for 5 prompts, and spend nothing now" in shown.stderr
    (told,) = world.rows("run", "--once", "--dry-run")
    year = datetime.now(UTC).astimezone(ZoneInfo("Asia/Shanghai")).year
    expected = [f"{animal} in {style}, {year}, no 1" for animal in ("cat", "fox") for style in ("oil", "水墨")]
    assert [wish["prompt"] for wish in told["wishes"]] == [*expected, "{json}"]
    assert told["wishes"][4] | {"inputs": []} == {
        "prompt": "{json}",
        "size": "1024x1024",
        "n": 1,
        "tags": [],
        "inputs": [],
        "parameters": {"quality": "low"},
    }
    assert provider.requests == [] and not (world.folder / "data").exists()
    sent = listen(provider)
    assert "9 images archived, 0 lost" in world.run("run", "--once").stderr
    assert asked(provider) == sorted([*expected, "{json}"])
    assert [sent[expected[0]][name] for name in ("size", "n", "quality")] == ["2048x2048", 2, "high"]
    assert [sent["{json}"][name] for name in ("size", "quality")] == ["1024x1024", "low"]
    tags = {row["prompt"]: json.loads(row["tags"]) for row in world.sql("select prompt, tags from generations")}
    assert tags[expected[3]] == ["daily", "shop", "red"] and tags["{json}"] == ["daily"]


def test_more_prompts_than_the_cap_are_confirmed_or_not_asked_for(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """The tick is not claimed and nothing is spent; the other job goes on; the message says what to write."""
    many = ['prompts = ["{a}{b}, please"]', f"lists = {{ a = {json.dumps([*map(str, range(6))])}, b = ['x', 'y'] }}"]
    stores = file_section("main", tmp_path / "archive")
    other = job('prompts = ["a lonely lighthouse"]', name="other")
    world.configure(stores + job("most_prompts = 11", *many) + other, provider=provider)
    said = "jobs.cats.most_prompts: one tick would ask for 12 prompts, which is more than 11; write most_prompts = 12"
    for command in (("config", "check"), ("run", "--once", "--dry-run")):
        done = world.run(*command)
        assert (done.returncode, done.stdout) == (2, "") and said in done.stderr
    done = world.run("run", "--once")
    assert done.returncode == 2 and f"job cats was not planned: {said}" in done.stderr
    assert asked(provider) == ["a lonely lighthouse"]
    assert world.sql("select job from ticks") == [{"job": "other"}]
    world.configure(stores + job("most_prompts = 12", *many) + other, provider=provider)
    world.ok("config", "check")
    assert "12 images archived" in world.run("run", "--once").stderr
    world.configure(stores + job("most_prompts = 2", 'pick = "next"', "pick_count = 2", *many), provider=provider)
    world.ok("config", "check")


def test_next_goes_on_where_the_last_tick_ended_and_random_draws_what_the_dry_run_showed(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Three days, one tick each; the number of a tick is that of the catalogue."""
    numbers = f"prompts = {json.dumps([f'number {place} of five' for place in range(5)])}"
    letters = f"prompts = {json.dumps([f'letter {place} of fifty' for place in range(50)])}"
    jobs = job('pick = "next"', "pick_count = 2", numbers, name="round", schedule="0 9 * * *")
    jobs += job('pick = "random"', "pick_count = 3", letters, name="dice", schedule="0 9 * * *")
    world.configure(file_section("main", tmp_path / "archive") + jobs, provider=provider)
    assert run_at(world, 0, "run", "--once").returncode == 0 and provider.charges == []
    told: dict[str, list[list[str]]] = {"round": [], "dice": []}
    for day in (1, 2, 3):
        dry = run_at(world, day, "run", "--once", "--dry-run", "--json")
        for row in json.loads(dry.stdout):
            told[row["job"]].append([wish["prompt"] for wish in row["wishes"]])
        before = len(provider.charges)
        assert run_at(world, day, "run", "--once").returncode == 0
        now = sorted(charge.prompt for charge in provider.charges[before:])
        assert now == sorted(told["round"][-1] + told["dice"][-1])
    assert told["round"] == [[f"number {place} of five" for place in pair] for pair in ((0, 1), (2, 3), (4, 0))]
    assert all(len(set(drawn)) == 3 for drawn in told["dice"]) and told["dice"][0] != told["dice"][1]


def test_mistakes_in_templates_are_found_before_a_tick(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """With the place in the file or the list, and the word that was probably meant."""
    world.folder.mkdir()
    (world.folder / "p.txt").write_text("fine\n# {anything}\n{anmal} here\n{", "utf-8")
    lists = 'lists = { animal = ["cat"] }'
    for lines, words in (
        ((lists, 'prompts_file = "p.txt"'), 'p.txt:3: unknown word "{anmal}"; did you mean "animal"?'),
        ((lists, 'prompts_file = "p.txt"'), "p.txt:4: a { stands alone"),
        ((lists, 'prompts = ["a", "{x}"]'), 'jobs.cats.prompts[1]: unknown word "{x}"'),
        (("template = true", 'prompts = ["{animal}"]'), 'unknown word "{animal}"; known here: date, n'),
        (('lists = { a = "file:gone.txt" }', 'prompts = ["{a}"]'), "jobs.cats.lists.a: cannot read"),
    ):
        world.configure(file_section("main", tmp_path / "archive") + job(*lines), provider=provider)
        for command in (("config", "check"), ("run", "--once")):
            done = world.run(*command)
            assert done.returncode == 2 and words in done.stderr, command
    assert provider.requests == [] and world.sql("select * from ticks") == []
    world.configure(file_section("main", tmp_path / "archive") + job('prompts_file = "p.txt"'), provider=provider)
    checked = world.run("config", "check")
    assert checked.returncode == 0, "without lists, braces are braces"
    assert 'job cats: "{" is very short' in checked.stderr


# --- a batch on the command line ------------------------------------------------------------------------------------


def test_a_batch_keeps_the_order_of_its_prompts_and_reports_each(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """S106, S114: index, prompt, state, attempts, keys and error, also of those that failed; typed prompts first."""
    sent = listen(
        provider, {"the second prompt": Mishap(status=400), "the third prompt": Mishap(status=503, charged=False)}
    )
    world.configure(file_section("main", tmp_path / "archive"), provider=provider, free_statuses=[503])
    (world.folder / "shop").mkdir()
    (world.folder / "shop" / "moon.png").write_bytes(png("moon"))
    (world.folder / "shop" / "list.jsonl").write_text(
        '{"prompt": "the second prompt", "n": 2}\n'
        '"the third prompt"\n'
        '{"prompt": "the fourth prompt", "size": "1024x1024", "tags": ["red"], "parameters": {"quality": "low"}}\n'
        '{"prompt": "the fifth prompt", "inputs": ["moon.png"]}\n',
        "utf-8",
    )
    prompts = [f"the {word} prompt" for word in ("first", "second", "third", "fourth", "fifth")]
    arguments = ("generate", prompts[0], "--prompts-file", "shop/list.jsonl", "--size", "512x512")
    done = world.run(*arguments, "--param", "quality=high", "--report", "report.jsonl", "--json")
    assert done.returncode == 1, done.stderr
    report = [json.loads(line) for line in (world.folder / "report.jsonl").read_text("utf-8").splitlines()]
    assert [(row["index"], row["prompt"]) for row in report] == list(enumerate(prompts, start=1))
    assert [row["state"] for row in report] == ["completed", "failed", "planned", "completed", "completed"]
    assert [row["images"] for row in report] == [1, 0, 0, 1, 1]
    assert "answered 400" in report[1]["error"] and "503" in report[2]["error"] and report[0]["error"] is None
    assert [row["attempts"] for row in report] == [1] * 5
    archived = json.loads(done.stdout)
    assert [row["prompt"] for row in archived] == [prompts[0], prompts[3], prompts[4]]
    assert [row["key"] for row in archived] == [key for row in report for key in row["keys"]]
    table = [
        line.split() for line in done.stderr.splitlines() if line.startswith(tuple("12345")) and " prompt " in line
    ]
    assert [line[4:7] for line in table][2:4] == [["planned", "1", "0"], ["completed", "1", "1"]]
    assert (sent[prompts[0]]["size"], sent[prompts[0]]["quality"]) == ("512x512", "high")
    assert (sent[prompts[3]]["size"], sent[prompts[3]]["quality"]) == ("1024x1024", "low")
    assert sent[prompts[1]]["n"] == 2 and provider.edited == [[png("moon")]]
    tags = world.sql("select tags from generations where prompt = ?", prompts[3])
    assert json.loads(tags[0]["tags"]) == ["red"]


def test_many_prompts_must_be_confirmed_and_come_from_standard_input_too(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Above a hundred, exit 2 and nothing spent without --yes. The report may be CSV."""
    world.configure(file_section("main", tmp_path / "archive"), provider=provider)
    text = "".join(f"lighthouse number {number}\n" for number in range(101))
    command = ("generate", "--prompts-file", "-")
    refused = world.run(*command, text=text)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "this would ask for 101 prompts; say --yes" in refused.stderr
    dry = world.run(*command, "--dry-run", text=text)
    assert dry.returncode == 0 and "101 prompts at once need --yes" in dry.stderr
    assert provider.requests == [] and not (world.folder / "data").exists()
    done = world.run(*command, "--yes", "--report", "report.csv", text=text)
    assert done.returncode == 0 and "101 images archived, 0 lost" in done.stderr, done.stderr
    with (world.folder / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == text.splitlines()
    assert {(row["state"], row["attempts"], row["images"], row["error"]) for row in rows} == {
        ("completed", "1", "1", "")
    }
    assert all((tmp_path / "archive" / row["keys"]).is_file() for row in rows)


def test_a_batch_that_is_wrong_somewhere_spends_nothing(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """Exit 2, with the file and the line; a report that could not be written is refused before."""
    world.configure(file_section("main", tmp_path / "archive"), provider=provider)
    (world.folder / "p.csv").write_text("prompt,n,inputs\nfine,1,\nwrong,x,\n", "utf-8")
    (world.folder / "q.csv").write_text("prompt,n,inputs\nfine,1,\nwrong,1,gone.png\n", "utf-8")
    (world.folder / "gbk.txt").write_bytes("月球上的猫".encode("gbk"))
    for arguments, words in (
        ((), "there is no prompt; write it as an argument, or name a file"),
        (("--prompts-file", "p.csv"), "p.csv:3: n is not a whole number"),
        (("--prompts-file", "q.csv"), "q.csv:3: "),
        (("--prompts-file", "gbk.txt"), "gbk.txt:1: not UTF-8 text"),
        (("--prompts-file", "gone.txt"), "cannot read gone.txt: No such file"),
        (("--prompts-file", "-", "--format", "jsonl"), "standard input:1: no JSON"),
        (("a fine prompt", "--param", "user=caf\udce9"), "is not UTF-8 text"),
        (("a fine prompt", "--report", "report.xls"), "ends neither with .jsonl nor with .csv"),
        (("a fine prompt", "--report", "no/report.csv"), "cannot write no/report.csv: No such file"),
    ):
        done = world.run("generate", *arguments, text="{")
        assert (done.returncode, done.stdout) == (2, "") and words in done.stderr, arguments
    assert provider.requests == []


def test_odd_prompts_are_remarked_and_asked_for(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """S141: a remark is no refusal, with a dry run and without."""
    world.configure(file_section("main", tmp_path / "archive"), provider=provider)
    long = "a very long story " * 60
    for more in (("--dry-run",), ()):
        done = world.run("generate", "猫", "一只坐在月球上的猫", long, *more)
        assert done.returncode == 0
        remarks = [line for line in done.stderr.splitlines() if " is very " in line]
        assert len(remarks) == 2
        assert remarks[0].startswith('"猫" is very short') and "is very long (1079 characters)" in remarks[1]
    assert len(provider.charges) == 3
