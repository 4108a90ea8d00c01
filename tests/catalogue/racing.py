"""Eight real processes that want the same thing at the same moment.

What they run is a function of this module or of a test module, with the folder of the catalogue and the number of the
process. They start together, at a barrier.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from archiver.catalogue import Catalogue
from archiver.core.errors import Unusable
from tests.catalogue.filling import LEASE, NOW, arrival, draft, signed

PROCESSES = 8
_START: list[Barrier] = []


class Race:
    """The processes, started once and used by several tests."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(
            PROCESSES, mp_context=context, initializer=_meet_at, initargs=(context.Barrier(PROCESSES),)
        )

    def run(self, task: Callable[[Path, int], Any], folder: Path) -> list[Any]:
        """What each process returned."""
        futures = [self._pool.submit(_begin, task, folder, number) for number in range(PROCESSES)]
        return [future.result(timeout=60) for future in futures]

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


def race() -> Iterator[Race]:
    """For a fixture."""
    running = Race()
    yield running
    running.close()


def _meet_at(start: Barrier) -> None:
    _START.append(start)


def _begin(task: Callable[[Path, int], Any], folder: Path, number: int) -> Any:
    _START[0].wait(timeout=60)
    return task(folder, number)


def open_and_close(folder: Path, _number: int) -> list[str]:
    """Make and migrate the catalogues of forty folders, each when everybody else does. Returns complaints."""
    complaints: list[str] = []
    for index in range(40):
        (folder / str(index)).mkdir(exist_ok=True)
        _START[0].wait(timeout=60)
        try:
            Catalogue.open(folder / str(index), create=True).close()
        except Unusable as error:
            complaints.append(str(error))
    return complaints


def plan_ticks(folder: Path, number: int) -> list[int]:
    """Try to plan each of 60 ticks. Returns those that this process won."""
    catalogue = Catalogue.open(folder, create=False)
    won = [
        tick
        for tick in range(60)
        if catalogue.ticks.plan(
            "daily",
            NOW.replace(minute=tick),
            [
                draft(f"{number}-{tick}-{position}", origin="job", job="daily", position=position)
                for position in range(2)
            ],
            NOW,
        )
    ]
    catalogue.close()
    return won


def submit_all(folder: Path, number: int) -> list[str]:
    """Begin to submit until there is nothing left. Returns what this process may ask for."""
    catalogue = Catalogue.open(folder, create=False)
    taken: list[str] = []
    while submission := catalogue.generations.begin_submit("apiyi", f"process {number}", NOW):
        taken.append(submission.ask.generation_id)
    catalogue.close()
    return taken


def claim_all(folder: Path, number: int) -> list[str]:
    """Claim until there is nothing left, in bites of 1 to 8. Returns what this process claimed."""
    catalogue = Catalogue.open(folder, create=False)
    taken: list[str] = []
    while tickets := catalogue.images.claim(f"process {number}", NOW, LEASE, limit=number + 1):
        taken += [ticket.image_id for ticket in tickets]
    catalogue.close()
    return taken


def adopt_all(folder: Path, number: int) -> list[str]:
    """Take in the same 40 lines as everybody else, one by one. Returns what became of each."""
    catalogue = Catalogue.open(folder, create=False)
    words: list[str] = []
    for line in range(40):
        entry = (draft(f"{number}-{line}", origin="backfill"), arrival(f"{number}-{line}", url=signed(line)))
        words += catalogue.images.adopt([entry], NOW)
    catalogue.close()
    return words
