"""A process that sleeps through its lease, and a catalogue that somebody else holds: late, but never twice or lost."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.core.errors import Unusable
from tests.crash.oracle import rows
from tests.doubles.http1 import Request
from tests.doubles.provider import ImagesProvider, Mishap
from tests.pipeline.workshop import Clock, open_workshop
from tests.world import ROOT

#: Claims an image, stops as a machine that goes to sleep does, `where` it is told to, and goes on when it is woken.
GHOST = """
import itertools, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from tests.pipeline import workshop
from tests.pipeline.workshop import Clock, open_workshop

workshop._ids = itertools.count(10**6)  # an owner is known by its id, and the other process counts too
folder, where = Path(sys.argv[1]), sys.argv[2]
with open_workshop(folder, clock=Clock(datetime.now(UTC))) as shop:
    sleep = lambda: os.kill(os.getpid(), signal.SIGSTOP)
    ticket = shop.pipeline.next_to_copy()
    if where == "before the copy":
        sleep()
    outcome = shop.pipeline.copy(ticket)
    if where == "before settling":
        sleep()
    ((_, is_stored),) = shop.pipeline.settler.settle([outcome])
    print("stored" if is_stored else "nothing changed")
"""


@pytest.mark.parametrize("where", ["before the copy", "before settling"])
def test_f007_a_process_that_slept_through_its_lease_changes_nothing(tmp_path: Path, where: str) -> None:
    """It is stopped with an image in hand; another one takes over when the lease is over, though the owner is alive."""
    clock = Clock(datetime.now(UTC))
    data = tmp_path / "d"
    with ImagesProvider() as double, open_workshop(data, double=double, clock=clock) as shop:
        shop.plan("double", "a fox")
        shop.ask("double")
        command = [sys.executable, "-c", GHOST, str(data), where]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as ghost:
            try:
                _, status = os.waitpid(ghost.pid, os.WUNTRACED)
                assert os.WIFSTOPPED(status)
                assert shop.copy() == [], "its lease still holds"
                clock.advance(hours=1)
                assert len(shop.copy()) == 1
                assert shop.states() == ["stored"]
                before = _tables(data)
                ghost.send_signal(signal.SIGCONT)
                said, _ = ghost.communicate(timeout=60)
            finally:
                ghost.kill()
        assert (ghost.returncode, said) == (0, "nothing changed\n")
        assert _tables(data) == before
        assert len(double.charges) == 1
        (row,) = shop.catalogue.reports.lineage("fox")
        assert (data / "near" / row["key"]).read_bytes() == double.image("a fox", 0)


def _tables(data: Path) -> list[object]:
    return [rows(data, f"select * from {table}") for table in ("generations", "images", "copies", "events")]


#: Holds the catalogue from its first line on stdin to its second. Locks are between processes: it must be one.
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
for statement in ("begin exclusive", "rollback"):
    sys.stdin.readline()
    connection.execute(statement)
    print(statement, flush=True)
"""


def test_f020_a_paid_answer_waits_in_its_file_while_somebody_holds_the_catalogue(tmp_path: Path) -> None:
    """The lock is taken while the provider works, and outlasts our patience (lowered here from 30 s to 50 ms)."""
    data = tmp_path / "d"
    command = [sys.executable, "-c", HOLDER, str(data / "catalogue.db")]
    with (
        ImagesProvider() as double,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as holder,
    ):

        def let_holder(_: Request | None = None) -> Mishap | None:
            assert holder.stdin is not None and holder.stdout is not None
            holder.stdin.write("\n")
            assert holder.stdout.readline()
            return None

        try:
            with open_workshop(data, double=double) as shop:
                (fox,) = shop.plan("double", "a fox")
                shop.catalogue._database.connection.execute("pragma busy_timeout=50")
                double.script(let_holder)
                with pytest.raises(Unusable, match="locked"):
                    shop.ask("double")
                assert len(double.charges) == 1
                assert shop.files("inbox") == [f"{fox}.answer"]
                let_holder()
        finally:
            holder.kill()
        double.script(None)
        with open_workshop(data, double=double, clock=Clock(shop.clock() + timedelta(minutes=1))) as later:
            later.pipeline.recover()
            later.ask("double")
            later.copy()
            assert later.generation(fox)["state"] == "completed"
            assert later.states() == ["stored"]
        assert len(double.charges) == 1
