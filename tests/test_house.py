"""The house rules that neither the type checker nor the linter knows: sizes, names, where the outside may enter.

Each rule reads the source of the package. The import contracts of pyproject.toml are run too: on the package as it is,
and on a copy in which every one of them is broken on purpose. A contract that nothing can break protects nothing.
"""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "archiver"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = PYPROJECT["tool"]["importlinter"]["contracts"]
ADAPTERS = {
    group: PYPROJECT["project"]["entry-points"][f"archiver.{group}"].values() for group in ("providers", "stores")
}

LONGEST_FILE = 300
LONGEST_FUNCTION = 60
MEANINGLESS = {"base", "common", "helper", "helpers", "manager", "misc", "service", "util", "utils"}

# Time, randomness, environment and modules by name enter by wiring. Who else needs one is named here, with the reason.
OUTSIDE = re.compile(
    r"time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|localtime|sleep)|datetime\.(datetime|date)\.(now|utcnow|today)"
    r"|os\.(environ|environb|getenv|urandom)|(random|secrets|uuid|ulid|importlib\.(import_module|metadata))(\..+)?"
)
MAY_ENTER = {
    "cli/__init__.py": {"importlib.import_module"},  # loads the one group of commands that was typed
    "providers/sandbox_server.py": {"secrets"},  # makes the sandbox's own signing key, once, and keeps it in state_dir
}


@cache
def tree(module: str) -> ast.Module:
    """The syntax tree of a file of the package."""
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def uses(module: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything in a module that comes from an import, whatever it was renamed to."""
    names: dict[str, str] = {}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute):
            parts, inner = [node.attr], node.value
            while isinstance(inner, ast.Attribute):
                parts, inner = [inner.attr, *parts], inner.value
            if isinstance(inner, ast.Name) and inner.id in names:
                yield node.lineno, ".".join([names[inner.id], *parts])


def calls(module: str) -> Iterator[tuple[int, str]]:
    """Line and last name of every call in a module."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield node.lineno, node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_the_rules_have_something_to_read() -> None:
    """An empty list of modules would let every rule pass."""
    assert "core/model.py" in MODULES
    assert "catalogue/__init__.py" in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_file_and_functions_fit(module: str) -> None:
    """A file has at most 300 lines, and a function fits a screen."""
    lines = (PACKAGE / module).read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST_FILE
    functions = [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    long = {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}
    assert long == {}


@pytest.mark.parametrize("module", MODULES)
def test_name_says_what_is_inside(module: str) -> None:
    """No module and no room is called `utils` or the like."""
    words = {word for part in Path(module).with_suffix("").parts for word in part.split("_")}
    assert words & MEANINGLESS == set()


@pytest.mark.parametrize("module", MODULES)
def test_module_says_what_it_is_for(module: str) -> None:
    """The first thing in a file is a sentence about it."""
    first = (ast.get_docstring(tree(module)) or "").partition("\n\n")[0]
    assert re.search(r"\w+ \w+.*[.:]$", first, re.DOTALL), first


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith("wiring/")])
def test_time_chance_and_environment_enter_by_wiring(module: str) -> None:
    """Functions take `now`, ids and secrets as arguments; nothing below or above wiring reads them itself."""
    allowed = MAY_ENTER.get(module, set())
    found = {
        f"{module}:{line}: {name}"
        for line, name in uses(module)
        if OUTSIDE.fullmatch(name) and name not in allowed and name.partition(".")[0] not in allowed
    }
    assert found == set()


def test_no_permission_is_left_over() -> None:
    """What `MAY_ENTER` permits is still used."""
    for module, names in MAY_ENTER.items():
        used = {name for _, name in uses(module)} | {name.partition(".")[0] for _, name in uses(module)}
        assert names <= used, module


@pytest.mark.parametrize("module", MODULES)
def test_nothing_sleeps(module: str) -> None:
    """Waiting is done on an event or a condition that can be woken, never by sleeping."""
    assert [line for line, name in calls(module) if name == "sleep"] == []


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith("cli/")])
def test_only_the_command_line_prints(module: str) -> None:
    """stdout belongs to the data that a command was asked for."""
    assert [line for line, name in calls(module) if name == "print"] == []


def test_temporary_urls_are_revealed_in_two_rooms() -> None:
    """A signed URL is a password: only the catalogue writes it, only the transport sends it."""
    revealing = {module for module in MODULES for _, name in calls(module) if name == "reveal"}
    assert {module for module in revealing if not module.startswith(("catalogue/", "transport/"))} <= {
        "core/tempurl.py"
    }
    assert any(module.startswith("catalogue/") for module in revealing)
    assert any(module.startswith("transport/") for module in revealing)


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("core/")])
def test_core_needs_the_standard_library_only(module: str) -> None:
    """Decisions can be read, run and tested with nothing installed."""
    roots = {name.partition(".")[0] for _, name in uses(module)}
    assert (
        roots - sys.stdlib_module_names - {"archiver", "_typeshed"} == set()
    )  # _typeshed is read by type checkers only


@pytest.mark.parametrize("module", sorted({name for names in ADAPTERS.values() for name in names}))
def test_adapter_has_settings_and_connect(module: str) -> None:
    """Every entry point leads to a module that wiring can build."""
    adapter = importlib.import_module(module)
    assert adapter.Settings.model_config["extra"] == "forbid"
    assert callable(adapter.connect)


def test_no_adapter_is_forgotten_in_the_contract() -> None:
    """The contract "adapters never import each other" names exactly the adapters that are declared."""
    named = next(contract["modules"] for contract in CONTRACTS if contract["id"] == "adapters")
    assert sorted(named) == sorted(name for names in ADAPTERS.values() for name in names)


def test_command_line_starts_light() -> None:
    """Importing the command line imports none of the heavy packages: it answers `--help` in a moment."""
    heavy = {
        "apscheduler",
        "boto3",
        "botocore",
        "oss2",
        "pycurl",
        "pydantic",
        "pysqlite3",
        "requests",
        "rich",
        "sqlite_utils",
    }
    program = "import archiver.cli, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "archiver" in loaded
    assert loaded & heavy == set()


# What would break each contract: a file to plant, what it imports, and how import-linter shows it.
PLANTS = {
    "stairs": ("core/planted.py", "archiver.catalogue"),
    "ports": ("pipeline/planted.py", "archiver.stores.local"),
    "adapters": ("stores/oss.py", "archiver.stores.local"),
    "configuration": ("transport/planted.py", "archiver.config"),
    "core": ("core/planted2.py", "boto3"),
    "sqlite": ("pipeline/planted2.py", "sqlite3"),
    "apscheduler": ("pipeline/planted3.py", "apscheduler"),
    "click": ("config/planted.py", "click"),
    "datasette": ("gallery/planted.py", "datasette"),
    "pillow": ("gallery/planted2.py", "PIL.Image"),
    "boto3": ("stores/local.py", "botocore.auth"),
    "oss2": ("stores/planted.py", "oss2"),
    "transport": ("stores/planted2.py", "pycurl"),
    "requests": ("stores/planted3.py", "requests"),
}


def lint(folder: Path) -> tuple[dict[str, bool], str]:
    """Run import-linter on the package in `folder`: which contract holds, by id, and all that it printed."""
    program = "import sys, importlinter.cli as c; sys.exit(c.lint_imports(no_cache=True))"
    environment = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    words = {
        contract["id"]: re.search(re.escape(contract["name"]) + r" (KEPT|BROKEN)", done.stdout)
        for contract in CONTRACTS
    }
    assert None not in words.values(), done.stdout + done.stderr
    return {contract: word is not None and word[1] == "KEPT" for contract, word in words.items()}, done.stdout


def test_import_contracts_hold() -> None:
    """The stairs and the further contracts of pyproject.toml are kept."""
    verdict, output = lint(ROOT)
    assert all(verdict.values()), output


def test_planted_imports_break_every_contract(tmp_path: Path) -> None:
    """In a copy with one forbidden import for each contract, every contract is broken, and the import is shown."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "archiver", ignore=shutil.ignore_patterns("__pycache__"))
    assert set(PLANTS) == {contract["id"] for contract in CONTRACTS}
    for path, imported in PLANTS.values():
        with (tmp_path / "archiver" / path).open("a", encoding="utf-8") as module:
            module.write(f"\nimport {imported}\n")
    verdict, output = lint(tmp_path)
    assert [contract for contract, kept in verdict.items() if kept] == []
    for path, imported in PLANTS.values():
        importer = "archiver." + path.removesuffix(".py").replace("/", ".")
        shown = imported if imported.startswith("archiver") else imported.partition(".")[0]
        assert f"{importer} -> {shown} (l." in output, output


def test_a_new_room_needs_a_step(tmp_path: Path) -> None:
    """A module beside the rooms that the stairs do not name is refused."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "archiver", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "archiver" / "attic.py").write_text('"""A room without a step."""\n', encoding="utf-8")
    verdict, output = lint(tmp_path)
    assert not verdict["stairs"]
    assert "archiver.attic" in output
