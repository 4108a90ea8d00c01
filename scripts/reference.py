"""Write docs/reference.md: everything about archiver that its own code can say.

Commands with their help, the state machines, the tables and public views of the catalogue. A test
compares the file with what this script writes: run `.venv/bin/python scripts/reference.py` after changing any of them.
"""

import sys
import tempfile
from pathlib import Path

import click

from archiver.catalogue import Catalogue
from archiver.cli import COMMANDS, cli
from archiver.core import states

TARGET = Path(__file__).parents[1] / "docs" / "reference.md"
WIDTH = 100


def text() -> str:
    """The whole page."""
    parts = [
        "# Reference",
        "Generated from the code by `.venv/bin/python scripts/reference.py`; not edited by hand.",
        "## Commands",
        _help(cli, "archiver"),
    ]
    context = click.Context(cli, info_name="archiver")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is None:
            raise KeyError(name)
        parts += [f"### archiver {name}", _help(command, f"archiver {name}")]
        if isinstance(command, click.Group):
            for inner, member in command.commands.items():
                parts += [f"### archiver {name} {inner}", _help(member, f"archiver {name} {inner}")]
    parts.append("## States")
    for machine in states.MACHINES:
        parts += [f"### {machine}", f"```mermaid\n{states.diagram(machine)}\n```"]
    parts += ["## The catalogue", "Times are UTC text (`2026-11-20T09:15:00.000Z`), money is integer micro-USD."]
    return "\n\n".join([*parts, *_schema()]) + "\n"


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    lines = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"```text\n{lines}\n```"


def _schema() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        catalogue = Catalogue.open(Path(folder), create=True)
        try:
            described = catalogue.reports.schema()
        finally:
            catalogue.close()
    parts: list[str] = []
    for kind, heading in (("view", "Public view"), ("table", "Table")):
        for name, columns in described[kind].items():
            rows = "\n".join(f"| `{column}` | {type_ or 'any'} |" for column, type_ in columns.items())
            parts += [f"### {heading} `{name}`", f"| column | type |\n|---|---|\n{rows}"]
    return parts


def main() -> int:
    """Write the page; with `--check`, only say whether it is in step."""
    wanted = text()
    if "--check" in sys.argv:
        return int(not TARGET.exists() or TARGET.read_text("utf-8") != wanted)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
