"""The shell's TAB: scripts for bash, zsh and fish, and the words that they offer, by click's own protocol."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from archiver.cli import COMMANDS
from archiver.core.states import states
from tests.shells.configuring import SMALL
from tests.world import World

SHELLS = ("bash", "zsh", "fish")
GOOD = SMALL.replace('kind = "images"', 'kind = "images"\nmodel = "m"\nbase_url = "https://api.apiyi.com"')
#: The installed command, whatever it is called: click asks for its name.
COMMAND = (sys.executable, "-c", "import sys; sys.argv[0] = 'archiver'; from archiver.cli import main; main()")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    (tmp_path / "archiver.toml").write_text(GOOD, "utf-8")
    return made


def said(world: World, instruction: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"_ARCHIVER_COMPLETE": instruction, **environment}
    return subprocess.run(
        COMMAND,
        cwd=world.folder,
        env=world.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def offered(world: World, shell: str, line: str) -> list[str]:
    """What is offered at the end of `line`, as that shell asks and reads the answer."""
    words = line.split(" ")
    at = words[-1] if shell == "fish" else str(len(words) - 1)
    done = said(world, f"{shell}_complete", COMP_WORDS=line, COMP_CWORD=at)
    assert (done.returncode, done.stderr) == (0, ""), line
    lines = done.stdout.strip("\n").splitlines()
    if shell == "zsh":  # a type, a word and its help
        return lines[1::3]
    return [word.partition(",")[2].partition("\t")[0] for word in lines]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_produced_and_taken_by_its_shell(world: World, shell: str, tmp_path: Path) -> None:
    done = said(world, f"{shell}_source")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_ARCHIVER_COMPLETE={shell}_complete" in done.stdout
    script = tmp_path / "script"
    script.write_text(done.stdout, "utf-8")
    if program := shutil.which(shell):
        assert subprocess.run([program, "-n", script], capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_values_are_offered(world: World, shell: str) -> None:
    assert offered(world, shell, "archiver ") == list(COMMANDS)
    assert offered(world, shell, "archiver im") == ["images"]
    assert offered(world, shell, "archiver --ver") == ["--verbose", "--version"]
    assert offered(world, shell, "archiver images --st") == ["--state", "--store"]
    assert sorted(offered(world, shell, "archiver images --state ")) == sorted([*states("image"), "waiting"])
    assert offered(world, shell, "archiver images --sort d") == ["deadline"]
    assert offered(world, shell, "archiver config ") == ["check", "show"]


def test_names_come_from_the_configuration(world: World) -> None:
    for line, names in (
        ("archiver images --store ", ["main"]),
        ("archiver images --provider a", ["apiyi"]),
        ("archiver run --once --job d", ["daily-cats"]),
        ("archiver providers test ", ["apiyi"]),
        ("archiver notice ", ["apiyi"]),
        ("archiver rebuild --from ", ["main"]),
        ("archiver get --store x", []),
    ):
        assert offered(world, "bash", line) == names, line
    (world.folder / "archiver.toml").rename(world.folder / "other.toml")
    assert offered(world, "bash", "archiver --config other.toml images --store ") == ["main"]


@pytest.mark.parametrize("text", [None, "[archiver", GOOD.replace("zone", "zoen"), "\udce9"])
def test_without_a_good_configuration_it_keeps_silent(world: World, text: str | None) -> None:
    path = world.folder / "archiver.toml"
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert offered(world, "bash", "archiver images --store ") == []
    assert offered(world, "bash", "archiver images --st") == ["--state", "--store"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_offers_the_words(world: World, tmp_path: Path) -> None:
    """The script in a real bash, with `archiver` on its path."""
    program = tmp_path / "bin" / "archiver"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom archiver.cli import main\nmain()\n", "utf-8")
    program.chmod(0o755)
    lines = 'eval "$(_ARCHIVER_COMPLETE=bash_source archiver)"; COMP_WORDS=(archiver images --st); COMP_CWORD=2;'
    path = f"{program.parent}{os.pathsep}{world.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", lines + '_archiver_completion archiver --st images; echo "${COMPREPLY[@]}"'],
        cwd=world.folder,
        env=world.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("--state --store\n", "")
