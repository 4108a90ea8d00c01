"""The command that takes in URLs kept elsewhere: backfill."""

import sys
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from archiver.cli.completing import store_names
from archiver.cli.measures import Moment, at
from archiver.cli.printing import counted, plain, say, size_text
from archiver.core.errors import UsageError

MOST_BROKEN_SHOWN = 20
KINDS = ("csv", "tsv", "jsonl", "json", "har", "chat", "sql", "sqlite", "markdown", "log", "text")
ROLES = ("url", "prompt", "model", "created_at", "expires_at")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--store", "stores", multiple=True, metavar="NAME", shell_complete=store_names, help="May be given more than once."
)
@click.option("--dry-run", is_flag=True, help="Read and judge every line, write and copy nothing.")
@click.option("--kind", type=click.Choice(KINDS), help="What the files are. Default: by their content.")
@click.option("--encoding", metavar="NAME", help="Of the text, for example gb18030. Default: by its bytes.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help=f"Which column is {', '.join(ROLES)}.")
@click.option("--url-column", metavar="NAME", help="The same as --column url=NAME.")
@click.option("--prompt-column", "--prompt-path", metavar="NAME", help="A column, or a path such as data.0.prompt.")
@click.option("--time-column", metavar="NAME", help="When it was made: --column created_at=NAME.")
@click.option("--query", metavar="SQL", help="The rows of an SQLite file: SELECT ... AS url, ... AS prompt FROM ...")
@click.option("--since", type=Moment(), metavar="TIME", help="Pass over what says to be older: 7d, 2026-11-01.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many images that are not known yet.")
@click.option("--only-host", "hosts", multiple=True, metavar="HOST", help="Only URLs on it; `*.volces.com` for many.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="A row per URL, as CSV or JSONL.")
@click.pass_context
def backfill(ctx: click.Context, /, files: tuple[str, ...], **options: Any) -> None:
    """Take in temporary URLs from whatever holds them, tell what they are worth, and archive them.

    Files: CSV, TSV, JSONL, JSON, answers of APIs, HAR, Markdown, chat exports, logs, SQL dumps, an SQLite file with
    --query; also gzipped. `-` is standard input. Columns url, prompt, model, created_at, expires_at (or the like, or as
    you say); every other one is kept as metadata. URLs of pages, APIs and avatars are passed over, broken lines are
    named. The same URL twice is one image, and one signed anew refreshes an image that still waits. With no evidence of
    expiry, an image is treated as due within the hour. Run again after a crash: what is archived stays as it is.

    Exits with 0; with 1 when lines were broken or images still wait; 2 for a wrong option or an unreadable file; 3
    when a store is unusable; 4 when an image was lost.

    \b
    Examples: archiver backfill urls.csv more.jsonl
              archiver backfill --dry-run exports/*
              archiver backfill old.csv --url-column image_link --prompt-column caption --report what.csv
              archiver backfill tasks.db --query "select image_url as url, prompt from task"
    """
    from archiver import wiring
    from archiver.pipeline.backfill import Ledger

    config = wiring.load_config(ctx.obj["config"])
    chosen = wiring.choose_stores(config, options["stores"])
    told = _columns(options)
    for name in files:
        _check(name)
    if not options["dry_run"]:
        _archive(ctx, config, chosen, files, told, options)
        return
    with ExitStack() as stack:
        catalogue = _existing(config)
        if catalogue is not None:
            stack.callback(catalogue.close)
        ledger = Ledger(options["report"]) if options["report"] else None
        into = _backfill(config, chosen, catalogue, ledger, options)
        broken = _take_in(into, files, told, options, "(dry-run) ")
        _tell_triage(into, "(dry-run) ")
        if ledger is not None:
            ledger.finish(catalogue)
    ctx.exit(1 if broken else 0)


def _archive(
    ctx: click.Context, config: Any, chosen: tuple[str, ...], files: tuple[str, ...], told: Any, options: dict[str, Any]
) -> None:
    """Take in, then copy, nearest deadline first."""
    from archiver.cli import progress
    from archiver.cli.running import check_secrets, open_for_work
    from archiver.pipeline.backfill import Ledger
    from archiver.pipeline.crew import Crew

    check_secrets(config, (), chosen)
    ledger = Ledger(options["report"]) if options["report"] else None
    house = open_for_work(ctx, config)
    into = _backfill(config, chosen, house.catalogue, ledger, options)
    broken = _take_in(into, files, told, options)
    _tell_triage(into)
    crew = Crew(house.pipeline, copies=house.copies, asks=False, companions=house.companions())
    signals = progress.work(crew, total=house.catalogue.reports.busy()[1])
    code = progress.close_with(crew, [], signals)
    if crew.tally.failures:
        say("failures by class: " + ", ".join(f"{n} {word}" for word, n in sorted(crew.tally.failures.items())))
    if ledger is not None:
        ledger.finish(house.catalogue)
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


def _columns(options: dict[str, Any]) -> Any:
    """The columns that were named. Raises UsageError."""
    from archiver.pipeline.backfill.beside import Columns

    told = {"url": options["url_column"], "prompt": options["prompt_column"], "created_at": options["time_column"]}
    for text in options["columns"]:
        role, is_told, name = text.partition("=")
        if role not in ROLES or not is_told or not name:
            raise UsageError(f"--column {text}: write ROLE=NAME, with a role of {', '.join(ROLES)}")
        if told.get(role) not in (None, name):
            raise UsageError(f"two columns are named for {role}: {told[role]} and {name}")
        told[role] = name
    return Columns(**told)


def _existing(config: Any) -> Any:
    """The catalogue, where there is one: a dry run makes none, and takes over from nobody."""
    from archiver import wiring
    from archiver.catalogue import FILE_NAME

    return wiring.open_catalogue(config) if (config.archiver.data_dir / FILE_NAME).exists() else None


def _backfill(config: Any, stores: tuple[str, ...], catalogue: Any, ledger: Any, options: dict[str, Any]) -> Any:
    from zoneinfo import ZoneInfo

    from archiver import wiring
    from archiver.pipeline.backfill import Backfill

    since: timedelta | datetime | None = options["since"]
    return Backfill(
        catalogue=catalogue,
        stores=stores,
        zone=ZoneInfo(config.archiver.zone),
        now=wiring.now,
        new_id=wiring.new_id,
        is_trial=options["dry_run"],
        since=at(since, wiring.now(), config.archiver.zone),
        limit=options["limit"],
        hosts=tuple(host.lower() for host in options["hosts"]),
        ledger=ledger,
    )


def _take_in(into: Any, files: tuple[str, ...], columns: Any, options: dict[str, Any], mark: str = "") -> int:
    """Take in all files and tell of each. Returns the number of broken lines."""
    broken = 0
    for name in files:
        if into.is_full:
            say(f"{mark}{name}: not read, --limit is reached")
            continue
        report = _read(into, name, columns, options)
        broken += report.broken_count
        for line in report.broken[:MOST_BROKEN_SHOWN]:
            say(f"{name}:{line.number}: {line.reason}")
        if report.broken_count > MOST_BROKEN_SHOWN:
            say(f"{name}: and {report.broken_count - MOST_BROKEN_SHOWN} more broken lines")
        counts = ", ".join(f"{count} {word}" for word, count in sorted(report.counts.items())) or "nothing to take in"
        say(f"{mark}{name}: {counts}, {report.broken_count} broken")
    return broken


def _read(into: Any, name: str, columns: Any, options: dict[str, Any]) -> Any:
    from archiver.pipeline.backfill import Source

    more = {"kind": options["kind"], "encoding": options["encoding"], "query": options["query"], "columns": columns}
    if name == "-":
        return into.take_in(Source(name="stdin", path=None, stream=sys.stdin.buffer, **more))
    try:
        with Path(name).open("rb") as stream:
            return into.take_in(Source(name=name, path=Path(name), stream=stream, **more))
    except OSError as error:
        raise UsageError(f"cannot read {plain(name)}: {error.strerror}") from None


def _tell_triage(into: Any, mark: str = "") -> None:
    """Say what was found and, where the catalogue has figures, what copying it will take."""
    say(f"{mark}triage: {into.triage.told()}")
    count = into.triage.to_copy
    speed = into.catalogue.backfilling.speed() if into.catalogue is not None and count else None
    if speed is not None:
        seconds = timedelta(seconds=max(round(count / speed.images_per_s), 1))
        total = size_text(int(count * speed.bytes_per_image))
        say(f"{mark}{count} to copy: about {total} in about {seconds}, as the last {speed.images} images went")
    elif count:
        say(f"{mark}{count} to copy; how long it takes is not known before some images are archived")
