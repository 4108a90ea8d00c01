"""The scorecard says what came out of the long runs: a failure shows, nothing is dropped, no path is told."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scorecard import Asked, Card, Result, judged, page, without_paths

ROOT = Path(__file__).parents[1]
KILLS = Asked(
    name="kills",
    title="kill -9",
    wanted="300 kills: nothing lost",
    command=".venv/bin/python scripts/soak/kills.py --kills 30 --seed 5",
    amount="30 of 300 kills",
    share=0.1,
    note="Unknown is not lost.",
)
POWER = Asked(name="power", title="Power loss", wanted="nothing lost", command="power.py --seed 5", amount="1,000 cuts")
GOOD = json.dumps({"ok": True, "kills_met": {"asking": 4, "copying": 3}, "images": 40})


def card(*results: Result, uncovered: tuple[str, ...] = ("F18 the disk lies: no test. nobody can",)) -> Card:
    return Card(about={"begun": "2026-11-20 15:00 UTC", "commit": "abc1234"}, results=results, uncovered=uncovered)


def good(asked: Asked = KILLS) -> Result:
    return judged(asked, code=0, stdout=GOOD, stderr="seed 5\n30 kills: 0 lost\n", seconds=61.0)


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table of parts, by the first."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row for row in cells if len(row) == 5}


def test_a_run_shows_what_was_asked_what_came_and_how_to_repeat_it() -> None:
    """Table, sections, facts of the run, every figure, and what nobody tests."""
    text = page(card(good(), good(POWER)))
    assert rows(text)["kill -9"][1:] == [
        "30 of 300 kills",
        "300 kills: nothing lost",
        "30 kills: 0 lost",
        "Passed, 10 % of the full size",
    ]
    assert rows(text)["Power loss"][4] == "Passed"
    assert "**2 of 2 parts passed.** Not run in full size: kill -9." in text
    for told in (
        "2026-11-20 15:00 UTC",
        "abc1234",
        KILLS.command,
        KILLS.note,
        "kills_met / asking: 4",
        "images: 40",
        "after 61 s",
    ):
        assert told in text
    assert text.index("## kill -9") < text.index("## Power loss") < text.index("## Not covered") < text.index("- F18")
    assert "FAILED" not in text


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "shown"),
    [
        (1, json.dumps({"ok": False, "error": "charged twice"}), "FAILED after seed 5", "charged twice"),
        (1, GOOD, "one image is missing", "exit code 1; one image is missing"),
        (0, "", "all is well", "it printed no figures"),
        (0, "Traceback", "all is well", "it printed no figures"),
        (0, "[]", "all is well", "it printed no figures"),
        (0, json.dumps({"ok": False}), "all is well", "exit code 0; all is well"),
        (1, "", "ValueError: odd", "exit code 1; ValueError: odd"),
        (-9, "", "", "exit code -9"),
        (None, GOOD, "25 kills", "did not end in its time; 25 kills"),
    ],
)
def test_a_failure_shows(code: int | None, stdout: str, stderr: str, shown: str) -> None:
    """In the first lines, in the table and in its section, with what it said last; the other parts stay as they are."""
    bad = judged(KILLS, code=code, stdout=stdout, stderr=stderr, seconds=1.0)
    whole = card(good(POWER), bad)
    text = page(whole)
    assert not bad.passed and not whole.passed
    assert "**1 of 2 parts passed.** Failed: kill -9." in text
    assert rows(text)["kill -9"][4] == "**FAILED**" and shown in rows(text)["kill -9"][3]
    assert rows(text)["Power loss"][4] == "Passed"
    section = text.partition("## kill -9")[2]
    assert shown in section and all(line in section for line in stderr.splitlines())


def test_nothing_ran_is_not_a_success() -> None:
    """A page of no parts must not read like a good one."""
    assert not card().passed
    assert card(good()).passed


def test_every_result_figure_and_uncovered_failure_is_on_the_page() -> None:
    """However many there are, and whatever characters they hold."""
    figures = {f"figure {number}": {"of": {"deep": number}} for number in range(50)}
    parts = [Asked(name=f"p{n}", title=f"Part {n}", wanted="a | b", command=f"p{n}.py") for n in range(20)]
    results = [
        judged(part, code=n % 2, stdout=json.dumps(figures), stderr="one | two\n" * 99, seconds=1.0)
        for n, part in enumerate(parts)
    ]
    uncovered = tuple(f"F{number} <b>\nsomething" for number in range(100))
    text = page(card(*results, uncovered=uncovered))
    for part in parts:
        assert f"| {part.title} | " in text and f"## {part.title}\n" in text and part.command in text
    assert all(text.count(f"figure {number} / of / deep: {number}\n") == len(parts) for number in range(50))
    assert all(f"- F{number} &lt;b> something\n" in text for number in range(100))
    tables = [line for line in text.splitlines() if line.startswith("| Part ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {6}


def test_no_absolute_path_is_told() -> None:
    """Not in an error, a figure, a traceback or a command; addresses and keys in a bucket stay."""
    error = f"File \"{ROOT}/tests/world.py\", line 3; left in '/tmp/tmpab12/user/data': ~/a/b.txt (at /home/me/x/y.db)"
    uris = "file:/opt/d/catalogue.db?mode=ro file:///srv/a/b"
    stay = "http://127.0.0.1:4711/a/b.png s3://bucket/archive/a.png archive/soak/2026/11/20/a.png 3/4 and/or F1/F2/F3"
    bad = judged(
        KILLS,
        code=1,
        stdout=json.dumps({"error": error, "at": "/var/lib/x", "db": uris}),
        stderr=f"{error}\n{stay}",
        seconds=1.0,
    )
    text = page(card(bad))
    for path in (str(ROOT), "/tmp/", "tmpab12", "/home", "/var/", "~/a", "/opt", "/srv"):
        assert path not in text, path
    assert 'File "tests/world.py"' in text and "…/y.db" in text and stay in text
    assert without_paths(stay) == stay


def test_the_run_writes_the_page_and_the_list_of_failures(tmp_path: Path) -> None:
    """From outside: the list alone, which takes a moment, on a page of its own."""
    target = tmp_path / "new" / "page.md"
    command = [sys.executable, "scripts/soak/run.py", "--only", "failures", "--page", str(target), "--seed", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = target.read_text("utf-8")
    assert [path.name for path in target.parent.iterdir()] == ["page.md"]
    assert "**1 of 1 parts passed.** Left out: kills, outage, power, bodies, machine." in text
    assert "| SQLite | 3." in text and "| seed | 5 |" in text
    assert re.search(r"^- F\d+ .*: no test\. ", text, re.MULTILINE) and str(tmp_path) not in text
