"""Every command explains itself: what it does, how it is typed, and what its exit code means.

The examples are parsed by the very commands that they stand in, and nothing is run.
"""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from archiver.cli import COMMANDS, cli

_OPERATORS = {"|", "||", "&&", ";", "<", ">", ">>"}


def commands(name: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command called so, or all that are in its group, with the words that lead to each."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    yield from _within((name,), command)


def _within(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            member = command.get_command(click.Context(command), name)
            assert member is not None
            yield from _within((*path, name), member)
    else:
        yield path, command


def examples(text: str) -> list[list[str]]:
    """The words of every example: what follows `Example:`, up to an empty line or what is said of exit codes. A line
    that does not begin with `archiver`, or a pipe into it, goes on with the one before it; each part of a pipe is an
    example."""
    lines: list[str] = []
    _, mark, rest = re.sub(r"\bExamples?:", "Example:", text).partition("Example:")
    for line in rest.splitlines() if mark else []:
        words = line.strip()
        if re.match(r"([\w-]+( [^|]*)?\| )?archiver ", words):
            lines.append(words)
        elif lines and (not words or words.startswith("Exit")):
            break
        elif lines:
            lines[-1] += f" {words}"
    return [part for line in lines for part in _parts(line) if part[:1] == ["archiver"]]


def _parts(line: str) -> Iterator[list[str]]:
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    part: list[str] = []
    is_redirected = False
    for word in words:
        if word in _OPERATORS:
            if not is_redirected:
                yield part
            part, is_redirected = [], word in ("<", ">", ">>")
        else:
            part.append(word)
    if not is_redirected:
        yield part


def complaints(path: tuple[str, ...], command: click.Command) -> list[str]:
    """All that is missing in one help text, or wrong with its examples."""
    text, wrong = command.help or "", []
    told = " ".join(text.partition("\b")[0].split())
    if len(told) < 40 or not told.endswith("."):
        wrong.append("no paragraph on what it does")
    if not re.search(r"\b(Exit codes: [0-4] |Exits with [0-4]\b)", " ".join(text.split())):
        wrong.append("not a word on exit codes")
    found = examples(text)
    if not found:
        wrong.append("no example")
    for words in found[:1]:
        if tuple(words[1 : len(path) + 1]) != path:
            wrong.append(f"the example is one of another command: {shlex.join(words)}")
    return [f"{' '.join(path)}: {one}" for one in (*wrong, *(_unparsed(words) for words in found)) if one]


def _unparsed(words: list[str]) -> str:
    """Why the command line does not take an example; empty when it does. The command is parsed, never called."""
    command: click.Command | None = cli
    rest, context = words, None
    try:
        while isinstance(command, click.Group):
            name, *rest = rest[1:] if command is cli else rest
            context = click.Context(command, info_name=name, parent=context)
            command = command.get_command(context, name)
        if command is None:
            return f"the example names no command: {shlex.join(words)}"
        command.make_context(name, rest, parent=context).close()
    except click.ClickException as error:
        return f"the example {shlex.join(words)} is not taken: {error.format_message()}"
    except ValueError:
        return f"the example ends too early: {shlex.join(words)}"
    return ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_text_has_a_paragraph_an_example_and_exit_codes(name: str) -> None:
    found = list(commands(name))
    assert found
    assert [wrong for path, command in found for wrong in complaints(path, command)] == []


GOOD = """Bring the bytes of an archived image back, from a store. Exits with 1 when none has them.

\b
Examples: archiver get 01kag2m5x8f3w9y7b1q0z4c6de -o moon.png
          archiver get 01kag2m5x8f3w9y7b1q0z4c6de -o - | feh -
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Bring the bytes of an archived image back, from a store.", "Get.", "no paragraph"),
        ("Exits with 1 when none has them.", "", "not a word on exit codes"),
        ("Examples: archiver get", "Examples: archiver show", "of another command"),
        ("-o -", "-O -", "No such option '-O'"),
        ("-o moon.png", "moon.png", "Missing option '-o'"),
        ("Examples:", "Like this:", "no example"),
        ("| feh -", "| archiver nosuch", "names no command"),
        ("Examples: archiver get", "Examples: pbpaste | archiver nosuch", "names no command"),
        ("| feh -", "&& archiver config", "ends too early"),
        ("| feh -", "&& archiver images --state gone", "'gone' is not one of"),
    ],
)
def test_what_is_missing_or_wrong_is_found(old: str, new: str, words: str) -> None:
    (((name,), command),) = commands("get")
    assert (name, old in GOOD) == ("get", True)
    command = click.Command("get", params=command.params, help=GOOD)
    assert complaints(("get",), command) == []
    command.help = GOOD.replace(old, new)
    wrong = complaints(("get",), command)
    assert any(words in one for one in wrong), wrong
