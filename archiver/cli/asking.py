"""Questions to the catalogue: jobs, lineage, status. They need no secret and change nothing."""

from typing import Any

import click

from archiver.cli.printing import (
    counted,
    dollars,
    json_option,
    output_options,
    plain,
    print_listing,
    say,
    short,
    size_text,
)

LINEAGE_COLUMNS = {
    "prompt": short,
    "store": plain,
    "key": plain,
    "size": size_text,
    "archived_at": plain,
    "image_id": plain,
}
#: The columns of CSV, those of people first.
LINEAGE_NAMES = (
    *(*LINEAGE_COLUMNS, "job", "provider", "model", "generation_id", "parent_image_id", "created_at", "sha256"),
    *("content_type", "width", "height", "cost_usd", "revised_prompt", "tags", "requested_size", "parameters"),
    *("continues", "role", "inputs"),
)


def open_catalogue(ctx: click.Context) -> tuple[Any, Any]:
    """The configuration, and the catalogue until the command ends."""
    from archiver import wiring

    config = wiring.load_config(ctx.obj["config"])
    catalogue = wiring.open_catalogue(config)
    ctx.call_on_close(catalogue.close)
    return config, catalogue


def last_ticks(config: Any) -> dict[str, dict[str, Any]]:
    """Per job: when it was first seen, and its last tick. Before the first run nothing is known or made."""
    from contextlib import closing

    from archiver import wiring
    from archiver.catalogue import FILE_NAME

    if not (config.archiver.data_dir / FILE_NAME).exists():
        return {}
    with closing(wiring.open_catalogue(config)) as catalogue:
        ticks: dict[str, dict[str, Any]] = catalogue.reports.last_ticks()
        return ticks


@click.command()
@output_options
@click.pass_context
def jobs(ctx: click.Context, output: str) -> None:
    """Show the jobs with their last and next tick, each in the zone of its job; with --json and the like, in UTC. Exits
    with 0 also when there are none.

    \b
    Example: archiver jobs
    """
    from archiver import wiring

    rows = ticks_of(wiring.load_config(ctx.obj["config"]))
    if output == "table":
        for row in rows:
            row |= {name: _local(row[name], row["zone"]) for name in ("last_tick", "next_tick")}
    columns = ("job", "schedule", "zone", "provider", "ticks", "last_tick", "next_tick")
    print_listing(rows, dict.fromkeys(columns, plain), output, names=(*columns, "enabled", "stores"))


def ticks_of(config: Any) -> list[dict[str, Any]]:
    """Every job with its last and next tick, in UTC; a disabled one has no next."""
    from archiver import wiring
    from archiver.catalogue import as_text, as_time
    from archiver.schedule import due, next_due

    seen, now = last_ticks(config), wiring.now()
    rows: list[dict[str, Any]] = []
    for job in config.jobs:
        known = seen.get(job.name)
        first = as_time(known["first_seen_at"]) if known else now
        last = as_time(known["last_tick"]) if known and known["last_tick"] else None
        owed = due(job.when, first_seen=first, last=last, now=now, catch_up=job.catch_up)
        coming = owed[0] if owed else next_due(job.when, first_seen=first, last=last, now=now)
        rows.append(
            {
                "job": job.name,
                "schedule": job.schedule,
                "zone": job.zone,
                "enabled": job.enabled,
                "provider": job.provider,
                "stores": list(job.stores),
                "ticks": known["ticks"] if known else 0,
                "last_tick": as_text(last) if last else None,
                "next_tick": as_text(coming) if coming and job.enabled else None,
            }
        )
    return rows


def what_is_next(config: Any, names: set[str]) -> str:
    """The next tick of these jobs in words, in the job's own zone."""
    coming = [row for row in ticks_of(config) if row["job"] in names and row["next_tick"]]
    if not coming:
        return "nothing is due, and no job has a next tick"
    first = min(coming, key=lambda row: str(row["next_tick"]))
    return f"nothing is due; next: {first['job']} at {_local(first['next_tick'], first['zone'])} {first['zone']}"


def _local(text: str | None, zone: str) -> str | None:
    from zoneinfo import ZoneInfo

    from archiver.catalogue import as_time

    return f"{as_time(text).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}" if text else None


@click.command()
@click.argument("question", nargs=-1, required=True, metavar="ID | KEY | WORDS...")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many rows.")
@click.option("--deep", is_flag=True, help="Look at every prompt, however long that takes.")
@output_options
@click.pass_context
def lineage(ctx: click.Context, question: tuple[str, ...], limit: int, deep: bool, output: str) -> None:
    """Go from a prompt to its permanent keys, and back.

    An exact id is looked for first, then an exact full key, then the words of prompts, the newest first. Words of one
    or two characters (many Chinese ones) are looked for in the newest 20,000 prompts, which is said on stderr. Exits
    with 0 also when nothing is found.

    \b
    Examples: archiver lineage 月球 猫
              archiver lineage archive/daily-cats/2026/11/20/01kag2m5x8-0a1b2c3d4e5f.png
    """
    _, catalogue = open_catalogue(ctx)
    rows, looked_at = catalogue.reports.lineage_of(" ".join(question), limit, deep=deep)
    if not rows:
        say("nothing is archived under these words, this id or this key")
    print_listing(rows, LINEAGE_COLUMNS, output, names=LINEAGE_NAMES)
    if looked_at is not None:
        say(f"looked at {looked_at} prompts and no further; narrow the question, or add --deep")


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Tell what stands: images by state, what is at risk, copies by store, and what you would be alerted of.

    Exits with 4 when an image was lost and with 1 when one is at risk or a generation's outcome is unknown.

    \b
    Example: archiver status --json
    """
    import json
    from dataclasses import asdict

    from archiver import wiring
    from archiver.core.alerting import MOST_COUNTED, conditions
    from archiver.core.budget import purses

    config, catalogue = open_catalogue(ctx)
    now = wiring.now()
    standing = catalogue.reports.status(now)
    due = purses(wiring.budget_limits(config), now)
    standing["waiting_for_providers"] = catalogue.providers.waiting(now)
    standing["budgets"] = catalogue.outcomes.balances(due)
    alerts = conditions(catalogue.watching.facts(now, due), now, spool_max=config.archiver.spool_max)
    if as_json:
        click.echo(json.dumps([{**standing, "alerts": [asdict(one) for one in alerts]}], ensure_ascii=False, indent=2))
    else:
        for name, value in standing.items():
            has_no_price = name == "unknown_price_usd" and value is None and standing["unknown_generations"]
            text = "unknown" if has_no_price else _as_line(value)
            text += " or more" if name == "at_risk" and value >= MOST_COUNTED else ""
            click.echo(f"{name.replace('_', ' ') + ':':26}{text or '-'}")
        for alert in alerts:
            click.echo(f"alert ({alert.level}): {plain(alert.text)}")
    if standing["images"].get("lost"):
        ctx.exit(4)
    if standing["at_risk"] or standing["unknown_generations"]:
        ctx.exit(1)


def _as_line(value: Any) -> str:
    from archiver.core.alerting import MOST_COUNTED

    if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
        return "; ".join(
            f"{counted(row['generations'], 'generation')}{' or more' if row['generations'] >= MOST_COUNTED else ''}"
            f" for {name} until {row['until']}: {plain(row['error'])}"
            for name, row in value.items()
        )
    if isinstance(value, dict):
        return ", ".join(f"{count} {key}" for key, count in value.items())
    if isinstance(value, list):
        return ", ".join(
            f"{row['scope']} {row['period']}: {dollars(row['spent_usd'])} of {dollars(row['limit_usd'])}"
            for row in value
        )
    return plain(value)
