"""Planning: a job is remembered, and each of its ticks is planned once, as a whole, by one process."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue, Draft, as_text
from tests.catalogue import racing
from tests.catalogue.filling import HOUR, NOW, ask, draft, opened, sqlite

ROOT = Path(__file__).parents[2]


def test_first_seen_stays_until_the_schedule_changes(catalogue: Catalogue) -> None:
    """`every 2h` counts from the moment when the job was first seen, not from each start."""
    see = catalogue.ticks.see_job
    assert see("daily", "every 2h", NOW) == NOW
    assert see("daily", "every 2h", NOW + HOUR) == NOW
    assert see("other", "every 2h", NOW + HOUR) == NOW + HOUR
    assert see("daily", "every 3h", NOW + 2 * HOUR) == NOW + 2 * HOUR
    assert see("daily", "every 3h", NOW + 9 * HOUR) == NOW + 2 * HOUR


def test_last_tick_is_the_latest_that_was_claimed(catalogue: Catalogue) -> None:
    assert catalogue.ticks.last("daily") is None
    for hours in (2, 5, 3):
        assert catalogue.ticks.plan("daily", NOW + hours * HOUR, [], NOW)
    catalogue.ticks.plan("other", NOW + 9 * HOUR, [], NOW)
    assert catalogue.ticks.last("daily") == NOW + 5 * HOUR


def test_a_tick_plans_its_drafts_once(catalogue: Catalogue) -> None:
    """The second plan of a tick changes nothing, whatever it brings."""
    drafts = [draft(number, origin="job", job="daily", position=number, tags=("动物",)) for number in range(3)]
    assert catalogue.ticks.plan("daily", NOW, drafts, NOW)
    assert not catalogue.ticks.plan("daily", NOW, [draft(9, origin="job", job="daily", position=9)], NOW + HOUR)
    assert catalogue.ticks.plan("other", NOW, [], NOW)
    found = ask(catalogue, "select id, state, scheduled_for, tags from generations order by seq")
    assert found == [(f"g{number}", "planned", as_text(NOW), '["动物"]') for number in range(3)]


def test_eight_processes_plan_each_tick_exactly_once(race: racing.Race, tmp_path: Path) -> None:
    """60 ticks of two generations: each is won by one process, and nobody else's drafts are there."""
    catalogue = opened(tmp_path)
    won = race.run(racing.plan_ticks, tmp_path)
    assert sorted(tick for ticks in won for tick in ticks) == list(range(60))
    planned = {ident for (ident,) in ask(catalogue, "select id from generations")}
    assert planned == {
        f"g{number}-{tick}-{position}" for number, ticks in enumerate(won) for tick in ticks for position in range(2)
    }
    assert ask(catalogue, "select count(*) from ticks") == [(60,)]
    catalogue.close()


def test_planning_that_fails_midway_leaves_nothing(catalogue: Catalogue) -> None:
    """The third draft cannot be written: the tick is not claimed, and can be planned later."""
    catalogue.generations.add([draft("taken")], NOW)
    drafts = [draft(0), draft(1), draft("taken")]
    with pytest.raises(sqlite.IntegrityError):
        catalogue.ticks.plan("daily", NOW, drafts, NOW)
    assert ask(catalogue, "select id from generations") == [("gtaken",)]
    assert catalogue.ticks.last("daily") is None
    assert catalogue.ticks.plan("daily", NOW, drafts[:2], NOW)


class Deadly(Sequence[Draft]):
    """Drafts that kill the process which reads the third of them."""

    def __getitem__(self, index: object) -> Draft:  # type: ignore[override]
        raise IndexError

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Draft]:
        yield from (draft(0, prompt="x" * 5000), draft(1))
        signal.raise_signal(signal.SIGKILL)


def test_planning_that_is_killed_midway_leaves_nothing(tmp_path: Path) -> None:
    """A real SIGKILL between two rows of one tick."""
    opened(tmp_path).close()
    program = (
        "import sys, pathlib; from tests.catalogue.filling import opened, NOW\n"
        "from tests.catalogue.test_ticks import Deadly\n"
        "opened(pathlib.Path(sys.argv[1])).ticks.plan('daily', NOW, Deadly(), NOW)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    catalogue = opened(tmp_path)
    assert ask(catalogue, "select * from generations") == ask(catalogue, "select * from ticks") == []
    assert catalogue.ticks.plan("daily", NOW, [draft()], NOW)
    catalogue.close()
