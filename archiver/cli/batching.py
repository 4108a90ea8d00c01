"""The command that tells of batches: batches. It needs no secret and changes nothing."""

from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.printing import output_options, plain, print_listing

COLUMNS = ("batch_id", "provider", "state", "n", "done", "failed", "age", "expires_at", "next_look_at", "error")
NAMES = (*COLUMNS, "handle", "said", "created_at", "submitted_at", "ended_at", "collected_at", "age_s")


@click.command()
@click.option("--all", "all_of_them", is_flag=True, help="Those that were collected or withdrawn too.")
@output_options
@click.pass_context
def batches(ctx: click.Context, all_of_them: bool, output: str) -> None:
    """List batches that are being made, are ready, or in doubt, the newest first.

    `done` and `failed` count generations whose answers are here. The output of a batch dies at `expires_at`, when its
    provider says so; what was taken in is safe. Exits with 0 also when there are none, with 3 when there is no
    catalogue.

    \b
    Example: archiver batches --json
    """
    from archiver import wiring
    from archiver.catalogue import as_time

    _, catalogue = open_catalogue(ctx)
    now = wiring.now()
    rows: list[dict[str, Any]] = []
    for row in catalogue.batch_reports.listed(all_of_them=all_of_them):
        age = int((now - as_time(row["created_at"])).total_seconds())
        rows.append({"batch_id": row["id"], **row, "age_s": age, "age": _age(age), "next_look_at": row["not_before"]})
        del rows[-1]["id"], rows[-1]["not_before"]
    print_listing(rows, dict.fromkeys(COLUMNS, plain), output, names=NAMES)


def _age(seconds: int) -> str:
    """So long, as people say it."""
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
