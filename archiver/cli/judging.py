"""The command that tells how requests went: stats. It needs no secret and changes nothing."""

from datetime import datetime, timedelta
from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.completing import provider_names
from archiver.cli.measures import Moment, at
from archiver.cli.printing import output_options, plain, print_listing, print_rows

COLUMNS = ("provider", "total", "successful", "failed", "unknown", "open", "success_rate")


@click.command()
@click.option(
    "--since", type=Moment(), default="30d", show_default=True, metavar="TIME", help="Sent since: 30d, 2026-11-20."
)
@click.option("--provider", metavar="NAME", shell_complete=provider_names, help="Only requests to this provider.")
@output_options
@click.pass_context
def stats(ctx: click.Context, since: timedelta | datetime, provider: str | None, output: str) -> None:
    """Tell how requests went: success, times, attempts, errors by kind, a grade, and advice.

    A request that failed, or whose outcome nobody knows, counts against the rate; open ones do not count yet. Times of
    batches are left out. Grades, from ten judged requests on: A+ from 95 % and below 10 s on average, A from 90 % and
    below 15 s, B from 85 % and below 20 s, C from 75 % and below 30 s, else D. Image models take 30 to 170 s as a rule:
    a D by time alone is no alarm. --nl, --csv and --tsv print the rows per provider, --json everything. Exits with 0.

    \b
    Example: archiver stats --since 7d
    """
    from archiver import wiring
    from archiver.catalogue import as_text

    config, catalogue = open_catalogue(ctx)
    start = at(since, wiring.now(), config.archiver.zone)
    story = {"since": as_text(start or wiring.now()), **_story(catalogue.statistics.since(start, provider))}
    columns = dict.fromkeys(COLUMNS, plain) | {"success_rate": _percent}
    if output == "json":
        print_rows([story], {}, as_json=True)
    elif output != "table":
        print_listing(story["requests"], columns, output, names=COLUMNS)
    else:
        if story["requests"]:
            print_rows(story["requests"], columns, as_json=False)
        for line in _words(story):
            click.echo(line)


def _story(found: dict[str, Any]) -> dict[str, Any]:
    """All figures, with what they are worth."""
    from archiver.core.grading import Figures, advice, grade, kind_of

    rows = found["requests"]
    for row in rows:
        judged = row["successful"] + row["failed"] + row["unknown"]
        row["success_rate"] = round(row["successful"] / judged, 4) if judged else None
    total = {name: sum(row[name] for row in rows) for name in COLUMNS[1:-1]}
    figures = Figures(
        successful=total["successful"],
        failed=total["failed"] + total["unknown"],
        mean_s=found["asked_to_answered_s"]["mean"],
        many_attempts=sum(n for attempts, n in found["attempts"].items() if int(attempts) > 2),
    )
    kinds: dict[str, dict[str, Any]] = {}
    for error in found["errors"]:
        kind = kinds.setdefault(kind_of(error["error"]), {"n": 0, "example": error["error"]})
        kind["n"] += error["n"]
    return {
        **found,
        "total": total | {"success_rate": None if figures.rate is None else round(figures.rate, 4)},
        "errors": [
            {"kind": name, **row} for name, row in sorted(kinds.items(), key=lambda one: (-one[1]["n"], one[0]))
        ],
        "grade": grade(figures),
        "advice": advice(figures),
    }


def _percent(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def _words(story: dict[str, Any]) -> list[str]:
    total = story["total"]
    counts = ", ".join(f"{total[name]} {name}" for name in ("successful", "failed", "unknown", "open"))
    rate = _percent(total["success_rate"])
    lines = [f"requests since {story['since']}: {total['total']}, {counts}; success {rate}"]
    for name, what in (
        ("asked_to_answered_s", "asked to answered"),
        ("answered_to_archived_s", "answered to archived"),
    ):
        times = story[name]
        if times["n"]:
            lines.append(
                f"{what}: p50 {times['p50']:g} s, p95 {times['p95']:g} s, mean {times['mean']:g} s ({times['n']})"
            )
    for name, what in (("attempts", "attempts per request"), ("copy_attempts", "attempts per image")):
        if story[name]:
            lines.append(f"{what}: " + ", ".join(f"{n} took {attempts}" for attempts, n in story[name].items()))
    lines += [f"error: {row['n']} {row['kind']}, for example: {plain(row['example'])}" for row in story["errors"]]
    lines.append(f"grade: {story['grade'] or 'none, for want of ten judged requests with a time'}")
    return lines + [f"advice: {text}" for text in story["advice"]]
