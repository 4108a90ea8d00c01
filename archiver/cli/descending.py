"""The command that shows families of images: tree. It needs no secret and changes nothing."""

from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.printing import output_options, plain, print_listing, say, short
from archiver.core.errors import UsageError

COLUMNS = ("direction", "depth", "image_id", "of", "how", "state", "role", "prompt", "created_at", "key")


@click.command()
@click.argument("name", metavar="ID")
@output_options
@click.pass_context
def tree(ctx: click.Context, name: str, output: str) -> None:
    """Show what an image was made of, and what was made of it: edits of edits, in both directions.

    "edit" names the image that was edited, "input" one that went into the request, "dialogue" one that came before it
    in a dialogue. ID is an image or a generation. Exits with 2 when there is none.

    \b
    Examples: archiver tree 01kag2m5x8f3w9y7b1q0z4c6de
              archiver tree 01kag2m5x8f3w9y7b1q0z4c6de --json
    """
    from archiver.catalogue.descent import MOST_RELATIVES

    _, catalogue = open_catalogue(ctx)
    rows = catalogue.descent.of(name.lower())
    if not rows:
        raise UsageError(f"there is no image {plain(name)!r}; `archiver images` lists them")
    if output != "table":
        print_listing(rows, dict.fromkeys(COLUMNS, plain), output, names=COLUMNS)
    else:
        for line in _picture(rows):
            click.echo(line)
    if len(rows) > MOST_RELATIVES:
        say(f"this family has more than {MOST_RELATIVES} relations; the farthest are not shown")


def _picture(rows: list[dict[str, Any]]) -> list[str]:
    """Each image of the question, above it what it was made of, below it what was made of it."""
    links: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["of"] is not None:
            links.setdefault((row["direction"], row["of"]), []).append(row)
    lines: list[str] = []
    for row in (one for one in rows if one["direction"] == "self"):
        above = _branch(links, "up", row["image_id"])
        lines += [*(["made of:", *above] if above else []), _line(row)]
        below = _branch(links, "down", row["image_id"])
        lines += ["made of it:", *below] if below else []
    return lines


def _branch(links: dict[tuple[str, str], list[dict[str, Any]]], direction: str, start: str) -> list[str]:
    """The relatives in one direction, each indented below the one that leads to it; told in full only once."""
    lines, shown = [], {start}
    waiting = [(row, 1) for row in reversed(links.get((direction, start), []))]
    while waiting:
        row, depth = waiting.pop()
        again = row["image_id"] in shown
        lines.append("  " * depth + _line(row) + (" (see above)" if again else ""))
        if not again:
            shown.add(row["image_id"])
            waiting += [(one, depth + 1) for one in reversed(links.get((direction, row["image_id"]), []))]
    return lines


def _line(row: dict[str, Any]) -> str:
    how = f"{row['how']}: " if row["how"] else ""
    return f"{how}{row['image_id']}  {row['state']}  {short(row['prompt'])}" + (f"  {row['key']}" if row["key"] else "")
