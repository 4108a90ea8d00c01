"""Working a crew to its end, and telling of it: progress on a terminal, a closing line, and the exit code.

The exit code reports what happened in this run; `archiver status` reports what stands.
"""

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import click

from archiver.cli.printing import counted, plain, say
from archiver.core.redaction import redact
from archiver.pipeline.crew import Crew
from archiver.pipeline.tally import Tally

MOST_TROUBLES_SHOWN = 20
BETWEEN_COUNTS = timedelta(seconds=2)
BETWEEN_LINES = timedelta(seconds=60)


def follow(tallies: Iterator[Tally], pipeline: Any, *, total: int | None = None) -> None:
    """Consume the tallies of a crew; on a terminal, show how it stands. With `total` images to copy, as a bar with what
    is left of the time, and without a terminal as a line every minute."""
    if total is not None:
        _show_share(tallies, pipeline, total)
        return
    if not sys.stderr.isatty():
        for _ in tallies:
            pass
        return
    from rich.console import Console

    counted = None
    asking = waiting = 0
    with Console(stderr=True).status("starting") as line:
        for tally in tallies:
            if counted is None or pipeline.now() - counted >= BETWEEN_COUNTS:
                asking, waiting = pipeline.catalogue.reports.busy()
                counted = pipeline.now()
            line.update(
                f"{asking} being asked, {tally.asked} answered,"
                f" {tally.stored} archived ({tally.bytes / 1e6:.1f} MB),"
                f" {waiting} on their way, {tally.postponed} postponed"
            )


def _show_share(tallies: Iterator[Tally], pipeline: Any, total: int) -> None:
    began = told = pipeline.now()
    if not sys.stderr.isatty():
        for tally in tallies:
            if pipeline.now() - told >= BETWEEN_LINES:
                told = pipeline.now()
                say(f"{tally.stored} of {total} archived, {pace(tally, told - began, total)}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    words = TextColumn("{task.completed:.0f} of {task.total:.0f} archived, {task.fields[pace]}")
    with Progress(BarColumn(), words, console=Console(stderr=True)) as bar:
        task = bar.add_task("copy", total=total, pace="starting")
        for tally in tallies:
            bar.update(task, completed=tally.stored, pace=pace(tally, pipeline.now() - began, total))


def pace(tally: Tally, elapsed: timedelta, total: int) -> str:
    """How fast it goes, how long it will take at that rate, and what fails, by class."""
    seconds = max(elapsed.total_seconds(), 0.001)
    told = [f"{tally.bytes / 1e6:.1f} MB", f"{tally.stored / seconds:.1f} images/s"]
    if tally.stored and total > tally.stored:
        told.append(f"{timedelta(seconds=round((total - tally.stored) * seconds / tally.stored))} left")
    told += [f"{count} {word}" for word, count in sorted(tally.failures.items())]
    return ", ".join(told)


def work(crew: Crew, *, wait: timedelta | None = None, total: int | None = None) -> list[int]:
    """Run a crew until all is settled or postponed, or a signal ends it; `total` as in `follow`. Returns the signals
    that came."""
    from archiver.daemon import stopped_by_signals

    until: datetime | None = crew.pipeline.now() + wait if wait else None
    crew.pipeline.renew()
    with crew, stopped_by_signals(crew.stop) as came:
        follow(crew.work(until=until), crew.pipeline, total=total)
    crew.tally.lost += crew.pipeline.expire()
    return came


def refusals(crew: Crew) -> list[str]:
    """Why some of what is planned was not asked for: we could not keep the result."""
    return list(crew.pipeline.preflight.refusals) if crew.pipeline.preflight else []


def tell_batches(in_batches: Mapping[str, Mapping[str, Any]]) -> None:
    """Say what is still being made, in which batch, and when to look again: nothing is wrong with it."""
    batches = {row["batch_id"]: row for row in in_batches.values()}
    for batch_id, row in batches.items():
        count = sum(each["batch_id"] == batch_id for each in in_batches.values())
        trouble = f" ({plain(row['error'])})" if row["error"] else ""
        when = f" after {row['not_before']}" if row["not_before"] else ""
        say(
            f"{count} in batch {batch_id} of {plain(row['provider'])}, {row['state']}{trouble};"
            f" `archiver run --once`{when} or the daemon collects them"
        )


def close_with(crew: Crew, generations: list[str], signals: list[int]) -> int:
    """Print the closing line and what went wrong in this run; return the exit code."""
    tally = crew.tally
    asked = crew.pipeline.catalogue.reports.under_way(generations)
    for row in asked:
        if row["reused_from"]:
            say(f"reused for {row['generation_id']}: the images of {row['reused_from']}, at no cost")
    in_batches = crew.pipeline.catalogue.batch_reports.holding([row["generation_id"] for row in asked])
    tell_batches(in_batches)
    asked = [row for row in asked if row["generation_id"] not in in_batches]
    unanswered = [row for row in asked if row["state"] not in ("completed", "reused")]
    for image_id, trouble in list(tally.troubles.items())[:MOST_TROUBLES_SHOWN]:
        say(f"postponed {image_id}: {plain(trouble)}")
    if len(tally.troubles) > MOST_TROUBLES_SHOWN:
        say(f"and {len(tally.troubles) - MOST_TROUBLES_SHOWN} more; `archiver images --state waiting` lists them")
    for row in unanswered:
        again = "; the next run asks again" if row["state"] in ("planned", "accepted") else ""
        again = f"; `archiver resolve {row['generation_id']}` decides" if row["state"] == "unknown" else again
        again = f"; its task is {plain(redact(row['handle']))}{again}" if row["state"] == "accepted" else again
        say(f"{row['state']} generation {row['generation_id']}: {plain(row['error']) or 'not answered yet'}{again}")
    held = refusals(crew) if any(row["state"] in ("planned", "cancelled") for row in unanswered) else []
    for reason in held:
        say(f"held back: {plain(reason)}")
    short = [row for row in asked if row["state"] == "completed" and row["images"] < row["n"]]
    for row in short:
        say(f"short generation {row['generation_id']}: {row['images']} of {counted(row['n'], 'image')} came")
    waiting = sum(row["waiting"] or 0 for row in asked)
    click.echo(f"{counted(tally.stored, 'image')} archived, {tally.lost} lost", err=True)
    if signals:
        return 128 + signals[0]
    if tally.lost:
        return 4
    if held and not tally.asked:
        return 3
    return 1 if unanswered or short or waiting or tally.troubles else 0
