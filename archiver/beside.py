"""`python -m archiver.beside CONFIG LEVEL [SINCE]`: the second process of `[archiver] processes`, which only copies.

A command starts it and listens to it (`pipeline.companion`): it tells on standard output what it has done, a line at a
time, and works until standard input ends. It asks no provider, and never decides that there is nothing left to do.
"""

import os
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TextIO

import structlog

from archiver import wiring
from archiver.core.errors import ArchiverError
from archiver.daemon import stopped_by_signals
from archiver.pipeline.companion import line_of
from archiver.pipeline.crew import Crew
from archiver.wiring.house import open_house

log = structlog.get_logger("archiver")


def main() -> int:
    """Work until nobody listens any more. Returns the exit code."""
    path, level, *since = sys.argv[1:]
    wiring.set_up_logging(level)
    # When nobody counts any more, what is in hand is finished all the same.
    with suppress(BrokenPipeError), os.fdopen(os.dup(1), "w", buffering=1) as told:
        os.dup2(2, 1)  # whatever prints, prints among the log lines
        try:
            _work(path, datetime.fromisoformat(since[0]) if since else None, told)
        except ArchiverError as error:
            log.error("companion cannot work", error=str(error))
            return error.exit_code
    return 0


def _work(path: str, since: datetime | None, told: TextIO) -> None:
    config = replace(wiring.load_config(path), providers={}, jobs=())
    with open_house(config) as house:
        crew = Crew(house.pipeline, copies=house.copies, asks=False, tries_all_since=since)
        threading.Thread(target=_listen, args=(crew,), name="listener", daemon=True).start()
        with stopped_by_signals(crew.stop):
            with crew:
                told.writelines(line_of(crew.take_tally()) + "\n" for _ in crew.work(forever=True))
            told.write(line_of(crew.take_tally()) + "\n")


def _listen(crew: Crew) -> None:
    sys.stdin.read()
    crew.stop()


if __name__ == "__main__":
    sys.exit(main())
