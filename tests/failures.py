"""The list of failures in tests/data/failures.toml, read beside the tests that really exist.

A failure is answered by tests that it names, by tests that are named after it (`test_f071_...`), or by the reason why
there is none. This file judges the list; it refuses to judge whether a test is good.
"""

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests" / "data" / "failures.toml"
#: Sections A to F of the failure analysis are F1 to F89; G and H, which have answers too, end with F112.
DEMANDED = range(1, 90)
KNOWN = range(1, 113)
_NAMED_AFTER = re.compile(r"test_f0*(\d+)_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One row: `tests` as `path::name`, those that are named after it included."""

    number: int
    what: str
    tests: tuple[str, ...]
    missing: str
    reason: str


def existing() -> set[str]:
    """Every test function in the tree, as `path::name`, whatever class it is in."""
    return {
        f"{path.relative_to(ROOT).as_posix()}::{node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def failures() -> list[Failure]:
    """Every row in the order of its number. Raises ValueError for a key that nobody knows."""
    named: dict[int, set[str]] = {}
    for test in existing():
        if match := _NAMED_AFTER.match(test.partition("::")[2]):
            named.setdefault(int(match[1]), set()).add(test)
    rows = []
    for name, row in tomllib.loads(LIST.read_text("utf-8")).items():
        if not re.fullmatch(r"F[1-9]\d*", name) or row.keys() - {"what", "tests", "missing", "reason"}:
            raise ValueError(f"{name} is no failure, or has a key that nobody knows")
        number = int(name[1:])
        tests = sorted({*row.get("tests", ()), *named.pop(number, ())})
        rows.append(
            Failure(
                number=number,
                what=row["what"],
                tests=tuple(tests),
                missing=row.get("missing", ""),
                reason=row.get("reason", ""),
            )
        )
    rows += [
        Failure(number=number, what="", tests=tuple(tests), missing="", reason="") for number, tests in named.items()
    ]
    return sorted(rows, key=lambda row: row.number)


def report() -> str:
    """What is not covered: whole rows first, then parts of rows, then the numbers."""
    rows = failures()
    absent = [number for number in KNOWN if number not in {row.number for row in rows}]
    uncovered = [row for row in rows if not row.tests]
    partly = [row for row in rows if row.tests and row.missing]
    lines = [f"F{number}: not in the list" for number in absent]
    lines += [f"F{row.number} {row.what}: no test. {row.reason or 'No reason is given.'}" for row in uncovered]
    lines += [f"F{row.number} {row.what}: in part. {row.missing}" for row in partly]
    whole = len(rows) - len(uncovered) - len(partly)
    tests = len({test for row in rows for test in row.tests})
    none = len(uncovered) + len(absent)
    lines.append(f"{len(KNOWN)} failures: {whole} covered, {len(partly)} in part, {none} not, by {tests} tests")
    return "\n".join(lines)
