"""What was paid for: generations, and resolve, by which a person decides what the house cannot know."""

from collections.abc import Mapping
from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.completing import job_names
from archiver.cli.printing import (
    dollars,
    json_option,
    output_options,
    plain,
    print_listing,
    print_rows,
    say,
    short,
    usd,
)
from archiver.core.errors import UsageError
from archiver.core.pricing import Tariff
from archiver.core.states import GENERATION, states

COLUMNS = ("generation_id", "state", "prompt", "provider", "model", "price_usd", "submitted_at", "error")
NAMES = (*COLUMNS, "job", "n", "created_at", "answered_at", "not_before", "written_off_at")


def _price(rows: list[dict[str, Any]], catalogue: Any, tariffs: Mapping[str, Tariff]) -> list[dict[str, Any]]:
    """Fill in what planned generations will cost as the configuration stands now."""
    for row in rows:
        tariff = tariffs.get(row["provider"])
        if row["price_usd"] is None and row["state"] == "planned" and tariff is not None:
            cost = tariff.expected(catalogue.generations.order(row["generation_id"]))
            row["price_usd"] = None if cost is None else cost / 1e6
    return rows


@click.command()
@click.option("--state", multiple=True, type=click.Choice(states("generation")), help="Only in this state (or these).")
@click.option("--job", metavar="NAME", shell_complete=job_names, help="Only generations of this job.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, newest first.")
@output_options
@click.pass_context
def generations(ctx: click.Context, state: tuple[str, ...], job: str | None, limit: int, output: str) -> None:
    """List generations, the newest first, with what each did cost or is expected to cost ("unknown": nobody knows).

    Exits with 0 also when there are none, with 3 when there is no catalogue.

    \b
    Example: archiver generations --state unknown
    """
    from archiver import wiring

    config, catalogue = open_catalogue(ctx)
    found = catalogue.outcomes.generations(states=state, job=job, limit=limit)
    rows = _price(found, catalogue, wiring.tariffs(config))
    shown = {"price_usd": usd, "prompt": short, "error": short}
    print_listing(rows, {name: shown.get(name, plain) for name in COLUMNS}, output, names=NAMES)


@click.command()
@click.argument("generation_id", metavar="ID")
@click.option("--retry", is_flag=True, help="Ask for it again: it may be paid for twice.")
@click.option("--write-off", is_flag=True, help="Leave it: it no longer counts as open, and still as spent.")
@click.option("--cancel", is_flag=True, help="It is only planned: never ask for it.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, change nothing.")
@json_option
@click.pass_context
def resolve(
    ctx: click.Context, generation_id: str, retry: bool, write_off: bool, cancel: bool, dry_run: bool, as_json: bool
) -> None:
    """Decide what becomes of a generation whose outcome is unknown, that failed, or that is still planned.

    Look at the provider's own list of charges first: whether it was paid, only the provider knows. --write-off and
    --cancel change one row and ask nobody. Exits with 2, and changes nothing, when there is no such generation or it is
    in a state that the option is not for.

    \b
    Examples: archiver resolve 01kag2m5x8f3w9y7b1q0z4c6de --write-off
              archiver resolve 01kag2m5x8f3w9y7b1q0z4c6de --retry
              archiver resolve 01kag2m5x8f3w9y7b1q0z4c6de --cancel
    """
    from archiver import wiring

    if retry + write_off + cancel != 1:
        raise UsageError("say either --retry, --write-off or --cancel")
    config, catalogue = open_catalogue(ctx)
    if cancel:
        _cancel(catalogue, generation_id.lower(), dry_run)
        _print_one(catalogue, generation_id.lower(), as_json=as_json)
        return
    row = _resolvable(catalogue, generation_id.lower())
    if retry:
        _check_retry(config, row)
    elif row["written_off_at"] is not None:
        raise UsageError(f"generation {row['generation_id']} was written off at {row['written_off_at']}")
    act = "ask again" if retry else "write off"
    price = dollars(row["price_usd"])
    if dry_run:
        say(f"(dry-run) would {act} {row['state']} generation {row['generation_id']}, which may have cost {price}")
    else:
        decide = catalogue.outcomes.retry if retry else catalogue.outcomes.write_off
        was = f"it was {row['state']} and may have cost {price}"
        detail = f"{act}, by an operator; {was}: {row['error'] or 'no reason'}"
        if not decide(row["generation_id"], detail, wiring.now()):
            raise UsageError(f"generation {row['generation_id']} has changed meanwhile: look at it again")
        say(
            f"planned again: the daemon or `archiver run --once` asks for {row['generation_id']}"
            if retry
            else f"written off: {row['generation_id']} ({price}) counts as spent, and no longer as open"
        )
    _print_one(catalogue, row["generation_id"], as_json=as_json)


def _print_one(catalogue: Any, generation_id: str, *, as_json: bool) -> None:
    print_rows(
        catalogue.outcomes.generations(generation_id=generation_id, limit=1),
        {"generation_id": plain, "state": plain, "price_usd": usd, "written_off_at": plain},
        as_json=as_json,
    )


def _resolvable(catalogue: Any, generation_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = catalogue.outcomes.generations(generation_id=generation_id, limit=1)
    if not found:
        raise UsageError(f"there is no generation {plain(generation_id)!r}; `archiver generations` lists them")
    if found[0]["state"] not in GENERATION["retry"].sources:
        hint = "; --cancel keeps it from being asked for" if found[0]["state"] == "planned" else ""
        raise UsageError(
            f"generation {generation_id} is {found[0]['state']}; only unknown and failed ones can be resolved{hint}"
        )
    return found[0]


def _cancel(catalogue: Any, generation_id: str, dry_run: bool) -> None:
    """Keep a planned generation from being asked for."""
    from archiver import wiring

    found = catalogue.outcomes.generations(generation_id=generation_id, limit=1)
    if not found or found[0]["state"] != "planned":
        what = f"is {found[0]['state']}" if found else "is not there"
        raise UsageError(f"generation {plain(generation_id)} {what}; only a planned one can be cancelled")
    if dry_run:
        say(f"(dry-run) would cancel generation {generation_id}; nobody would ask for it")
    elif catalogue.generations.cancel([generation_id], wiring.now()):
        say(f"cancelled: nobody asks for {generation_id}")
    else:
        raise UsageError(f"generation {generation_id} has changed meanwhile: look at it again")


def _check_retry(config: Any, row: dict[str, Any]) -> None:
    """Refuse to pay again where nobody could ask, or where the paid answer is here already."""
    from archiver.pipeline.inbox import Inbox

    if row["provider"] not in config.providers:
        raise UsageError(f"its provider {row['provider']!r} is not configured: nobody could ask for it again")
    if Inbox(config.archiver.data_dir / "inbox").has(row["generation_id"]):
        raise UsageError("its answer is on disk and only has to be read: run `archiver drain` first")
