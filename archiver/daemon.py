"""The daemon: wakes up when a tick is due, and keeps a crew at work until it is told to stop.

APScheduler only wakes it; what is due is decided by `schedule` and claimed in the catalogue, the same as for
`run --once`. SIGTERM and SIGINT end it in order: no new work, what is in flight is finished and settled.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import FrameType
from typing import Any, Protocol

import structlog

from archiver.catalogue import SoleDaemon
from archiver.core.errors import Unusable
from archiver.pipeline.crew import Crew
from archiver.pipeline.tally import Tally
from archiver.wiring.house import House

#: Ticks are looked for once a second: the finest schedule is `every 1s`.
PLAN_EVERY = timedelta(seconds=1)
RECOVER_EVERY = timedelta(seconds=30)
EXPIRE_EVERY = timedelta(minutes=1)
ALERT_EVERY = timedelta(seconds=30)

log = structlog.get_logger("archiver")


class Alarm(Protocol):
    """What `archiver.alerts` gives: a round of telling, and a last word when the catalogue cannot be used."""

    def check(self) -> None:
        """Tell of every condition that is due to be told of."""

    def cry(self, error: Unusable) -> None:
        """Tell that the work ends."""


def run(house: House, alarm: Alarm) -> Iterator[Tally]:
    """Work until SIGTERM or SIGINT, reporting about once a second. Raises Unusable when another daemon is at work."""
    pipeline, jobs = house.pipeline, house.jobs()
    lock = SoleDaemon(house.config.archiver.data_dir / "daemon.lock")
    try:
        crew = Crew(pipeline, copies=house.copies, companions=house.companions(always=True))
        with crew, stopped_by_signals(crew.stop):
            failures: list[BaseException] = []
            complaints: dict[str, str] = {}

            def tick() -> None:
                planned, troubles = pipeline.plan(jobs)
                for name, trouble in troubles.items():
                    if complaints.get(name) != str(trouble):  # once, not every second
                        log.error("job not planned", job=name, error=str(trouble))
                complaints.clear()
                complaints.update({name: str(trouble) for name, trouble in troubles.items()})
                if planned:
                    crew.wake()

            def expire() -> None:
                pipeline.renew()
                crew.tally.lost += pipeline.expire()

            def guarded(step: Callable[[], None]) -> Callable[[], None]:
                def act() -> None:
                    try:
                        step()
                    except Exception as error:  # noqa: BLE001 - handed to the thread that waits below
                        failures.append(error)
                        crew.stop()

                return act

            from apscheduler.schedulers.background import BackgroundScheduler  # late: `run --once` needs none

            scheduler = BackgroundScheduler(
                timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
            )
            for step, period in (
                (tick, PLAN_EVERY),
                (pipeline.recover, RECOVER_EVERY),
                (expire, EXPIRE_EVERY),
                (alarm.check, ALERT_EVERY),
            ):
                _every(scheduler, guarded(step), period, pipeline.now())
            scheduler.start()
            log.info("started", jobs=[job.name for job in jobs], data_dir=str(house.config.archiver.data_dir))
            try:
                yield from crew.work(forever=True)
            finally:
                scheduler.shutdown()
            if failures:
                raise failures[0]
        log.info("stopped")
    except Unusable as error:
        alarm.cry(error)
        raise
    finally:
        lock.close()


def _every(scheduler: Any, step: Callable[[], None], period: timedelta, first: datetime) -> None:
    scheduler.add_job(step, "interval", seconds=period.total_seconds(), next_run_time=first)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Call `stop` at the first SIGTERM, SIGINT or SIGHUP instead of dying; a second one has its usual effect.

    Yields the list of signals that came.
    """
    came: list[int] = []

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, _frame: FrameType | None) -> None:
        restore()
        came.append(number)
        stop()
        # No logger here: it takes a lock that the interrupted thread may hold.
        os.write(2, b"archiver: finishing what is in flight; the same signal again abandons it\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield came
    finally:
        restore()
