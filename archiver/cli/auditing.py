"""Commands that hold the catalogue against what is kept: rebuild."""

import json
from typing import Any

import click

from archiver.cli.completing import store_names
from archiver.cli.printing import plain, say
from archiver.core.errors import UsageError

WORDS = {
    "records": "lineage records read",
    "missing": "copies would be added",
    "added": "copies added",
    "known": "copies known before",
    "repeated": "copies told of again",
    "rescued": "images taken in from the spool",
    "waiting": "images wait for a further copy; `archiver drain` makes it",
    "lost": "images are referred to, and no record tells of them: they count as lost",
    "loose": "references to images that no record tells of; read the other stores too",
    "foreign": "objects among the records that are none",
    "damaged": "records not understood",
    "contradicting": "records that contradict the catalogue",
    "unreadable": "records that could not be read; run this again",
}


@click.command()
@click.option(
    "--from",
    "stores",
    multiple=True,
    required=True,
    metavar="STORE",
    shell_complete=store_names,
    help="May be given more than once.",
)
@click.option("--yes", is_flag=True, help="Add to a catalogue that is not empty.")
@click.option("--dry-run", is_flag=True, help="Only count what would be added.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def rebuild(ctx: click.Context, stores: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Make the catalogue anew from the lineage records in a store.

    Rows that are missing are added; no other row is changed or deleted. Each store's records tell of its own copies:
    name every store. Files in the spool that no row names are taken in too. Ticks that the records tell of are not
    planned again.

    \b
    Exit codes: 0 all records were used; 1 some could not be used (they are named); 2 the catalogue is not empty and
    --yes is missing.
    Example: archiver rebuild --from main
    """
    from archiver import wiring
    from archiver.cli.running import check_secrets
    from archiver.wiring.archive import open_archive

    config = wiring.load_config(ctx.obj["config"])
    chosen = wiring.choose_stores(config, stores)
    check_secrets(config, (), chosen)
    wiring.set_up_logging("WARNING")
    archive = ctx.with_resource(open_archive(config, chosen, create=not dry_run))
    if dry_run:
        rebuilt = archive.rebuild().count()
    else:
        if not yes and archive.catalogue is not None and not archive.catalogue.rebuilding.is_empty():
            raise UsageError(
                f"{archive.catalogue.path} is not empty: --yes adds what is missing, --dry-run only counts it"
            )
        rebuilt = archive.rebuild().run(is_alone=archive.owner.is_alone if archive.owner else bool)
    _tell(rebuilt, as_json=as_json)
    ctx.exit(0 if rebuilt.is_whole else 1)


def _tell(rebuilt: Any, *, as_json: bool) -> None:
    counts = {word: rebuilt.counts[word] for word in WORDS if rebuilt.counts[word] or word == "records"}
    if as_json:
        click.echo(json.dumps({"counts": counts, "named": rebuilt.named}, ensure_ascii=False, indent=2))
        return
    for item in rebuilt.named:
        say(f"{item['word']}: {plain(item['store'])}: {plain(item['key'])}: {plain(item['reason'])}")
    for word, count in counts.items():
        click.echo(f"{count} {WORDS[word]}")
