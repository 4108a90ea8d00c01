"""Commands that spend or copy: run, generate, drain."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from archiver.cli.printing import json_option, plain, print_rows, say
from archiver.core.errors import UsageError


class Patience(click.ParamType[timedelta]):
    """A duration such as 10m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Raises a usage error that says what to write."""
        from archiver.settings import parse_duration

        try:
            parsed = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return parsed if isinstance(parsed, timedelta) else timedelta(0)


def open_for_work(ctx: click.Context, config: Any, *, daemon: bool = False) -> Any:
    """The house of a configuration until the command ends, with log lines that suit the command."""
    import sys

    from archiver import wiring
    from archiver.wiring.house import open_house

    talks = ctx.obj["verbose"] or (daemon and not sys.stderr.isatty())
    wiring.set_up_logging("INFO" if talks or daemon else "WARNING" if not sys.stderr.isatty() else "ERROR")
    return ctx.with_resource(open_house(config))


def check_secrets(config: Any, providers: Iterable[str], stores: Iterable[str]) -> None:
    """Refuse before anything is planned: a prompt that failed for want of a key would have used up its tick."""
    from archiver import wiring

    needed = {name: config.providers[name] for name in providers}
    wiring.check_secrets(replace(config, providers=needed, stores={name: config.stores[name] for name in stores}))


def check_alerts(house: Any) -> None:
    """Tell of what stands at the end of a command, and send it where the configuration says."""
    from archiver import alerts

    alerts.set_up(house, tell=lambda alert: say(f"alert ({alert.level}): {plain(alert.text)}")).check()


def _choose_jobs(config: Any, name: str | None) -> list[Any]:
    known = {job.name: job for job in config.jobs}
    if name is not None and name not in known:
        raise UsageError(f"there is no job {name!r}; known are: {', '.join(known) or 'none'}")
    return [known[name]] if name is not None else [job for job in config.jobs if job.enabled]


@click.command()
@click.option("--once", is_flag=True, help="Run what is due now, then exit (for cron).")
@click.option("--job", metavar="NAME", help="With --once: only this job.")
@click.option("--wait", type=Patience(), metavar="10m", help="With --once: wait so long for postponed work too.")
@click.option("--dry-run", is_flag=True, help="With --once: show the ticks that are due, spend nothing.")
@json_option
@click.pass_context
def run(ctx: click.Context, once: bool, job: str | None, wait: timedelta | None, dry_run: bool, as_json: bool) -> None:
    """Run the daemon: ask on schedule, archive what comes, until SIGTERM or SIGINT.

    With --once, due ticks are computed once, at the start, and it exits when everything is settled or postponed.

    \b
    Examples: archiver run
              archiver run --once --job daily-cats
    """
    if not once and (job or wait or dry_run):
        raise UsageError("--job, --wait and --dry-run go with --once")
    from archiver import wiring
    from archiver.cli import progress

    config = wiring.load_config(ctx.obj["config"])
    chosen = _choose_jobs(config, job)
    if dry_run:
        _show_due(config, chosen, as_json)
        return
    check_secrets(config, {one.provider for one in chosen}, {store for one in chosen for store in one.stores})
    house = open_for_work(ctx, config, daemon=not once)

    if not once:
        from archiver import alerts, daemon

        progress.follow(daemon.run(house, alerts.set_up(house)), house.pipeline)
        return
    from archiver.cli.asking import what_is_next
    from archiver.pipeline.crew import Crew

    jobs = house.jobs(job)
    planned, troubles = house.pipeline.plan(jobs)
    for name, trouble in troubles.items():
        say(f"job {name} was not planned: {plain(str(trouble))}")
    earlier = house.catalogue.reports.open_generations(list(house.pipeline.providers), job)
    opened = list(dict.fromkeys([*earlier, *planned]))
    if not opened and not troubles:
        say(what_is_next(config, {one.name for one in chosen}))
    crew = Crew(house.pipeline, copies=house.config.archiver.copies, job=job, opened=opened)
    signals = progress.work(crew, wait=wait)
    code = progress.close_with(crew, opened, signals)
    check_alerts(house)
    ctx.exit(code or max((trouble.exit_code for trouble in troubles.values()), default=0))


def _show_due(config: Any, jobs: list[Any], as_json: bool) -> None:
    from archiver import wiring
    from archiver.catalogue import as_text, as_time
    from archiver.cli.asking import last_ticks
    from archiver.config import job_prompts
    from archiver.schedule import due

    seen, now = last_ticks(config), wiring.now()
    rows: list[dict[str, Any]] = []
    for job in jobs:
        known = seen.get(job.name)
        ticks = due(
            job.when,
            first_seen=as_time(known["first_seen_at"]) if known else now,
            last=as_time(known["last_tick"]) if known and known["last_tick"] else None,
            now=now,
            catch_up=job.catch_up,
        )
        rows += [{"job": job.name, "tick": as_text(tick), "prompts": len(job_prompts(job))} for tick in ticks]
    print_rows(rows, dict.fromkeys(("job", "tick", "prompts"), plain), as_json=as_json)
    say(f"(dry-run) would ask for {sum(row['prompts'] for row in rows)} prompts, and spend nothing now")


@click.command()
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@click.option("--provider", metavar="NAME", help="Default: the only one there is.")
@click.option("--store", "stores", multiple=True, metavar="NAME", help="May be given more than once.")
@click.option("--size", metavar="WxH", help="For example 2048x2048.")
@click.option("-n", "n", type=click.IntRange(1, 10), default=1, show_default=True, help="Images per prompt.")
@click.option("--dry-run", is_flag=True, help="Show what would be asked, spend nothing.")
@json_option
@click.pass_context
def generate(
    ctx: click.Context,
    prompts: tuple[str, ...],
    provider: str | None,
    stores: tuple[str, ...],
    size: str | None,
    n: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask for images now, archive them, and print their lineage.

    \b
    Example: archiver generate "a cat on the moon" --size 2048x2048
    """
    from archiver import wiring

    config = wiring.load_config(ctx.obj["config"])
    chosen = _choose_provider(config, provider)
    into = wiring.choose_stores(config, stores)
    _check_prompts(prompts)
    if dry_run:
        for prompt in prompts:
            say(f'(dry-run) would ask {chosen} for {n} image(s) of "{plain(prompt)}", into {", ".join(into)}')
        return
    check_secrets(config, [chosen], into)
    house = open_for_work(ctx, config)
    from archiver.catalogue import Draft
    from archiver.cli.asking import LINEAGE_COLUMNS

    drafts = [
        Draft(
            id=wiring.new_id(),
            origin="generate",
            prompt=prompt,
            provider=chosen,
            model=house.pipeline.providers[chosen].model,
            stores=into,
            size=size,
            n=n,
        )
        for prompt in prompts
    ]
    house.catalogue.generations.add(drafts, wiring.now())
    ids = [draft.id for draft in drafts]
    close = _see_through(house, ids)
    rows = [row for generation in ids for row in house.catalogue.reports.lineage(generation)]
    print_rows(rows, LINEAGE_COLUMNS, as_json=as_json)
    ctx.exit(close())


def _check_prompts(prompts: Iterable[str]) -> None:
    for prompt in prompts:
        if not prompt.strip():
            raise UsageError("a prompt is empty")
        if "\0" in prompt or any(0xD800 <= ord(sign) < 0xE000 for sign in prompt):
            raise UsageError(f"the prompt {plain(prompt)[:40]!r} is not UTF-8 text")


def _see_through(house: Any, ids: list[str]) -> Callable[[], int]:
    """Work these generations to their end. Returns what prints the closing line and tells the exit code."""
    from archiver import wiring
    from archiver.cli import progress
    from archiver.pipeline.crew import Crew

    crew = Crew(house.pipeline, copies=house.config.archiver.copies, generations=ids)
    signals: list[int] = []
    is_done = False
    try:
        signals = progress.work(crew)
        is_done = not signals and not progress.refusals(crew)
    finally:  # whoever stopped waiting must not find the rest of his prompts paid for by the next cron run
        if not is_done and house.catalogue.generations.cancel(ids, wiring.now()):
            say("prompts that had not been asked yet were cancelled")
    return lambda: progress.close_with(crew, ids, signals)


def _choose_provider(config: Any, named: str | None) -> str:
    known = list(config.providers)
    if named is None and len(known) == 1:
        return str(known[0])
    if named is None or named not in config.providers:
        what = "say which provider is meant, with --provider" if named is None else f"there is no provider {named!r}"
        raise UsageError(f"{what}; known are: {', '.join(known) or 'none'}")
    return named


@click.command()
@click.option("--due", is_flag=True, help="Only what is due: respect the pause after a failure.")
@click.option("--dry-run", is_flag=True, help="List what would be tried, copy nothing.")
@json_option
@click.pass_context
def drain(ctx: click.Context, due: bool, dry_run: bool, as_json: bool) -> None:
    """Copy every image that is still on its way, now.

    Typed by a person, it tries everything unclaimed once, whatever its not-before time.

    \b
    Example: archiver drain
    """
    if dry_run:
        from archiver import wiring
        from archiver.cli.asking import open_catalogue, print_images

        _, catalogue = open_catalogue(ctx)
        waiting = catalogue.reports.images(
            states=("pending", "spooled"), due=wiring.now() if due else None, limit=1_000_000
        )
        print_images(waiting, as_json=as_json)
        return
    from archiver import wiring
    from archiver.cli import progress
    from archiver.pipeline.crew import Crew

    house = open_for_work(ctx, wiring.load_config(ctx.obj["config"]))
    crew = Crew(house.pipeline, copies=house.config.archiver.copies, asks=False, try_all=not due)
    signals = progress.work(crew)
    code = progress.close_with(crew, [], signals)
    check_alerts(house)
    ctx.exit(code)
