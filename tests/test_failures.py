"""The list of failures is complete and true: each number is answered, and each test that it names exists."""

from tests.failures import DEMANDED, KNOWN, existing, failures, report


def test_every_failure_of_the_sections_a_to_f_is_answered() -> None:
    """By a test or by a reason; `python3 scripts/soak/failures.py` prints what is missing."""
    answered = {row.number for row in failures() if row.tests or row.reason}
    assert [f"F{number}" for number in DEMANDED if number not in answered] == []


def test_every_named_test_exists() -> None:
    """A test that was renamed or removed no longer covers anything."""
    tests = existing()
    assert len(tests) > 500, "the tree was not read"
    named = {test: row.number for row in failures() for test in row.tests}
    assert {test: number for test, number in named.items() if test not in tests} == {}


def test_the_list_knows_no_other_number() -> None:
    """A typo in a number, in the list or in the name of a test, would cover nothing."""
    assert [row.number for row in failures() if row.number not in KNOWN or not row.what] == []


def test_the_report_names_what_is_missing() -> None:
    """Each row without a test, or with a part that none shows, has a line of its own."""
    lines = report().splitlines()
    open_rows = [row for row in failures() if not row.tests or row.missing]
    assert len(lines) == len(open_rows) + 1
    for row in open_rows:
        assert any(line.startswith(f"F{row.number} ") for line in lines)
