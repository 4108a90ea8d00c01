"""The command that takes people's own SQL: query. It can only read, and it comes to an end."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.printing import output_options, plain, print_listing, say

LIMIT, SECONDS = 10_000, 10.0
#: So much longer a single function of SQLite may take, which looks at no clock: `instr` of long texts, for example.
GRACE_S = 1.0


@click.command()
@click.argument("sql", metavar="SQL")
@click.option("--limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="At most so many rows.")
@output_options
@click.pass_context
def query(ctx: click.Context, sql: str, limit: int, output: str) -> None:
    """Ask the catalogue in SQL: one SELECT, or WITH ... SELECT, for at most 10 seconds.

    The views lineage, at_risk, spend and losses keep their columns, see docs/catalogue.md. Anything that would write,
    attach or set something, and temporary URLs, are refused: exit code 2, and nothing has changed. Exits with 0 also
    when there are no rows.

    \b
    Examples: archiver query "select job, count(*) as n from lineage group by job"
              archiver query "select key from lineage where size > 6000000" --csv
    """
    from archiver.catalogue.queries import ask
    from archiver.wiring.surroundings import elapsed

    _, catalogue = open_catalogue(ctx)
    with _at_most(SECONDS + GRACE_S):
        names, rows, has_more = ask(catalogue.path, sql, limit=limit, seconds=SECONDS, elapsed=elapsed)
    told = [{name: _cell(value) for name, value in zip(names, row, strict=True)} for row in rows]
    print_listing(told, dict.fromkeys(names, plain), output, names=names)
    if has_more:
        say(f"these are the first {limit} rows; there are more: use --limit")


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """End the process when what is done here takes longer. It only reads: there is nothing to put in order."""
    from archiver.core.errors import UsageError

    def give_up() -> None:
        say(f"Error: the question takes longer than {SECONDS:g} s; ask for less")
        os._exit(UsageError.exit_code)

    watch = threading.Timer(seconds, give_up)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _cell(value: Any) -> Any:
    """A value as JSON can tell it: bytes in hexadecimal."""
    return value.hex() if isinstance(value, bytes) else value
