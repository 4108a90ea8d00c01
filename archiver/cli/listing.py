"""Lists of images: images, search, at-risk, losses. They need no secret, change nothing, and never look further than
they say."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.filtering import filter_options, make_filter
from archiver.cli.measures import Moment, at
from archiver.cli.printing import output_options, plain, print_listing, print_rows, say, short, size_text, usd
from archiver.core.errors import UsageError

SHOWN = {
    "image_id": plain,
    "state": plain,
    "prompt": short,
    "job": plain,
    "deadline": plain,
    "attempts": plain,
    "error": short,
}
MORE: dict[str, dict[str, Callable[[object], str]]] = {"size": {"size": size_text}, "cost": {"cost_usd": usd}}
NAMES = (
    *("image_id", "generation_id", "state", "prompt", "job", "provider", "model", "deadline", "deadline_from"),
    *("attempts", "not_before", "sha256", "size", "content_type", "width", "height", "verdict", "source", "error"),
    *("created_at", "fetched_at", "archived_at", "role", "tags", "cost_usd", "key"),
)
AT_RISK = (
    "image_id",
    "prompt",
    "job",
    "state",
    "deadline",
    "deadline_from",
    "attempts",
    "not_before",
    "source",
    "error",
)
LOSSES = (
    *("image_id", "generation_id", "prompt", "job", "provider", "source", "deadline", "deadline_from", "attempts"),
    *("error", "created_at"),
)
limit_option = click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the first in that order."
)
deep_option = click.option("--deep", is_flag=True, help="Look at everything, however long that takes.")


def print_images(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Images as a table, or all that is known of each as JSON."""
    print_rows(rows, SHOWN, as_json=as_json)


def tell_how_far(looked_at: int | None, what: str) -> None:
    """Say it when more might be found further on: a list that looks whole and is not would be a lie."""
    if looked_at is not None:
        say(f"looked at {looked_at} {what} and no further; narrow the question, or add --deep")


@click.command()
@filter_options
@click.option(
    "--sort",
    type=click.Choice(("created", "deadline", "size", "cost")),
    default="created",
    show_default=True,
    help="The newest, the soonest to die (of those that wait), the largest, those of the dearest generations first.",
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@limit_option
@deep_option
@output_options
@click.pass_context
def images(
    ctx: click.Context,
    /,
    sort: str,
    reverse: bool,
    limit: int,
    deep: bool,
    output: str,
    **filters: Any,
) -> None:
    """List images, the newest first.

    Where the filters leave too much to look at, the list ends after 20,000 images and says so on stderr. Exits with 0
    also when there are none, with 2 when the question makes no sense.

    \b
    Examples: archiver images --state pending --due-within 1h --sort deadline
              archiver images --tag shop --since 7d --min-size 6MB --csv > large.csv
    """
    config, catalogue = open_catalogue(ctx)
    wanted = make_filter(config, **filters)
    if sort == "deadline" and not set(wanted.states) <= {"pending", "spooled", "lost"}:
        raise UsageError("the deadline of an archived image means nothing any more; --sort deadline is for waiting and"
                         " lost ones")  # fmt: skip
    rows, looked_at = catalogue.listings.images(wanted, sort=sort, reverse=reverse, limit=limit, deep=deep)
    columns = SHOWN | MORE.get(sort, {})
    print_listing(rows, columns, output, names=NAMES)
    tell_how_far(looked_at, "images")


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="WORDS...")
@limit_option
@deep_option
@output_options
@click.pass_context
def search(ctx: click.Context, words: tuple[str, ...], limit: int, deep: bool, output: str) -> None:
    """Find images, in any state, by the words of their prompts, the newest prompt first.

    All words must be there, in any order, also as parts of longer ones; no character has a special meaning. Words of
    one or two characters (many Chinese ones) are looked for in the newest 20,000 prompts, which is said on stderr.
    Exits with 0 also when nothing is found.

    \b
    Examples: archiver search lighthouse fog
              archiver search 月球 猫 --json
    """
    _, catalogue = open_catalogue(ctx)
    rows, looked_at = catalogue.listings.search(" ".join(words), limit=limit, deep=deep)
    columns = {"image_id": plain, "state": plain, "prompt": short, "created_at": plain, "key": plain}
    print_listing(rows, columns, output, names=NAMES)
    if not rows:
        say("no prompt has all of these words")
    tell_how_far(looked_at, "prompts")


@click.command("at-risk")
@limit_option
@output_options
@click.pass_context
def at_risk(ctx: click.Context, limit: int, output: str) -> None:
    """List pending images whose link has lived half of its life or more, the soonest to die first.

    These are the rows of the view at_risk. Exits with 0; for an exit code that tells of danger, ask `archiver status`.

    \b
    Example: archiver at-risk --nl
    """
    _, catalogue = open_catalogue(ctx)
    columns = dict.fromkeys(("image_id", "deadline", "attempts"), plain) | {"prompt": short, "job": plain}
    print_listing(catalogue.listings.at_risk(limit), columns | {"error": short}, output, names=AT_RISK)


@click.command()
@click.option("--since", type=Moment(), metavar="TIME", help="Made since then: 7d, 2026-11-20.")
@limit_option
@output_options
@click.pass_context
def losses(ctx: click.Context, since: timedelta | datetime | None, limit: int, output: str) -> None:
    """List images that were lost, the newest first, and why.

    These are the rows of the view losses. Exits with 0; for an exit code that tells of losses, ask `archiver status`.

    \b
    Example: archiver losses --since 30d --csv > losses.csv
    """
    from archiver import wiring

    config, catalogue = open_catalogue(ctx)
    rows = catalogue.listings.losses(at(since, wiring.now(), config.archiver.zone), limit)
    columns = {"image_id": plain, "prompt": short, "job": plain, "provider": plain, "deadline": plain, "error": short}
    print_listing(rows, columns, output, names=LOSSES)
