"""A whole archiver in a temporary folder, driven from outside as a user does: a configuration, an environment and the
command line in a process of its own. Nothing of archiver's own code runs in the test's process.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import zygote

ROOT = Path(__file__).parents[1]
ARCHIVER = (sys.executable, "-m", "archiver")


def s3_section(name: str, server: Any, prefix: str = "archive") -> str:
    """The configuration of a store on an S3 server of the doubles; its keys come from `s3_environment`."""
    return f"""
[stores.{name}]
url = "s3://{server.bucket}/{prefix}"
endpoint = "{server.endpoint}"
region = "{server.region}"
access_key_id = "env:TEST_KEY_ID"
access_key_secret = "env:TEST_KEY_SECRET"
"""


def oss_section(name: str, server: Any, prefix: str = "archive") -> str:
    """The same for an OSS double, signed with V4."""
    return s3_section(name, server, prefix).replace("s3://", "oss://")


def file_section(name: str, folder: Path) -> str:
    """A store in a folder."""
    return f'\n[stores.{name}]\nurl = "file://{folder}"\n'


@dataclass
class World:
    """`folder` is the user's folder; `environment` comes on top of a bare one."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def configure(self, text: str, *, provider: Any = None, **settings: object) -> None:
        """Write archiver.toml: `text`, and a provider named `double` for a running provider double, of the kind
        `images` unless the settings say otherwise."""
        document = '[archiver]\ndata_dir = "./data"\nzone = "Asia/Shanghai"\n'
        if provider is not None:
            self.environment["TEST_PROVIDER_KEY"] = provider.api_key
            settings = {"kind": "images", "model": "nano-banana-pro", **settings}
            lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
            document += f"""
[providers.double]
base_url = "{provider.endpoint}"
api_key = "env:TEST_PROVIDER_KEY"
{lines}
[fetch]
allow_cidrs = ["127.0.0.1/32"]
"""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "archiver.toml").write_text(document + text, "utf-8")

    def keys_of(self, server: Any) -> None:
        """Put a server's keys into the environment."""
        self.environment |= {"TEST_KEY_ID": server.access_key, "TEST_KEY_SECRET": server.secret_key}

    @property
    def environ(self) -> dict[str, str]:
        """A bare environment: no proxy, no home of the developer's, no cloud keys."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **self.environment}

    def run(self, *arguments: str, text: str | None = None, timeout: float = 100) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        environ = self.environ
        if done := zygote.run(arguments, cwd=self.folder, env=environ, text=text, timeout=timeout):
            return done
        return subprocess.run(
            [*ARCHIVER, *arguments],
            cwd=self.folder,
            env=environ,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *arguments: str, text: str | None = None) -> str:
        """Run one command that must exit with 0; its standard output."""
        done = self.run(*arguments, text=text)
        assert done.returncode == 0, f"{arguments} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command prints with --json."""
        rows: list[dict[str, Any]] = json.loads(self.ok(*arguments, "--json"))
        return rows

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one command and return at once. Its output goes to `stdout.txt` and `stderr.txt`."""
        with (self.folder / "stdout.txt").open("a") as out, (self.folder / "stderr.txt").open("a") as err:
            return subprocess.Popen(
                [*ARCHIVER, *arguments], cwd=self.folder, env=self.environ, stdout=out, stderr=err, text=True
            )

    def stop(self, process: subprocess.Popen[str], number: int = signal.SIGTERM, timeout: float = 60) -> int:
        """Send a signal and wait for the end; the exit code."""
        process.send_signal(number)
        return process.wait(timeout)

    def sql(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        """Ask the catalogue with the standard library's own SQLite, as a user might."""
        connection = sqlite3.connect(f"file:{self.folder}/data/catalogue.db?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(statement, parameters)]
        finally:
            connection.close()
