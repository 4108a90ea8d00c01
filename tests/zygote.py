"""Processes that start at once: a parent that has imported archiver, and forks a child for every command.

Each command still has a process, an environment, a folder and files of its own, and dies alone; only the imports, which
are two thirds of a short command, are made once. `ARCHIVER_TESTS_FRESH=1` starts a new interpreter for each instead.
"""

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: What an interpreter or a library reads before a fork could change it.
_TOO_EARLY = ("PYTHON", "LD_", "LC_", "LANG", "OPENSSL", "MALLOC", "SSLKEYLOGFILE")
_BEHIND = (
    "archiver.daemon", "archiver.wiring.house", "archiver.wiring.archive", "archiver.pipeline.crew",
    "archiver.pipeline.backfill", "archiver.providers.images", "archiver.providers.sandbox", "archiver.stores.local",
    "archiver.stores.s3_store", "archiver.stores.s3_sdk", "archiver.stores.oss_store", "sqlite_utils",
)  # fmt: skip
_parents: dict[int, "Zygote"] = {}


def run(
    arguments: tuple[str, ...], *, cwd: Path, env: dict[str, str], text: str | None, timeout: float
) -> "subprocess.CompletedProcess[str] | None":
    """Run `archiver` with these arguments to its end. None where only a new interpreter would do."""
    usual = {name: value for name, value in _usual().items() if name.startswith(_TOO_EARLY)}
    asked = {name: value for name, value in env.items() if name.startswith(_TOO_EARLY)}
    if asked != usual or not hasattr(socket, "send_fds") or os.environ.get("ARCHIVER_TESTS_FRESH"):
        return None
    parent = _parents.get(os.getpid())
    if parent is None:
        parent = _parents[os.getpid()] = Zygote()
    return parent.run(arguments, cwd=cwd, env=env, text=text, timeout=timeout)


def _usual() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}


class Zygote:
    """The parent, as the test's process sees it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.zygote", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_usual(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        atexit.register(self._end)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait(10)

    def run(
        self, arguments: tuple[str, ...], *, cwd: Path, env: dict[str, str], text: str | None, timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        """One command, in a child of the parent."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write((text or "").encode())
            given.seek(0)
            order = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": env}).encode()
            with tempfile.TemporaryFile() as written:  # an order may be longer than a datagram's patience
                written.write(order)
                written.seek(0)
                files = [one.fileno() for one in (given, out, err, written)]
                socket.send_fds(self._socket, [b"!"], files)
            child = self._number(None)
            try:
                status = self._number(timeout)
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                self._number(None)
                raise subprocess.TimeoutExpired(["archiver", *arguments], timeout) from None
            for file in (out, err):
                file.seek(0)
            code = os.waitstatus_to_exitcode(status)
            return subprocess.CompletedProcess(["archiver", *arguments], code, _text(out.read()), _text(err.read()))

    def _number(self, timeout: float | None) -> int:
        self._socket.settimeout(timeout)
        data = b""
        while len(data) < 8:
            data += (piece := self._socket.recv(8 - len(data)))
            if not piece:
                raise RuntimeError("the parent of all commands is gone")
        return int.from_bytes(data, "big")


def _text(data: bytes) -> str:
    return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def serve(orders: socket.socket) -> None:
    """Fork a child for every order, one after the other. Returns in the child, ready to be the command."""
    while True:
        word, files, _, _ = socket.recv_fds(orders, 1, 4)
        if not word:
            os._exit(0)
        child = os.fork()
        if child == 0:
            orders.close()
            _become(files)
            return
        for file in files:
            os.close(file)
        orders.sendall(child.to_bytes(8, "big"))
        orders.sendall(os.waitpid(child, 0)[1].to_bytes(8, "big"))


def _become(files: "array.array[int] | list[int]") -> None:
    order = json.loads(os.fdopen(files[3], "rb").read())
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    random.seed()
    sys.path[0] = order["cwd"]
    sys.argv = ["archiver", *order["arguments"]]


def main() -> None:
    """Import what commands need, then serve; a child goes on as the command."""
    from archiver.cli import COMMANDS

    for module in {name for name, _ in COMMANDS.values()} | set(_BEHIND):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        serve(orders)
    runpy.run_module("archiver", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
