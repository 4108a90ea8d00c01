"""Commands that work for jobs and for what is on its way: run, drain."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from archiver.cli.completing import job_names
from archiver.cli.printing import counted, json_option, plain, print_rows, say
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
    level = "INFO" if talks or daemon else "WARNING" if not sys.stderr.isatty() else "ERROR"
    wiring.set_up_logging(level)
    return replace(ctx.with_resource(open_house(config)), log_level=level)


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
@click.option("--job", metavar="NAME", shell_complete=job_names, help="With --once: only this job.")
@click.option("--wait", type=Patience(), metavar="10m", help="With --once: wait so long for postponed work too.")
@click.option("--dry-run", is_flag=True, help="With --once: show the ticks that are due, spend nothing.")
@json_option
@click.pass_context
def run(ctx: click.Context, once: bool, job: str | None, wait: timedelta | None, dry_run: bool, as_json: bool) -> None:
    """Run the daemon: ask on schedule, archive what comes, until SIGTERM or SIGINT.

    With --once, due ticks are computed once, at the start, and it exits when everything is settled or postponed.

    \b
    Exit codes: 0 an orderly stop; with --once, everything was archived, or nothing was due;
    1 something failed or was postponed; 2 the configuration, or the prompts of a job, are wrong;
    3 nothing was asked, because no store could keep it; 4 an image was lost; 128 + N ended by signal N.

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
    crew = Crew(house.pipeline, copies=house.copies, job=job, opened=opened, companions=house.companions())
    signals = progress.work(crew, wait=wait)
    code = progress.close_with(crew, opened, signals)
    check_alerts(house)
    ctx.exit(code or max((trouble.exit_code for trouble in troubles.values()), default=0))


def _show_due(config: Any, jobs: list[Any], as_json: bool) -> None:
    from archiver import wiring
    from archiver.catalogue import as_text, as_time
    from archiver.cli import checking
    from archiver.cli.asking import last_ticks
    from archiver.cli.prompting import as_row, tell_remarks
    from archiver.config import job_wishes
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
        for number, tick in enumerate(ticks, known["ticks"] if known else 0):
            wishes = job_wishes(job, tick, number)
            tell_remarks((wish.prompt for wish in wishes), f"job {job.name}: ")
            checking.tell(config, job.provider, wishes, checking.wish_of(job), f"job {job.name}: ")
            asked = [as_row(wish, size=job.size, n=job.n) for wish in wishes]
            rows.append({"job": job.name, "tick": as_text(tick), "prompts": len(wishes), "wishes": asked})
    print_rows(rows, dict.fromkeys(("job", "tick", "prompts"), plain), as_json=as_json)
    say(f"(dry-run) would ask for {counted(sum(row['prompts'] for row in rows), 'prompt')}, and spend nothing now")


@click.command()
@click.option("--due", is_flag=True, help="Only what is due: respect the pause after a failure.")
@click.option("--dry-run", is_flag=True, help="List what would be tried, copy nothing.")
@json_option
@click.pass_context
def drain(ctx: click.Context, due: bool, dry_run: bool, as_json: bool) -> None:
    """Copy every image that is still on its way, now.

    Typed by a person, it tries everything unclaimed once, whatever its not-before time. It asks no provider for new
    images. Exits with 0 when nothing is left, with 1 when something was postponed again, with 4 when an image was lost.

    \b
    Example: archiver drain
    """
    if dry_run:
        from archiver import wiring
        from archiver.cli.asking import open_catalogue
        from archiver.cli.listing import print_images

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
    since = None if due else house.pipeline.now()
    beside = house.companions(tries_all_since=since)
    crew = Crew(house.pipeline, copies=house.copies, asks=False, tries_all_since=since, companions=beside)
    signals = progress.work(crew)
    code = progress.close_with(crew, [], signals)
    check_alerts(house)
    ctx.exit(code)
