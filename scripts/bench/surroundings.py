"""What figures depend on: versions, processors, load, and where files lie. It asks the programs themselves.

A figure without them cannot be compared with any other. It refuses to fail: what is not installed is None.
"""

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycurl

from archiver.catalogue.database import sqlite


def surroundings() -> dict[str, Any]:
    """Names and versions, as they stand in the page and in the JSON."""
    curl = dict(word.split("/", 1) for word in pycurl.version.split() if "/" in word)
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "pycurl": curl["PycURL"],
        "libcurl": curl["libcurl"],
        "openssl": curl.get("OpenSSL", pycurl.version),
        "sqlite": sqlite.sqlite_version,
        "rclone": _said(Path(sys.executable).parent / "rclone", "version"),
        "nginx": _said(shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"), "-v"),
        "curl": _said(shutil.which("curl"), "--version"),
        "load": load(),
    }


def load() -> float:
    """Of the last minute: how many processes wanted a processor, ours among them."""
    return round(os.getloadavg()[0], 2)


def line(around: dict[str, Any]) -> str:
    """The same for people."""
    tools = ("python", "libcurl", "openssl", "sqlite", "rclone", "nginx", "curl")
    versions = ", ".join(f"{tool} {around[tool]}" for tool in tools if around[tool])
    return f"{around['system']}, {around['cores']} cores ({around['processor']}); {versions}; load {around['load']}"


@contextlib.contextmanager
def places(room: int) -> Iterator[tuple[Path, Path]]:
    """Two empty folders: one for what is served and stored, in RAM where `room` bytes and a fifth more are free there,
    and one for catalogues, on a disk. They go at the end, also at that by SIGTERM: they are gigabytes."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    memory = Path("/dev/shm")  # noqa: S108 - the folders of a run are its own
    fits = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > room * 1.2
    disk = Path("/var/tmp")  # noqa: S108 - as above; /tmp is RAM on many machines, and then a flush costs nothing
    with (
        tempfile.TemporaryDirectory(prefix="archiver-bench-", dir=memory if fits else None) as home,
        tempfile.TemporaryDirectory(prefix="archiver-bench-", dir=disk if os.access(disk, os.W_OK) else None) as kept,
    ):
        yield Path(home), Path(kept)


def filesystem(folder: Path) -> str:
    """The kind of the file system that a folder lies on: `tmpfs` is RAM."""
    folder = folder.resolve()
    try:
        mounts = [text.split(" ") for text in Path("/proc/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return "unknown"
    holding = [(len(point), kind) for _, point, kind, *_ in mounts if folder.is_relative_to(point)]
    return max(holding)[1] if holding else "unknown"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"


def _said(program: str | Path | None, question: str) -> str | None:
    """The first number with dots that it answers."""
    if program is None or not Path(program).exists():
        return None
    answer = subprocess.run([str(program), question], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(?:\.\d+)+", answer.stdout + answer.stderr)
    return found[0] if found else None
