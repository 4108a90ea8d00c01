"""Processes of archiver without the half second of imports: a server imports everything once and forks for each run.

Each run is a process of its own in all else, with its own folder, environment and output, and it can be killed like any
other. The server opens nothing of archiver's before it forks. As a module, `Nursery` starts servers; run as a program,
this file is one: a JSON object per line on stdin asks for a run, a line with its exit code answers.
"""

import json
import os
import subprocess
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from tests.crash.dying import arm
from tests.world import ROOT, World


class Nursery:
    """As many servers as runs may go on at a time. `run` may be called from as many threads."""

    def __init__(self, servers: int) -> None:
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._stack = ExitStack()
        for _ in range(servers):
            command = [sys.executable, "-m", "tests.crash.nursery"]
            server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._idle.put(self._stack.enter_context(server))  # leaving it closes stdin, which ends the server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def run(self, world: World, arguments: tuple[str, ...], crash_at: str | None = None) -> int:
        """Run a command to its end, or to its death at a place (see `dying`). The exit code, negative for a signal.

        Output goes to `stdout.txt` and `stderr.txt` in the world's folder.
        """
        wanted = {"folder": str(world.folder), "environment": world.environ, "arguments": arguments, "at": crash_at}
        server = self._idle.get()
        try:
            assert server.stdin is not None and server.stdout is not None
            server.stdin.write(json.dumps(wanted) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())
        finally:
            self._idle.put(server)


def _import_everything() -> None:
    """What `run --once` imports on its way, so that a forked process finds it."""
    import archiver.cli.running
    import archiver.pipeline.crew
    import archiver.providers.images
    import archiver.providers.tasks
    import archiver.stores.local
    import archiver.stores.oss
    import archiver.wiring  # noqa: F401 - for its side effect


def _live(wanted: dict[str, Any]) -> None:
    """Be one process of archiver. Never returns."""
    code = 70
    try:
        folder = Path(wanted["folder"])
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(wanted["environment"])
        for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), number)
        sys.argv = ["archiver", *wanted["arguments"]]
        if wanted["at"] is not None:
            arm(wanted["at"])
        from archiver.cli import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:  # noqa: BLE001 - the process ends here, and says why
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Answer until stdin ends."""
    _import_everything()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _live(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
