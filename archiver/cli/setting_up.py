"""First steps: init, demo, config."""

import os
from pathlib import Path
from typing import Any

import click

from archiver.cli.printing import counted, json_option, plain, print_rows, say
from archiver.core.errors import Unusable, UsageError

DEMO = """\
# The configuration of `archiver demo`: a provider inside archiver, and a folder as the bucket.
[archiver]
data_dir = "./data"

[providers.sandbox]
kind = "sandbox"
price_usd = 0.0

[stores.main]
url = "file://./archive"
"""
DEMO_PROMPTS = ("a cat on the moon", "一只猫坐在月球上", "a lighthouse in the fog, 35mm")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@click.option("--dry-run", is_flag=True, help="Print what would be written.")
def init(folder: Path, dry_run: bool) -> None:
    """Write an archiver.toml to start from; it works at once, with no account. Exits with 2 when there is one already,
    which stays as it is, with 3 when it cannot be written.

    \b
    Example: archiver init && archiver run --once
    """
    target = folder / "archiver.toml"
    if dry_run:
        click.echo(_sample(), nl=False)
        say(f"(dry-run) would write {target}")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Somebody may write a key into it in spite of all advice: nobody else reads it.
        with open(target, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(_sample())
    except FileExistsError as error:
        raise UsageError(f"{target} exists already; it was left as it is") from error
    except OSError as error:
        raise Unusable(f"cannot write {target}: {error.strerror}") from error
    say(f"wrote {target}; every key is explained in it. Next: archiver run --once")


def _sample() -> str:
    """The documented example: beside the package in a checkout, inside it when installed from a wheel."""
    package = Path(__file__).parents[1]
    for place in (package / "sample.toml", package.parent / "config" / "archiver.toml"):
        if place.exists():
            return place.read_text("utf-8")
    raise Unusable("the example configuration is missing from this installation")


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--dry-run", is_flag=True, help="Show what would be done, write nothing.")
@json_option
@click.pass_context
def demo(ctx: click.Context, folder: Path, dry_run: bool, as_json: bool) -> None:
    """Walk the whole way of an image: sandbox provider, SQLite catalogue, a folder as the bucket. It costs nothing.

    Exits with 0 when its images are archived, with 1 when some are not, with 3 when the folder cannot be written.

    \b
    Example: archiver demo
    """
    from archiver.cli.generating import generate

    if dry_run:
        say(f"(dry-run) would archive {counted(len(DEMO_PROMPTS), 'image')} of the sandbox in {folder / 'archive'}")
        return
    path = folder / "archiver.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(DEMO, "utf-8")
    except OSError as error:
        raise Unusable(f"cannot write {path}: {error.strerror}") from error
    ctx.obj = {**ctx.obj, "config": str(path)}
    ctx.invoke(generate, prompts=DEMO_PROMPTS, provider=None, stores=(), size=None, n=1, dry_run=False, as_json=as_json)


@click.group()
def config() -> None:
    """Show or check the configuration."""


@config.command("show")
@json_option
@click.pass_context
def config_show(ctx: click.Context, as_json: bool) -> None:
    """Print every setting, its value and where it comes from. Secrets are shown as references. Exits with 2 when
    something is wrong with the configuration.

    \b
    Example: archiver config show
    """
    from archiver import wiring
    from archiver.config import describe

    rows: list[dict[str, Any]] = [row._asdict() for row in describe(wiring.load_config(ctx.obj["config"]))]
    print_rows(rows, dict.fromkeys(("key", "value", "origin"), plain), as_json=as_json)


@config.command("check")
@click.pass_context
def config_check(ctx: click.Context) -> None:
    """Check the configuration: keys, units, names, prompts and secrets. Nothing is sent anywhere. Exits with 0 when all
    is well, with 2 when something is wrong, and names it.

    \b
    Example: archiver config check
    """
    from archiver import wiring
    from archiver.cli import checking
    from archiver.cli.prompting import MOST_REMARKED, tell_remarks
    from archiver.config import job_pool

    loaded = wiring.load_config(ctx.obj["config"])
    failing = 0
    for job in loaded.jobs:
        pool = job_pool(job)
        shown = pool.take(range(min(pool.count, MOST_REMARKED)), wiring.now(), 0)
        tell_remarks((wish.prompt for wish in shown), f"job {job.name}: ")
        failing += checking.tell(loaded, job.provider, shown, checking.wish_of(job), f"job {job.name}: ")
    wiring.check_secrets(loaded)
    if failing:
        raise UsageError(f"{counted(failing, 'prompt')} would be refused by the provider")
    found = f"providers: {len(loaded.providers)}, stores: {len(loaded.stores)}, jobs: {len(loaded.jobs)}"
    say(f"{loaded.path} is fine; {found}")
