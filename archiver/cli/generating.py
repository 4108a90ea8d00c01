"""The command that asks for images at once: generate."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from archiver.cli import checking, prompting
from archiver.cli.completing import provider_names, store_names
from archiver.cli.printing import counted, json_option, plain, print_rows, say
from archiver.cli.running import Patience, check_secrets, open_for_work
from archiver.core.errors import UsageError
from archiver.core.model import Wish
from archiver.prompts import KINDS, Entry, flaw, typed


@click.command()
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("--prompts-file", metavar="FILE", help="More prompts; `-` is standard input.")
@click.option("--format", "kind", type=click.Choice(KINDS), help="Of that file. Default: by its name, else txt.")
@click.option("--provider", metavar="NAME", shell_complete=provider_names, help="Default: the only one there is.")
@click.option(
    "--store", "stores", multiple=True, metavar="NAME", shell_complete=store_names, help="May be given more than once."
)
@click.option("--size", metavar="WxH", help="For example 2048x2048.")
@click.option("-n", "n", type=click.IntRange(1, 10), default=1, show_default=True, help="Images per prompt.")
@click.option("--input", "inputs", multiple=True, metavar="FILE|image:ID", help="An image to edit; may be repeated.")
@click.option("--continue", "continues", metavar="ID", help="Go on with the dialogue of this generation or image.")
@click.option("--param", "parameters", multiple=True, metavar="KEY=VALUE", help="In the provider's own words.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write what became of each: .jsonl, .csv."
)
@click.option("--reuse", type=Patience(), metavar="24h", help="Take the images of an equal request that is not older.")
@click.option("--wait", type=Patience(), metavar="24h", help="Wait so long for batches and postponed work too.")
@click.option("--yes", is_flag=True, help="Ask for more than 100 prompts at once.")
@click.option("--dry-run", is_flag=True, help="Show what would be asked, spend nothing.")
@json_option
@click.pass_context
def generate(
    ctx: click.Context,
    prompts: tuple[str, ...],
    prompts_file: str | None,
    kind: str | None,
    provider: str | None,
    stores: tuple[str, ...],
    size: str | None,
    n: int,
    inputs: tuple[str, ...],
    continues: str | None,
    parameters: tuple[str, ...],
    report: Path | None,
    reuse: timedelta | None,
    wait: timedelta | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask for images now, archive them, and print their lineage.

    A file has one prompt a line; a CSV, TSV or JSONL file may give each one its size, n, tags, inputs and parameters.

    \b
    Exit codes: 0 every image is archived; 1 a prompt brought no image, too few, or one that waits;
    2 something is wrong with the question: nothing was asked; 3 no store could keep it: nothing was asked,
    or the report cannot be written; 4 an image was lost.

    \b
    Examples: archiver generate "a cat on the moon" --size 2048x2048
              archiver generate "the same in winter" --input moon.png --param quality=high
              archiver generate --prompts-file shop.csv --report shop-report.csv
    """
    from archiver import wiring

    config = wiring.load_config(ctx.obj["config"])
    chosen = _choose_provider(config, provider)
    into = wiring.choose_stores(config, stores)
    said = parse_parameters(parameters)
    entries = prompting.collect(prompts, prompts_file, kind)
    is_many = len(entries) > prompting.MOST_UNCONFIRMED and not yes
    if is_many and not dry_run:
        raise UsageError(f"this would ask for {len(entries)} prompts; say --yes if that is meant")
    prompting.tell_remarks(entry.wish.prompt for entry in entries)
    otherwise = Wish(prompt="", size=size, n=n, parameters=said, inputs=inputs)
    checking.refuse(config, chosen, [entry.wish for entry in entries], otherwise)
    if dry_run:
        wishes = [entry.wish for entry in entries]
        _rehearse(wishes, otherwise, f"would ask {chosen}", ", ".join(into), is_many=is_many, as_json=as_json)
        return
    check_secrets(config, [chosen], into)
    prompting.check_report(report)
    house = open_for_work(ctx, config)
    shared = {"provider": chosen, "model": house.pipeline.providers[chosen].model, "stores": into}
    shared |= {"reuse": reuse, "settings": wiring.request_settings(config, chosen)}
    drafts = _drafts(house, entries, shared, {"size": size, "n": n, "parameters": said, "inputs": inputs}, continues)
    house.catalogue.generations.add(drafts, wiring.now())
    ids = [draft.id for draft in drafts]
    close = see_through(house, ids, wait)
    ctx.exit(_tell(house, ids, report, as_json=as_json, close=close))


def _rehearse(wishes: Sequence[Wish], otherwise: Wish, what: str, into: str, *, is_many: bool, as_json: bool) -> None:
    """Say what would be asked for."""
    for wish in wishes:
        many = f'{counted(wish.n or otherwise.n or 1, "image")} of "{plain(wish.prompt)}"'
        say(f"(dry-run) {what} for {many}, into {into}")
    if is_many:
        say(f"(dry-run) {len(wishes)} prompts at once need --yes")
    if as_json:
        print_rows([_asked(wish, otherwise) for wish in wishes], {}, as_json=True)


def _asked(wish: Wish, otherwise: Wish) -> dict[str, Any]:
    """What would be asked for, with what holds where the prompt says nothing."""
    row = prompting.as_row(wish, size=otherwise.size, n=otherwise.n or 1)
    parameters = {**otherwise.parameters, **wish.parameters}
    return row | {"inputs": list(wish.inputs or otherwise.inputs), "parameters": parameters}


def _tell(house: Any, ids: list[str], report: Path | None, *, as_json: bool, close: Callable[[], int]) -> int:
    """Print the lineage, and what became of each prompt. Returns the exit code."""
    from archiver.cli.asking import LINEAGE_COLUMNS

    reports = house.catalogue.reports
    lineage = {generation: reports.lineage(generation) for generation in ids}
    print_rows([row for rows in lineage.values() for row in rows], LINEAGE_COLUMNS, as_json=as_json)
    outcomes = prompting.outcomes(reports.under_way(ids), lineage)
    prompting.show_outcomes(outcomes)
    is_written = report is None or prompting.write_report(report, outcomes)
    code = close()
    return code if is_written else code or 3


def _drafts(
    house: Any, entries: Sequence[Entry], shared: dict[str, Any], otherwise: dict[str, Any], continues: str | None
) -> list[Any]:
    """What is to be planned; `otherwise` is what holds where a prompt says nothing. Raises UsageError when an input
    cannot be had, or there is nothing to go on with."""
    from archiver import wiring
    from archiver.catalogue import Draft
    from archiver.pipeline.planning import inputs_of

    earlier = house.catalogue.materials.generation_of(continues) if continues else None
    if continues and earlier is None:
        raise UsageError(f"there is no generation or image {plain(continues)!r}; `archiver images` lists them")
    found: dict[tuple[str, ...], Any] = {}
    drafts = []
    for where, wish in entries:
        inputs = wish.inputs or otherwise["inputs"]
        if inputs not in found:
            try:
                found[inputs] = inputs_of(house.catalogue, inputs)
            except UsageError as error:
                raise UsageError(f"{where}: {error}" if wish.inputs else str(error)) from None
        drafts.append(
            Draft(
                id=wiring.new_id(),
                origin="generate",
                prompt=wish.prompt,
                size=wish.size or otherwise["size"],
                n=wish.n or otherwise["n"],
                tags=wish.tags,
                parameters={**otherwise["parameters"], **wish.parameters},
                inputs=found[inputs],
                continues=earlier,
                **shared,
            )
        )
    return drafts


def parse_parameters(texts: Iterable[str]) -> dict[str, Any]:
    """`key=value` as parameters: a value that is JSON (a number, true, a list) is taken as such, any other as text.
    Raises UsageError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{plain(text)!r} is no parameter; write for example --param quality=high")
        if wrong := flaw(text):
            raise UsageError(f"the parameter {plain(text)[:40]!r} {wrong}")
        found[name.strip()] = typed(value)
    return found


def see_through(house: Any, ids: list[str], wait: timedelta | None = None) -> Callable[[], int]:
    """Work these generations to their end. Returns what prints the closing line and tells the exit code."""
    from archiver import wiring
    from archiver.cli import progress
    from archiver.pipeline.crew import Crew

    crew = Crew(house.pipeline, copies=house.config.archiver.copies, generations=ids)
    signals: list[int] = []
    is_done = False
    try:
        signals = progress.work(crew, wait=wait)
        is_done = not signals and not progress.refusals(crew)
    finally:  # whoever stopped waiting must not find the rest of his prompts paid for by the next cron run
        if not is_done and house.catalogue.generations.cancel(ids, wiring.now()):
            say("prompts that had not been asked yet were cancelled")
    return lambda: progress.close_with(crew, ids, signals)


def _choose_provider(config: Any, named: str | None) -> str:
    known = list(config.providers)
    if named is None and len(known) == 1:
        return str(known[0])
    if named is None and not known:
        raise UsageError("no provider is configured: add a section such as [providers.sandbox] with its kind")
    if named is None or named not in config.providers:
        what = "say which provider is meant, with --provider" if named is None else f"there is no provider {named!r}"
        raise UsageError(f"{what}; known are: {', '.join(known) or 'none'}")
    return named
