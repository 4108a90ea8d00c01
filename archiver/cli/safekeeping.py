"""Commands that keep the catalogue itself safe: backup, restore, db."""

import json
from datetime import datetime, timedelta
from typing import Any

import click

from archiver.cli.measures import Moment, at
from archiver.cli.printing import counted, json_option, output_options, plain, print_listing, print_rows, say, size_text
from archiver.core.errors import ArchiverError, UsageError
from archiver.core.redaction import redact

_BACKUP_COLUMNS = {"store": plain, "key": plain, "size": size_text, "images": plain, "generations": plain}
_LIST_COLUMNS = {"taken_at": plain, "size": size_text, "store": plain, "key": plain}


@click.command()
@click.option(
    "--to", "stores", multiple=True, metavar="STORE", help="May be given more than once. Default: every store."
)
@click.option("--without-urls", is_flag=True, help="Leave out the links of images that are not archived yet.")
@json_option
@click.pass_context
def backup(ctx: click.Context, stores: tuple[str, ...], without_urls: bool, as_json: bool) -> None:
    """Put a snapshot of the catalogue into a store, as PREFIX/_catalogue/YYYY/MM/DD/ID.db.gz, while the daemon works.

    It holds the links of images that are not archived yet, so that they can still be saved after this disk has died:
    nothing below _catalogue/ may be public. With --without-urls no trace of them is in it. No snapshot is ever
    overwritten; `archiver prune` removes old ones.

    \b
    Exit codes: 0 every store has it; 1 a store did not take it, the others have it; 3 no room, or the catalogue is
    damaged.
    Example: archiver backup --to main
    """
    from archiver import wiring
    from archiver.cli.running import check_secrets
    from archiver.wiring.safekeeping import open_backup

    config = wiring.load_config(ctx.obj["config"])
    chosen = wiring.choose_stores(config, stores or tuple(config.stores))
    check_secrets(config, (), chosen)
    wiring.set_up_logging("WARNING")
    done, counts = ctx.with_resource(open_backup(config, chosen)).run(with_urls=not without_urls)
    held = {"images": sum(counts.images.values()), "generations": sum(counts.generations.values()), "urls": counts.urls}
    rows = [
        {"store": one.store, "key": one.key, "size": one.size, "sha256": one.sha256, **held, "error": one.error}
        for one in done
    ]
    if as_json:
        print_rows(rows, {}, as_json=True)
    elif kept := [row for row in rows if row["error"] is None]:
        print_rows(kept, _BACKUP_COLUMNS, as_json=False)
    for one in done:
        if one.error is not None:
            say(f"not in {plain(one.store)}: {plain(one.error)}")
    if counts.urls:
        say(f"it holds the {counted(counts.urls, 'link')} of images that wait: _catalogue/ must not be public")
    ctx.exit(int(any(one.error for one in done)))


@click.command()
@click.option("--from", "store", metavar="STORE", help="Where the snapshot is. Default: the only store there is.")
@click.option("--key", metavar="KEY", help="This snapshot. Default: the newest.")
@click.option("--at", "moment", type=Moment(), metavar="TIME", help="The newest taken until then: 1d, 2026-11-20.")
@click.option("--yes", is_flag=True, help="Set the catalogue that is there aside.")
@click.option("--drill", is_flag=True, help="Only try: do all of it in a temporary folder, and compare.")
@click.option("--list", "only_list", is_flag=True, help="List the snapshots in the store, the newest first.")
@output_options
@click.pass_context
def restore(
    ctx: click.Context,
    store: str | None,
    key: str | None,
    moment: timedelta | datetime | None,
    yes: bool,
    drill: bool,
    only_list: bool,
    output: str,
) -> None:
    """Bring the catalogue back from a snapshot in a store, verified; --drill only tries whether that works.

    What happened after the snapshot is not in it, so nothing is paid for twice: what was planned counts as unknown
    (`archiver resolve` decides), ticks that came due count as run. Then `archiver rebuild --from STORE --yes` takes in
    what was archived since. A catalogue that is there is set aside, never deleted.

    \b
    Exit codes: 0 done; 1 the drill failed; 2 a catalogue is there and --yes is missing, or there is no such
    snapshot; 3 the snapshot is damaged or of a newer archiver, another process works, or no room.
    Examples: archiver restore --from main --drill
              archiver restore --from main --at 2026-11-20 --yes
    """
    from archiver import wiring
    from archiver.cli.running import check_secrets
    from archiver.wiring.safekeeping import open_restore

    if key is not None and moment is not None:
        raise UsageError("say either --key or --at")
    if output not in ("table", "json") and not only_list:
        raise UsageError(f"--{output} goes with --list")
    config = wiring.load_config(ctx.obj["config"])
    (chosen,) = wiring.choose_stores(config, (store,) if store else ())
    check_secrets(config, (), (chosen,))
    wiring.set_up_logging("WARNING")
    opened = ctx.with_resource(open_restore(config, chosen))
    until = at(moment, wiring.now(), config.archiver.zone)
    if only_list:
        _list(opened, until, output)
        return
    if not drill:
        told = opened.run(key or opened.choose(until), may_replace=yes)
        _tell(told, chosen, output, drill=False)
        return
    try:
        told = opened.drill(key or opened.choose(until))
    except UsageError:
        raise
    except ArchiverError as error:
        say(f"the drill failed: {redact(plain(str(error)))}")
        ctx.exit(1)
    _tell(told, chosen, output, drill=True)


def _list(opened: Any, until: datetime | None, output: str) -> None:
    from archiver.catalogue import as_text

    rows = [
        {"taken_at": as_text(item.taken_at), "size": item.size, "store": opened.store.name, "key": item.key}
        for item in opened.listed()
        if until is None or item.taken_at <= until
    ]
    print_listing(rows, _LIST_COLUMNS, output)


def _tell(told: Any, store: str, output: str, *, drill: bool) -> None:
    from archiver.catalogue import as_text

    if output == "json":
        answer = {
            "store": store,
            "key": told.key,
            "taken_at": as_text(told.taken_at),
            "drill": drill,
            "digest_verified": told.is_digest_told,
            "snapshot": _counts(told.holds),
            "live": _counts(told.live) if told.live else None,
            "in_doubt": told.safe.in_doubt,
            "batches": told.safe.batches,
            "jobs": told.safe.jobs,
            "unknown_answers": told.answers,
            "unknown_spool_files": told.files,
            "set_aside": str(told.aside) if told.aside else None,
        }
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        click.echo(f"{'tried' if drill else 'restored'}: {told.key}, taken {as_text(told.taken_at)}")
        print_rows(_compared(told), dict.fromkeys(_compared(told)[0], plain), as_json=False)
    if drill:
        say("the snapshot is good; nothing was changed")
        return
    _tell_what_is_next(told, store)


def _tell_what_is_next(told: Any, store: str) -> None:
    if told.aside:
        say(f"the catalogue that was there is now {told.aside}")
    if told.safe.in_doubt:
        say(
            f"{counted(told.safe.in_doubt, 'generation')} may have been asked for since and count as unknown:"
            " `archiver generations --state unknown` lists them, `archiver resolve` decides"
        )
    if told.safe.batches:
        say(f"{told.safe.batches} batches may have been ordered since: the next run looks for them by their names")
    if told.safe.jobs:
        say(f"ticks of {counted(told.safe.jobs, 'job')} until now count as run: none of them is paid for again")
    say("what was spent after the snapshot is in no budget: it is not known")
    if told.answers:
        say(f"{counted(told.answers, 'answer')} in the inbox came later, and stay there until somebody knows them")
    say(f"next: `archiver rebuild --from {store} --yes` (name every store) takes in what was archived since")
    say("then: `archiver check`")


def _counts(counts: Any) -> dict[str, Any]:
    return {
        "schema": counts.schema,
        "images": dict(counts.images),
        "generations": dict(counts.generations),
        "copies": counts.copies,
        "urls": counts.urls,
        "last_event": counts.last_event,
    }


def _compared(told: Any) -> list[dict[str, Any]]:
    """What the snapshot holds, beside what the catalogue does that is there."""
    sides = {"snapshot": told.holds} | ({"now": told.live} if told.live else {})
    rows = []
    for name in ("images", "generations"):
        states = sorted({state for side in sides.values() for state in getattr(side, name)})
        rows += [
            {"what": f"{name} {state}", **{at: getattr(side, name).get(state, 0) for at, side in sides.items()}}
            for state in states
        ]
    for name, words in (("copies", "copies confirmed"), ("last_event", "last event"), ("schema", "schema")):
        rows.append({"what": words, **{at: getattr(side, name) for at, side in sides.items()}})
    return rows


@click.group()
def db() -> None:
    """Look after the catalogue's file."""


@db.command()
@click.pass_context
def path(ctx: click.Context) -> None:
    """Print where the catalogue is, for sqlite-utils, Datasette and your own scripts; it need not be there yet.

    Exits with 2 when the configuration is wrong.

    \b
    Example: archiver db path
    """
    from archiver import wiring
    from archiver.catalogue import FILE_NAME

    click.echo(wiring.load_config(ctx.obj["config"]).archiver.data_dir / FILE_NAME)


@db.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@json_option
@click.pass_context
def migrate(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Bring the catalogue's schema up to date, and tell from where to where.

    Every command that opens the catalogue does this by itself; this one does nothing else. Going back is not possible:
    `archiver backup` first. Exits with 3 when there is no catalogue, or it is damaged or of a newer archiver.

    \b
    Example: archiver db migrate --dry-run
    """
    from archiver import wiring
    from archiver.catalogue import FILE_NAME, Catalogue

    config = wiring.load_config(ctx.obj["config"])
    before, waiting = Catalogue.schema_of(config.archiver.data_dir)
    if not dry_run:
        wiring.open_catalogue(config).close()
    after = waiting[-1] if waiting else before
    if as_json:
        answer = {
            "path": str(config.archiver.data_dir / FILE_NAME),
            "from": before,
            "to": after,
            "steps": list(waiting),
        }
        click.echo(json.dumps(answer | {"dry_run": dry_run}, indent=2))
    elif not waiting:
        click.echo(f"the schema is up to date: {before}")
    else:
        word = "would go" if dry_run else "went"
        click.echo(f"the schema {word} from {before} to {after}: {', '.join(waiting)}")


@db.command()
@json_option
@click.pass_context
def vacuum(ctx: click.Context, as_json: bool) -> None:
    """Write the catalogue's file anew, without the empty pages that removed rows left, while nobody works on it.

    It needs as much free disk as the file is large, and replaces the file in one step. Exits with 3 when another
    archiver works, the disk is too full, or the catalogue is damaged: then nothing has changed.

    \b
    Example: archiver db vacuum
    """
    from archiver import wiring
    from archiver.wiring import safekeeping

    before, after = safekeeping.vacuum(wiring.load_config(ctx.obj["config"]))
    if as_json:
        click.echo(json.dumps({"before": before, "after": after}))
    else:
        click.echo(f"{size_text(before)} before, {size_text(after)} now")
