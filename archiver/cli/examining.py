"""Commands that hold the archive against its catalogue, and mend it: check, repair, requeue."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from archiver.cli.printing import output_options, plain, print_listing, say
from archiver.core.auditing import WORDS, Share, exit_code, exit_code_of_repair
from archiver.core.errors import UsageError

COLUMNS = dict.fromkeys(("word", "store", "image_id", "key", "detail"), plain)
NAMES = ("word", "count", "store", "image_id", "key", "detail", "fate")


class Part(click.ParamType[Share]):
    """A part of the archive such as 1/52."""

    name = "part"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        """Raises a usage error that says what to write."""
        if isinstance(value, Share):
            return value
        try:
            return Share.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What `check` and `repair` share: both look first."""
    for option in reversed(
        (
            click.option("--store", "stores", multiple=True, metavar="NAME", help="May be given more than once."),
            click.option("--read-data", is_flag=True, help="Read every object, and hash its bytes."),
            click.option("--subset", type=Part(), metavar="1/52", help="With --read-data: only this part of all."),
            click.option(
                "--believe-empty",
                is_flag=True,
                help="A store in which nothing is left was emptied; it is no wrong one.",
            ),
            click.option(
                "--limit", type=click.IntRange(1), default=20, show_default=True, help="Name so many of each kind."
            ),
            output_options,
        )
    ):
        command = option(command)
    return command


@click.command()
@_options
@click.pass_context
def check(ctx: click.Context, /, **options: Any) -> None:
    """Hold the catalogue against what the stores, the lineage records and the spool really have.

    It changes nothing, and may run beside a daemon. Stores are listed; what the listing does not bear out is asked for
    once more. The first findings of each kind are printed, and how many there are. With --read-data the bytes are
    hashed; with --subset 1/52, 2/52 ... each week, the whole archive in a year.

    \b
    missing, altered      a copy is not there, or holds other bytes
    unrecorded            the lineage record of a copy is gone, or does not tell of it
    spool-missing, -rotten, -stray    of bytes that wait on this disk
    doomed                a rule of the bucket will delete or move images
    foreign               objects below the prefix that no row names
    unreadable            could not be looked at: then nothing is called missing

    \b
    Exit codes: 0 all is well; 1 something was found, and every image still has a good copy; 3 something could not be
    looked at; 4 an image has no good copy anywhere.
    Examples: archiver check
              archiver check --store main --read-data --subset 1/52
    """
    archive, examination = _open(ctx, options, works=False)
    examination.run()
    audit = archive.catalogue.audit
    _tell(audit, examination.remarks, options)
    hopeless = audit.hopeless()
    if hopeless:
        say(f"{hopeless} images have no good copy anywhere; `archiver requeue` takes a fresh URL")
    ctx.exit(exit_code(audit.counts(), hopeless))


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@_options
@click.pass_context
def repair(ctx: click.Context, /, dry_run: bool, **options: Any) -> None:
    """Bring back what `archiver check` finds missing or altered: from another copy, or from the spool.

    It checks with the same options, hashes what it brings back, and writes missing lineage records anew. Where a key
    holds other bytes, the copy gets a new key: nothing is overwritten or deleted. What has no good copy left is marked
    as missing, and named. It may be killed and run again at any time; `archiver drain` and the daemon go on too.

    \b
    Exit codes: 0 nothing is left to mend; 1 something is; 3 something could not be looked at; 4 an image has no good
    copy anywhere.
    Examples: archiver repair --dry-run
              archiver repair --read-data
    """
    archive, examination = _open(ctx, options, works=not dry_run)
    audit = archive.catalogue.audit
    if dry_run:
        examination.run()
        archive.plan()
    else:
        mending = archive.repair()
        examination.run()
        mending.run()
        archive.catalogue.scrub()
    _tell(audit, examination.remarks, options, columns=COLUMNS | {"fate": plain})
    hopeless = audit.hopeless()
    ctx.exit(exit_code_of_repair(audit.fates(), hopeless))


def _open(ctx: click.Context, options: dict[str, Any], *, works: bool) -> tuple[Any, Any]:
    """The archive until the command ends, and what is to be looked at."""
    from archiver import wiring
    from archiver.cli.running import check_secrets
    from archiver.wiring.archive import open_archive

    if options["subset"] is not None and not options["read_data"]:
        raise UsageError("--subset goes with --read-data: listings are held against the whole catalogue")
    config = wiring.load_config(ctx.obj["config"])
    named = wiring.choose_stores(config, options["stores"]) if options["stores"] else ()
    everything = tuple(config.stores) or wiring.choose_stores(config, ())
    opened = everything if works else named or everything
    check_secrets(config, (), opened)
    wiring.set_up_logging("WARNING")
    archive = ctx.with_resource(open_archive(config, opened, works=works))
    share = (options["subset"] or Share()) if options["read_data"] else None
    return archive, archive.examination(named, share=share, believes_empty=options["believe_empty"])


def _tell(audit: Any, remarks: Sequence[str], options: dict[str, Any], columns: Any = COLUMNS) -> None:
    findings = audit.first(options["limit"])
    if findings or options["output"] != "table":
        print_listing(findings, columns, options["output"], names=NAMES)
    for remark in remarks:
        say(plain(remark))
    for (word, fate), count in audit.fates().items():
        say(f"{count} {word}: {WORDS[word]}{'; ' + plain(fate) if fate else ''}")
    if not findings:
        say("everything is as the catalogue says")


@click.command()
@click.argument("image_id", metavar="ID")
@click.option("--url", "text", required=True, metavar="URL", help="The fresh URL; `-` reads it from standard input.")
@click.pass_context
def requeue(ctx: click.Context, image_id: str, text: str) -> None:
    """Give a lost image a fresh URL, or one that is missing and has no good copy, and copy it at once.

    A URL on the command line can be seen by other users of this machine while the command runs: `-` is better. When the
    bytes are not those that were archived before, they are kept all the same, and an event of the image says so.

    \b
    Exit codes: 0 it is archived; 1 it waits for its next attempt; 2 there is no such image, or it needs no URL.
    Example: pbpaste | archiver requeue 01kag2m5x8f3w9y7b1q0z4c6de --url -
    """
    from archiver import wiring
    from archiver.cli import progress
    from archiver.cli.running import check_alerts, open_for_work
    from archiver.core.tempurl import TemporaryURL, unescape_url
    from archiver.pipeline.crew import Crew
    from archiver.pipeline.requeueing import requeue as put_back

    config = wiring.load_config(ctx.obj["config"])
    try:
        url = TemporaryURL(unescape_url((sys.stdin.readline() if text == "-" else text).strip()))
    except ValueError as error:
        raise UsageError(f"that is no URL to fetch an image from: {error}") from None
    wiring.open_catalogue(config).close()  # one that is not there must not be made for this
    house = open_for_work(ctx, config)
    generation_id = put_back(house.catalogue, image_id.lower(), url, wiring.now())
    since = house.pipeline.now()
    crew = Crew(house.pipeline, copies=1, asks=False, generations=[generation_id], tries_all_since=since)
    code = progress.close_with(crew, [], progress.work(crew))
    check_alerts(house)
    ctx.exit(code)
