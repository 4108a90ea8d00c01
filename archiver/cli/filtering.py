"""Which images a command means: the options that `images` and `export` share."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click

from archiver.cli.completing import job_names, provider_names, store_names
from archiver.cli.measures import Moment, Size, Usd, at
from archiver.cli.running import Patience
from archiver.core.states import states

OPTIONS = (
    click.option(
        "--state",
        multiple=True,
        type=click.Choice([*states("image"), "waiting"]),
        help="Only images in this state (or these); waiting means pending or spooled.",
    ),
    click.option("--job", metavar="NAME", shell_complete=job_names, help="Only images of this job."),
    click.option("--provider", metavar="NAME", shell_complete=provider_names, help="Only images of this provider."),
    click.option("--model", metavar="NAME", help="Only images of this model."),
    click.option(
        "--store", metavar="NAME", shell_complete=store_names, help="Only images with a confirmed copy in this store."
    ),
    click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only with this tag (or all of these)."),
    click.option("--since", type=Moment(), metavar="TIME", help="Made since then: 7d, 2026-11-20, 2026-11-20T09:15."),
    click.option("--until", type=Moment(), metavar="TIME", help="Made before then."),
    click.option(
        "--due-within", type=Patience(), metavar="1h", help="Only pending ones whose link dies within this time."
    ),
    click.option("--min-size", type=Size(), metavar="SIZE", help="At least so large, for example 6MB."),
    click.option("--max-size", type=Size(), metavar="SIZE", help="At most so large."),
    click.option("--cost-over", type=Usd(), metavar="USD", help="Only of generations that cost more than this."),
)


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a filter; `make_filter` takes them."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def make_filter(
    config: Any,
    *,
    state: tuple[str, ...],
    since: timedelta | datetime | None,
    until: timedelta | datetime | None,
    due_within: timedelta | None,
    **others: Any,
) -> Any:
    """What was written, as the catalogue's `Filter`."""
    from archiver import wiring
    from archiver.catalogue import Filter

    now, zone = wiring.now(), config.archiver.zone
    return Filter(
        states=tuple(one for name in state for one in (("pending", "spooled") if name == "waiting" else (name,))),
        since=at(since, now, zone),
        until=at(until, now, zone),
        due=None if due_within is None else now + due_within,
        **others,
    )
