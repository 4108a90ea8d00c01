"""Money in retrospect: costs, with a forecast, and refunds, the list of what was paid for without an image."""

from datetime import timedelta
from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.printing import counted, dollars, output_options, plain, print_listing, print_rows, say, short, usd

BY = ("day", "month", "job", "provider", "model", "size")
CLAIM_COLUMNS = {
    "what": plain,
    "provider": plain,
    "model": plain,
    "request_id": plain,
    "task": plain,
    "submitted_at": plain,
    "images": plain,
    "n": plain,
    "expected_usd": usd,
    "finish_reason": short,
    "error": short,
    "generation_id": plain,
}
CLAIM_CSV = (
    *("generation_id", "what", "provider", "model", "request_id", "task", "submitted_at", "answered_at"),
    *("n", "images", "expected_usd", "finish_reason", "error", "written_off_at"),
)


class Since(click.ParamType[timedelta]):
    """How far back, as `30d` or `12h`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """A timedelta, at most a hundred years."""
        from archiver.settings import parse_duration

        try:
            found = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not isinstance(found, timedelta) or not timedelta(0) < found <= timedelta(days=36_500):
            self.fail("write a time that has passed, for example 30d", param, ctx)
        return found


since_option = click.option(
    "--since", type=Since(), default="30d", show_default=True, metavar="TIME", help="How far back: 12h, 30d, 365d."
)


@click.command()
@since_option
@click.option("--by", type=click.Choice(BY), default="day", show_default=True, help="What each row is about.")
@output_options
@click.pass_context
def costs(ctx: click.Context, since: timedelta, by: str, output: str) -> None:
    """Tell what was spent, what will be if it goes on like this, and how the budgets stand.

    A request counts on the day when it was sent, in the zone of [archiver]. "unpriced" counts those whose price nobody
    knows; "unknown" those whose outcome nobody knows, which may have been charged, and are not in "cost usd". --nl,
    --csv and --tsv print the rows, --json everything. Exits with 0 also when nothing was spent, with 3 when there is
    no catalogue.

    \b
    Example: archiver costs --since 90d --by job
    """
    story = _story(*open_catalogue(ctx), since, by)
    rows = story["rows"]
    columns = {by: plain, **dict.fromkeys(("generations", "images"), plain), "cost_usd": usd, "unpriced": plain}
    columns |= {"unknown": plain, "unknown_usd": usd, "unknown_unpriced": plain, "reused": plain, "saved_usd": usd}
    if output == "json":
        print_rows([story], {}, as_json=True)
    elif output != "table":
        print_listing(rows, columns, output, names=tuple(columns))
    else:
        if rows:
            columns[by] = lambda value: plain(value) or "-"
            print_rows(rows, columns, as_json=False)
        for line in _words(story):
            click.echo(line)


def _story(config: Any, catalogue: Any, since: timedelta, by: str) -> dict[str, Any]:
    """Everything that `costs` shows."""
    from zoneinfo import ZoneInfo

    from archiver import wiring
    from archiver.catalogue import as_text
    from archiver.catalogue.costs import total
    from archiver.core.budget import purses
    from archiver.core.forecast import begins, forecast

    now, zone = wiring.now(), ZoneInfo(config.archiver.zone)
    start = begins(per_month=False, moment=now - since, zone=zone)
    rows = catalogue.costs.by(by, start, now, zone)
    summed = total(rows)
    month = total(catalogue.costs.by("provider", begins(per_month=True, moment=now, zone=zone), now, zone))
    expected = forecast(
        spent_micro=round((summed["cost_usd"] or 0) * 1e6),
        since=max(start, catalogue.costs.first() or now),
        now=now,
        month_micro=round((month["cost_usd"] or 0) * 1e6),
        zone=zone,
    )
    return {
        "by": by,
        "zone": config.archiver.zone,
        "since": as_text(start),
        "until": as_text(now),
        "rows": rows,
        "total": summed,
        "forecast": {
            "based_on_usd": expected.based_on_micro / 1e6,
            "based_on_days": round(expected.based_on_days, 2),
            "per_day_usd": expected.per_day_micro / 1e6,
            "next_30_days_usd": expected.next_30_days_micro / 1e6,
            "month": expected.month,
            "month_so_far_usd": expected.month_so_far_micro / 1e6,
            "month_usd": expected.month_micro / 1e6,
        },
        "budgets": catalogue.outcomes.balances(purses(wiring.budget_limits(config), now)),
    }


def _words(story: dict[str, Any]) -> list[str]:
    summed, coming = story["total"], story["forecast"]
    lines = [f"total: {dollars(summed['cost_usd'])} for {counted(summed['images'], 'image')}, since {story['since']}"]
    if summed["unpriced"]:
        lines.append(f"not in it: {counted(summed['unpriced'], 'generation')} at a price that nobody knows")
    if summed["unknown"]:
        amount = dollars(summed["unknown_usd"])
        if summed["unknown_unpriced"]:
            amount += f", {summed['unknown_unpriced']} of them at a price that nobody knows"
        lines.append(f"not in it: {counted(summed['unknown'], 'generation')} that may have been charged ({amount})")
    if summed["reused"]:
        lines.append(f"reuse saved {dollars(summed['saved_usd'])} in {counted(summed['reused'], 'generation')}")
    lines.append(
        f"forecast: ${coming['month_usd']:.2f} in {coming['month']} (so far {dollars(coming['month_so_far_usd'])}),"
        f" ${coming['next_30_days_usd']:.2f} in the next 30 days; a straight line from"
        f" {dollars(coming['based_on_usd'])} in {coming['based_on_days']:g} days"
    )
    lines += [
        f"budget of {row['scope']} for {row['period']}: {dollars(row['spent_usd'])} of {dollars(row['limit_usd'])}"
        for row in story["budgets"]
    ]
    return lines


@click.command()
@since_option
@output_options
@click.pass_context
def refunds(ctx: click.Context, since: timedelta, output: str) -> None:
    """List what was paid for, or may have been, and brought no image or too few: what to send to a provider.

    "what" is "no image" (it answered without one), "unknown" (no answer could be read) or "short" (fewer than ordered).
    Exits with 0 also when there is nothing to claim, with 3 when there is no catalogue.

    \b
    Example: archiver refunds --since 30d --csv > claims.csv
    """
    from archiver import wiring

    _, catalogue = open_catalogue(ctx)
    rows = catalogue.costs.unrewarded(wiring.now() - since)
    print_listing(rows, CLAIM_COLUMNS, output, names=CLAIM_CSV)
    if not rows:
        say("nothing was paid for in vain in this time")
