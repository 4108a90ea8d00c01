"""Running `archiver doctor` in a small world, for the tests: what it found, by subject and check."""

import json
from typing import Any

from tests.doubles.oss import OssDouble
from tests.world import World, oss_section, s3_section


def section(server: Any, name: str = "main") -> str:
    return (oss_section if isinstance(server, OssDouble) else s3_section)(name, server)


def doctor(world: World, *arguments: str, code: int = 0) -> dict[tuple[str, str], dict[str, str]]:
    """Run it; what it found by subject and check (the last one of several)."""
    done = world.run("doctor", "--json", *arguments)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    rows: list[dict[str, str]] = json.loads(done.stdout)
    for row in rows:
        assert set(row) == {"subject", "check", "verdict", "text", "advice"}
        assert "\n" not in row["text"] or row["subject"] == "configuration"
        assert bool(row["advice"]) == (row["verdict"] != "ok"), row
    return {(row["subject"], row["check"]): row for row in rows}


def verdicts(found: dict[tuple[str, str], dict[str, str]], subject: str) -> dict[str, str]:
    return {check: row["verdict"] for (about, check), row in found.items() if about == subject}


def set_up(world: World, server: Any, more: str = "", **settings: Any) -> None:
    world.keys_of(server)
    world.configure(section(server) + more, **settings)
    (world.folder / "archiver.toml").chmod(0o600)
