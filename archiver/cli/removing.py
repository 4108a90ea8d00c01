"""The two commands that delete what is kept: prune, forget. Both show first what they would do."""

import sys
from datetime import timedelta
from typing import Any

import click

from archiver.cli.printing import counted, output_options, plain, print_listing, print_rows, say, size_text
from archiver.cli.running import Patience, check_secrets
from archiver.core.errors import UsageError

PRUNE_COLUMNS = {"what": plain, "where": plain, "count": plain, "bytes": size_text, "oldest": plain}
FORGET_COLUMNS = {"what": plain, "where": plain, "count": plain, "note": plain}
LONGEST_AGE = timedelta(days=36_500)


@click.command()
@click.option(
    "--events", type=Patience(), default="180d", show_default=True, metavar="180d", help="Remove events that are older."
)
@click.option(
    "--backups", type=Patience(), default="30d", show_default=True, metavar="30d", help="Remove older snapshots."
)
@click.option(
    "--store", "stores", multiple=True, metavar="NAME", help="Only these stores; may be given more than once."
)
@click.option("--yes", is_flag=True, help="Do it. Without, only the plan is shown.")
@output_options
@click.pass_context
def prune(
    ctx: click.Context, events: timedelta, backups: timedelta, stores: tuple[str, ...], yes: bool, output: str
) -> None:
    """Remove what nobody needs any more: leftovers in the spool and the inbox, unfinished files of processes that were
    killed, old events, old snapshots of the catalogue. Without --yes it only shows what it would remove.

    No image is touched, nothing that a row of the catalogue names, and nothing of what is still open. Events that tell
    of a loss, a forgetting or a rebuilding stay for ever; of the snapshots, the newest three and the last one of each
    month of the past year stay. Answers that nobody could read stay unless their images are archived all the same.

    \b
    Exit codes: 0 done, or shown; 1 some of it could not be removed; 3 a store could not be reached (the rest is done).
    Examples: archiver prune
              archiver prune --events 90d --yes
    """
    from archiver import wiring
    from archiver.catalogue import as_text
    from archiver.wiring.removing import prune_in

    if not timedelta(0) < events <= LONGEST_AGE or not timedelta(0) < backups <= LONGEST_AGE:
        raise UsageError("--events and --backups are between 1s and 100 years, for example 180d")
    config = wiring.load_config(ctx.obj["config"])
    chosen = tuple(stores) or tuple(config.stores)
    archive = ctx.with_resource(_opened(config, chosen, work=yes))
    verb = prune_in(archive, events=events, backups=backups)
    pruned = verb.run() if yes else verb.plan()
    rows = [
        {
            "what": heap.what,
            "where": heap.where,
            "count": heap.count,
            "bytes": heap.size,
            "oldest": as_text(heap.oldest) if heap.oldest else None,
        }
        for heap in pruned.heaps
    ]
    print_listing(rows, PRUNE_COLUMNS, output, names=tuple(PRUNE_COLUMNS))
    for place, reason in pruned.troubles.items():
        say(f"{plain(place)}: {plain(reason)}")
    if not rows:
        say("nothing can go")
    else:
        say("removed" if yes else "nothing was removed; --yes removes it")
    ctx.exit(3 if pruned.unreachable else 1 if pruned.troubles else 0)


def _opened(config: Any, stores: tuple[str, ...], *, work: bool) -> Any:
    """The archive of these stores; as a process that works only when there is a catalogue to work on."""
    from archiver import wiring
    from archiver.catalogue import FILE_NAME
    from archiver.wiring.archive import open_archive

    check_secrets(config, (), wiring.choose_stores(config, stores))
    wiring.set_up_logging("WARNING")
    is_there = (config.archiver.data_dir / FILE_NAME).exists()
    return open_archive(config, stores, create=work and is_there)


@click.command()
@click.argument("name", metavar="ID")
@click.option("--whole", is_flag=True, help="All images of its generation. ID may be the generation then.")
@click.option("--backups", is_flag=True, help="Delete the snapshots of the catalogue too that were taken before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
@click.pass_context
def forget(ctx: click.Context, name: str, whole: bool, backups: bool, yes: bool, output: str) -> None:
    """Erase an image: its objects in every store, its bytes and answers on this machine, and what the catalogue and the
    lineage records say of it. That there was one, and what its generation cost, stays known.

    The prompt goes with the last image of its generation, and stays while another one remains: the plan says which of
    the two it is. Snapshots of the catalogue may still hold it: they are counted, and --backups deletes those that were
    taken before. It reads every lineage record that was written since the image was asked for. A bucket that keeps
    versions keeps the old ones: look at its rules.

    The plan comes first. Without --yes a terminal is asked; without one, only the plan is shown. When a store cannot be
    reached, the rest is done, and the same command ends it later.

    \b
    Exit codes: 0 done, or shown; 1 somebody works on it, or something must wait: run it again; 2 no such image, or the
    plan was declined; 3 a store could not be reached.
    Examples: archiver forget 01kag2m5x8f3w9y7b1q0z4c6de
              archiver forget 01kag2m5x8f3w9y7b1q0z4c6de --whole --yes
    """
    from archiver import wiring
    from archiver.wiring.removing import catalogue_of, forget_in

    config = wiring.load_config(ctx.obj["config"])
    asks = not yes and sys.stdin.isatty()
    archive = ctx.with_resource(_opened(config, tuple(config.stores), work=yes or asks))
    target = catalogue_of(archive).forgetting.look(name.lower(), whole=whole)
    if target is None or not target.images:
        raise UsageError(f"there is no image {plain(name)!r}; `archiver images` lists them")
    verb = forget_in(archive)
    if not yes:
        planned = verb.plan(target)
        if not asks:
            _tell(planned, output, is_plan=True)
            say("nothing was done; --yes does it")
            ctx.exit(3 if planned.troubles else 0)
        _tell(planned, "table", is_plan=True, to_stderr=True)
        if not click.confirm("Erase it? It cannot be had again", err=True):
            raise UsageError("nothing was done")
    forgotten = verb.run(target, archive.owner, snapshots=backups)
    _tell(forgotten, output, is_plan=False)
    if left := sum(count or 0 for count in forgotten.snapshots.values()):
        say(f"{counted(left, 'snapshot')} of the catalogue may still hold it; --backups deletes them")
    if not forgotten.is_whole:
        say("it is not done everywhere: run the same command again")
    ctx.exit(3 if forgotten.troubles else 0 if forgotten.is_whole else 1)


def _tell(forgotten: Any, output: str, *, is_plan: bool, to_stderr: bool = False) -> None:
    from archiver.catalogue import as_text

    target = forgotten.target
    when = f"forgotten at {as_text(target.begun)}" if target.begun else "to be forgotten" if is_plan else "forgotten"
    rows = [_row("image", "catalogue", len(target.images), when)]
    if target.remaining:
        others = counted(target.remaining, "other image")
        rows.append(_row("prompt", "catalogue", 0, f"stays, with {others} of its generation"))
    else:
        gone = "goes" if is_plan and not target.is_done else "gone"
        rows.append(_row("prompt", "catalogue", 1, f"{gone}: no other image of its generation is left"))
    rows += [_row(what, where, number, "") for (where, what), number in forgotten.gone.items()]
    if is_plan:
        since = f"those since {as_text(target.created_at)[:10]} are read"
        rows += [_row("lineage records", name, None, since) for name in target.stores if not target.is_done]
    rows += [
        _row("snapshots", name, number, "taken before: may hold it")
        for name, number in forgotten.snapshots.items()
        if number
    ]
    rows += [_row("trouble", name, None, reason) for name, reason in forgotten.troubles.items()]
    rows += [_row("wait", "here", None, reason) for reason in forgotten.waits]
    if to_stderr:
        print_rows(rows, FORGET_COLUMNS, as_json=False, to_stderr=True)
    else:
        print_listing(rows, FORGET_COLUMNS, output, names=tuple(FORGET_COLUMNS))


def _row(what: str, where: str, count: int | None, note: str) -> dict[str, Any]:
    return {"what": what, "where": where, "count": count, "note": note}
