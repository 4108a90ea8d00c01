"""The command that tells everything about little: show. It needs no secret and changes nothing."""

from collections.abc import Mapping
from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.printing import counted, dollars, json_option, plain, print_rows, say
from archiver.core.errors import UsageError


@click.command()
@click.argument("name", metavar="ID")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Tell the whole story of one image, or of every image of a generation, drafts too: what was asked for, when, what
    says when its URL dies, where the copies are and what proves them, what it cost, and what happened on the way.

    ID is an image or a generation; one that brought no image (yet) is told of too. "cost" is the image's share of what
    the generation cost. Exits with 2 when there is neither.

    \b
    Examples: archiver show 01kag2m5x8f3w9y7b1q0z4c6de
              archiver show 01kag2m5x8f3w9y7b1q0z4c6de --json
    """
    _, catalogue = open_catalogue(ctx)
    stories = catalogue.reports.stories(name.lower())
    if not stories:
        raise UsageError(f"there is no image {plain(name)!r} and no generation; `archiver images` lists images")
    if as_json:
        print_rows(stories, {}, as_json=True)
        return
    for number, story in enumerate(stories):
        if number:
            click.echo()
        for line in _lines(story):
            click.echo(line)
    if not stories[0]["image_id"]:
        say("this generation has no image")


def _lines(story: Mapping[str, Any]) -> list[str]:
    """A story for people: the image, the generation below it, then its lists."""
    lines = []
    for name, value in story.items():
        if name in ("parents", "children"):
            continue
        if isinstance(value, list):
            lines += _listed(name, value)
        elif isinstance(value, dict):
            lines.append(f"{name}:")
            told = (line for key, part in value.items() for line in _detail(key, part))
            lines += [f"  {line}" for line in told]
        elif value is not None or (name == "cost_usd" and story["image_id"]):
            lines.append(_line(name, value))
    if story["parents"] or story["children"]:
        family = f"made of {counted(story['parents'], 'image')}, and {story['children']} made of it"
        lines.append(f"family: {family}; `archiver tree {story['image_id']}` shows them")
    return lines


def _detail(name: str, value: Any) -> list[str]:
    """One fact of the generation; what it does not have needs no line, and an unknown cost is one."""
    if name == "inputs":
        return _listed(name, value)
    return [] if value in (None, [], {}) and name != "cost_usd" else [_line(name, value)]


def _line(name: str, value: object) -> str:
    if name.endswith("_usd"):
        return f"{name.removesuffix('_usd')}: {dollars(value)}"
    return f"{name}: {plain(value)}"


def _listed(name: str, items: list[dict[str, Any]]) -> list[str]:
    told = ["  ".join(f"{key}={plain(part)}" for key, part in item.items() if part is not None) for item in items]
    return [f"{name}:", *(f"  - {line}" for line in told)] if told else [f"{name}: none"]
