"""The command that takes in URLs kept elsewhere: backfill."""

import io
import sys
from pathlib import Path
from typing import Any

import click

from archiver.cli.completing import store_names
from archiver.cli.printing import counted, plain, say
from archiver.core.errors import UsageError

MOST_BROKEN_SHOWN = 20


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--store", "stores", multiple=True, metavar="NAME", shell_complete=store_names, help="May be given more than once."
)
@click.option("--dry-run", is_flag=True, help="Read and judge every line, write and copy nothing.")
@click.pass_context
def backfill(ctx: click.Context, files: tuple[str, ...], stores: tuple[str, ...], dry_run: bool) -> None:
    """Take in temporary URLs from CSV or JSONL files, and archive them. `-` is standard input.

    Columns: url; optional prompt, model, created_at, expires_at; every other column is kept as metadata. The same line
    twice is one image, and a URL signed anew refreshes one that is still waiting. With no evidence of expiry, an image
    is treated as due within the hour.

    \b
    Exit codes: 0 everything is archived; 1 a line is broken or an image waits, the rest is done;
    2 a file cannot be read: nothing was taken in; 4 an image was lost.

    \b
    Example: archiver backfill urls.csv more.jsonl
    """
    from archiver import wiring
    from archiver.cli import progress
    from archiver.cli.running import check_secrets, open_for_work
    from archiver.pipeline.crew import Crew

    config = wiring.load_config(ctx.obj["config"])
    chosen = wiring.choose_stores(config, stores)
    for name in files:
        _check(name)
    if dry_run:
        ctx.exit(1 if _take_in(_judge(config, chosen), files, "(dry-run) ") else 0)
    check_secrets(config, (), chosen)
    house = open_for_work(ctx, config)
    broken = _take_in(house.backfill(chosen), files)
    crew = Crew(house.pipeline, copies=house.config.archiver.copies, asks=False)
    signals = progress.work(crew)
    code = progress.close_with(crew, [], signals)
    _, waiting = house.catalogue.reports.busy()
    if waiting and not code:
        are = "is" if waiting == 1 else "are"
        say(f"{counted(waiting, 'image')} {are} still on the way; `archiver drain` tries again now")
    ctx.exit(code or (1 if broken or waiting else 0))


def _check(name: str) -> None:
    """A name that was mistyped stops the command before anything is taken in."""
    try:
        if name != "-":
            Path(name).stat()
    except OSError as error:
        raise UsageError(f"cannot read {plain(name)}: {error.strerror}") from None


def _judge(config: Any, stores: tuple[str, ...]) -> Any:
    """A backfill without a catalogue: a dry run opens nothing, and takes over from nobody."""
    from zoneinfo import ZoneInfo

    from archiver import wiring
    from archiver.pipeline.backfill import Backfill

    zone = ZoneInfo(config.archiver.zone)
    return Backfill(catalogue=None, stores=stores, zone=zone, now=wiring.now, new_id=wiring.new_id)


def _take_in(into: Any, files: tuple[str, ...], mark: str = "") -> int:
    """Take in all files and tell of each. Returns the number of broken lines."""
    broken = 0
    for name in files:
        report = _read(into, name)
        broken += len(report.broken)
        for line in report.broken[:MOST_BROKEN_SHOWN]:
            say(f"{name}:{line.number}: {line.reason}")
        if len(report.broken) > MOST_BROKEN_SHOWN:
            say(f"{name}: and {len(report.broken) - MOST_BROKEN_SHOWN} more broken lines")
        counts = ", ".join(f"{count} {word}" for word, count in sorted(report.counts.items())) or "nothing to take in"
        say(f"{mark}{name}: {counts}, {len(report.broken)} broken")
    return broken


def _read(into: Any, name: str) -> Any:
    if name == "-":
        text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape", newline="")
        return into.take_in("stdin", text)
    try:
        with Path(name).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            return into.take_in(name, text)
    except OSError as error:
        raise UsageError(f"cannot read {plain(name)}: {error.strerror}") from None
