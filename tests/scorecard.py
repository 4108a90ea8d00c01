"""The page docs/scorecard.md: what the long runs were asked for, what came out, and what nobody tests.

`judged` turns what one script of scripts/soak printed into a result, and `page` turns results into Markdown. Both are
pure. A miss stands in the table like a success; nothing is dropped, and no path of the machine is shown.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_LINES_OF_A_FAILURE = 40
# A word that begins with a slash and has another one: `/tmp/x/y`, but not the rest of a URL or of a key in a bucket.
_PATH = re.compile(r"(?:(?<![\w./~-])~?|(?<=file://))/(?:[^\s/'\"`|,;:()<>]+/)+([^\s/'\"`|,;:()<>]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One part of a run: what it is about, what must come out, and how much of it was asked for of a full run.

    `command` repeats it from the root of the project; `note` says how its figures are to be read.
    """

    name: str
    title: str
    wanted: str
    command: str
    amount: str = ""
    share: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a part. `got` is one line for a person, `figures` all that the script counted, by name."""

    asked: Asked
    passed: bool
    got: str
    seconds: float
    figures: Mapping[str, object] = field(default_factory=dict)
    said: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A whole run: `about` says when, on what and of what, by name; `uncovered` is one line per known failure, and
    `left_out` are the parts that nobody wanted."""

    about: Mapping[str, str]
    results: Sequence[Result]
    uncovered: Sequence[str]
    left_out: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether every part did. A run without parts did not."""
        return bool(self.results) and all(result.passed for result in self.results)


def judged(asked: Asked, *, code: int | None, stdout: str, stderr: str, seconds: float) -> Result:
    """What a script's exit code (None: it had to be stopped), figures (the last line of stdout, as JSON) and last line
    of stderr mean. A script that says nothing of itself has not passed, whatever its exit code."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    try:
        figures = json.loads(stdout.strip().rpartition("\n")[2])
        assert isinstance(figures, dict)
    except (ValueError, AssertionError):
        figures = {}
    passed = code == 0 and bool(figures) and figures.get("ok", True) is True
    got = lines[-1] if lines else ""
    if not passed:
        how = "was stopped: it did not end in its time" if code is None else f"ended with exit code {code}"
        why = str(figures.get("error") or (got if figures or code else "it printed no figures"))
        got = f"{how}; {why}" if why else how
    said = () if passed else tuple(lines[-MOST_LINES_OF_A_FAILURE:])
    return Result(asked=asked, passed=passed, got=got, seconds=seconds, figures=figures, said=said)


def page(card: Card) -> str:
    """The whole page."""
    return without_paths("\n".join(_lines(card)) + "\n")


def without_paths(text: str) -> str:
    """Paths of this project are said from its root, others shortened to their last part: where somebody keeps them is
    nobody's business."""
    return _PATH.sub(lambda found: f"…/{found[1]}", text.replace(f"{ROOT}/", ""))


def _lines(card: Card) -> Iterator[str]:
    failed = [result for result in card.results if not result.passed]
    short = [result for result in card.results if result.asked.share < 1]
    yield "# Scorecard"
    yield ""
    yield "Written by `python3 scripts/bootstrap.py soak`, not by hand: the long runs that are too long for the tests."
    yield ""
    verdict = f"**{len(card.results) - len(failed)} of {len(card.results)} parts passed.**"
    if failed:
        verdict += f" Failed: {', '.join(result.asked.title for result in failed)}."
    if short:
        verdict += f" Not run in full size: {', '.join(result.asked.title for result in short)}."
    if card.left_out:
        verdict += f" Left out: {', '.join(card.left_out)}."
    yield verdict
    yield ""
    yield from _table(("this run", ""), [(name, value) for name, value in card.about.items()])
    yield ""
    yield from _table(
        ("part", "run", "wanted", "got", "result"),
        [
            (result.asked.title, result.asked.amount, result.asked.wanted, _in_short(result.got), _result(result))
            for result in card.results
        ],
    )
    for result in card.results:
        yield from _section(result)
    yield ""
    yield "## Not covered"
    yield ""
    yield "Known failures (`tests/data/failures.toml`) that no test shows, or only in part, and why:"
    yield ""
    yield from (f"- {_plain(line)}" for line in card.uncovered)


def _section(result: Result) -> Iterator[str]:
    yield ""
    yield f"## {result.asked.title}"
    yield ""
    yield f"{_result(result)} after {result.seconds:.0f} s. Again:"
    yield ""
    yield from ("```sh", result.asked.command, "```", "")
    if result.asked.note:
        yield from (_plain(result.asked.note), "")
    yield f"- wanted: {_plain(result.asked.wanted)}"
    yield f"- got: {_plain(result.got)}"
    yield from (f"- {name}: {_plain(value)}" for name, value in _flat(result.figures))
    if result.said:
        yield from ("", "The last that it said:", "", "```text")
        yield from (line.replace("```", "'''") for line in result.said)
        yield "```"


def _result(result: Result) -> str:
    if not result.passed:
        return "**FAILED**"
    if result.asked.share < 1:
        return f"Passed, {max(1, round(100 * result.asked.share))} % of the full size"
    return "Passed"


def _in_short(text: str) -> str:
    """For a cell of the table; the section has the whole."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."


def _flat(figures: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Names and values; what is nested gets both names."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name} / ")
        else:
            yield above + name, str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """On one line, and no HTML."""
    return " ".join(text.split()).replace("<", "&lt;")
