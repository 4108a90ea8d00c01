"""The command line: one file per group of commands; a command parses, calls one verb and prints.

Commands are imported only when they are called, so that the bare command line starts at once. Data goes to stdout,
everything else to stderr; what went wrong decides the exit code, by the class of the error. It decides nothing itself.
"""

import importlib
import sys

import click
from click.shell_completion import CompletionItem

from archiver.core.errors import ArchiverError, Unusable, UsageError
from archiver.core.redaction import redact

COMMANDS = {
    "init": ("archiver.cli.setting_up", "Write an archiver.toml to start from."),
    "demo": ("archiver.cli.setting_up", "Walk the whole way of an image, with no account."),
    "config": ("archiver.cli.setting_up", "Show or check the configuration."),
    "run": ("archiver.cli.running", "Run the daemon, or with --once what is due now."),
    "generate": ("archiver.cli.generating", "Ask for images now, and archive them."),
    "drain": ("archiver.cli.running", "Copy every image that is still on its way."),
    "backfill": ("archiver.cli.taking_in", "Take in temporary URLs that were kept elsewhere."),
    "notice": ("archiver.cli.noticing", "Take in a webhook of a provider."),
    "providers": ("archiver.cli.providing", "Show the providers, or try one."),
    "jobs": ("archiver.cli.asking", "Show the jobs with their last and next tick."),
    "images": ("archiver.cli.listing", "List images, by what they are and in what order you like."),
    "search": ("archiver.cli.listing", "Find images, in any state, by the words of their prompts."),
    "at-risk": ("archiver.cli.listing", "List images whose link has lived half of its life."),
    "losses": ("archiver.cli.listing", "List images that were lost."),
    "generations": ("archiver.cli.paying", "List generations with what they cost."),
    "batches": ("archiver.cli.batching", "List batches, and when their outputs die."),
    "resolve": ("archiver.cli.paying", "Decide what becomes of a generation with an unknown outcome."),
    "costs": ("archiver.cli.costing", "Tell what was spent, with a forecast."),
    "refunds": ("archiver.cli.costing", "List what was paid for without an image."),
    "show": ("archiver.cli.telling", "Tell the whole story of one image, or of a generation."),
    "lineage": ("archiver.cli.asking", "Go from a prompt to its permanent keys, and back."),
    "tree": ("archiver.cli.descending", "Show what an image was made of, and what was made of it."),
    "get": ("archiver.cli.getting", "Bring the bytes of an image back, verified."),
    "url": ("archiver.cli.getting", "Print an address that shows an image."),
    "export": ("archiver.cli.exporting", "Write images' stories as CSV or JSONL, a manifest, or a gallery."),
    "browse": ("archiver.cli.browsing", "Look through the catalogue in a browser, with Datasette."),
    "query": ("archiver.cli.querying", "Ask the catalogue in SQL."),
    "stats": ("archiver.cli.judging", "Tell how requests went: rates, times, attempts, errors, a grade."),
    "status": ("archiver.cli.asking", "Tell what stands."),
    "doctor": ("archiver.cli.doctoring", "Try this machine, the providers and the stores, and say what to do."),
    "check": ("archiver.cli.examining", "Hold the catalogue against what the stores really have."),
    "repair": ("archiver.cli.examining", "Bring back what check finds missing, from another copy or the spool."),
    "requeue": ("archiver.cli.examining", "Give a lost or missing image a fresh URL."),
    "rebuild": ("archiver.cli.auditing", "Make the catalogue anew from a store's lineage records."),
    "backup": ("archiver.cli.safekeeping", "Put a snapshot of the catalogue into a store."),
    "restore": ("archiver.cli.safekeeping", "Bring the catalogue back from a snapshot, or try whether that works."),
    "prune": ("archiver.cli.removing", "Remove what nobody needs any more, after showing it."),
    "forget": ("archiver.cli.removing", "Erase an image, its prompt and its copies."),
    "db": ("archiver.cli.safekeeping", "Look after the catalogue's file."),
}


class Commands(click.Group):
    """A group whose commands live in modules that are imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a user's first day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands from the table above, again without importing any, and the options of the bare command line."""
        names = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", metavar="FILE", help="The configuration. Default: $ARCHIVER_CONFIG, ./archiver.toml, ...")
@click.option("-v", "--verbose", is_flag=True, help="Tell of every image on stderr.")
@click.version_option(package_name="archiver")
@click.pass_context
def cli(ctx: click.Context, config: str | None, verbose: bool) -> None:
    """Copy generated images from URLs that die into your own bucket, and remember which prompt made which image.

    \b
    Exit codes: 0 ok; 1 some items failed, the others are done; 2 usage or configuration;
    3 disk, catalogue or store unusable; 4 an image was lost; 128 + N ended by signal N.
    """
    ctx.obj = {"config": config, "verbose": verbose}


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except ArchiverError as error:
        # A complaint about the configuration quotes no value, and redaction would take "api_key: ..." for a credential.
        click.echo(f"Error: {error if isinstance(error, UsageError) else redact(str(error))}", err=True)
        code = error.exit_code
    except UnicodeEncodeError:  # bytes of the command line that are no text, where only text can be looked for
        click.echo("Error: something that was typed is not UTF-8 text", err=True)
        code = UsageError.exit_code
    except OSError as error:  # a disk that fails where no room has a word for it: nothing is wrong with the program
        place, what = error.filename or "this machine", error.strerror or type(error).__name__
        click.echo(redact(f"Error: {place}: {what}"), err=True)
        code = Unusable.exit_code
    except SystemExit:  # click's way out when the reader of a pipe has left, as in `archiver images | head`
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
