"""Records what a real process asks of the disk and of the network, in order and with all bytes: strace tells.

Nothing is put in the place of anything: SQLite and archiver run as they are. A call that could change a file unseen,
and a second process, are refused rather than passed over. The shared memory of SQLite's -shm is not seen; after a power
loss SQLite makes it anew.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NEVER = 1 << 62
"""The end of a call that a death interrupted."""

_FILES = "open openat creat lseek write pwrite64 ftruncate rename renameat renameat2 link linkat unlink unlinkat"
_FILES += " mkdir mkdirat rmdir fsync fdatasync"
_UNSEEN = "writev pwritev pwritev2 truncate fallocate copy_file_range sendfile splice symlink symlinkat mmap"
_UNSEEN += " fork vfork clone clone3"
_NETWORK = "sendto sendmsg"
# A question mark: not every machine has every call.
_TRACED = ",".join(f"?{name}" for name in f"{_FILES} {_UNSEEN} {_NETWORK}".split())
_STRACE = ("strace", "-f", "-qq", "--seccomp-bpf", "-yy", "-xx", "-s", "100000000", "-e", "signal=none")

_LINE = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>(.*)|(\w+)\((.*))", re.DOTALL)
_WHOLE = re.compile(r"(.*)\)\s+= (-?\d+|\?)", re.DOTALL)
_HANDLE = re.compile(r"(-?\d+|AT_FDCWD)(?:<(.*)>)?(?:\(deleted\))?", re.DOTALL)
_UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """One system call of `thread`. Its effect came about somewhere between the moments `begin` and `end`."""

    thread: int
    name: str
    arguments: tuple[str, ...]
    result: int
    begin: int
    end: int

    def text(self, at: int) -> bytes:
        """A string among the arguments."""
        return _bytes(self.arguments[at].strip('"'))

    def paths(self) -> list[Path]:
        """The paths among the arguments; for a call with `at` in its name, joined to the folder before it."""
        found = []
        for at, argument in enumerate(self.arguments):
            if argument.startswith('"'):
                path = Path(os.fsdecode(self.text(at)))
                found.append(self.place(at - 1) / path if "at" in self.name else path)
        return found

    def place(self, at: int = 0) -> Path:
        """The file, or the connection, behind a handle among the arguments."""
        match = _HANDLE.fullmatch(self.arguments[at])
        behind = ((match and match[2]) or "").partition("<")[0]  # a device says which, in a second pair of brackets
        return Path(os.fsdecode(_bytes(behind)) if behind.startswith("\\x") else behind)

    def handle(self, at: int = 0) -> int:
        """The number of a handle among the arguments."""
        return int(self.arguments[at].partition("<")[0])


def why_not() -> str | None:
    """Why strace cannot be used here; None when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    found = subprocess.run([*_STRACE, "-o", os.devnull, "true"], capture_output=True, check=False)
    return f"strace may not trace here: {found.stderr.decode().strip()}" if found.returncode else None


def below(log: Path) -> tuple[str, ...]:
    """What to put before a command to have its calls written to `log`."""
    return (*_STRACE, "-o", str(log), "-e", f"trace={_TRACED}")


def calls(log: Path, after: int) -> Iterator[Call]:
    """The calls that succeeded or were cut off, in order of their end; moments begin behind `after`.

    Raises ValueError for a process that made another one.
    """
    open_calls: dict[int, tuple[str, str, int]] = {}
    with log.open(encoding="ascii") as lines:
        for number, line in enumerate(lines):
            match = _LINE.match(line)
            if match is None:  # a death
                continue
            thread, tail, name, text = int(match[1]), match[2], match[3], match[4]
            begin = after + 1 + 2 * number
            if name is None:
                name, text, begin = open_calls.pop(thread)
                text += tail
            if text.rstrip("\n").endswith(_UNFINISHED):
                open_calls[thread] = (name, text.rstrip("\n").removesuffix(_UNFINISHED), begin)
                continue
            yield from _call(thread, name, text, begin, after + 2 + 2 * number)
    for thread, (name, text, begin) in open_calls.items():
        yield from _call(thread, name, f"{text}) = ?", begin, NEVER)


def _call(thread: int, name: str, text: str, begin: int, end: int) -> Iterator[Call]:
    match = _WHOLE.match(text)
    if match is None:
        raise ValueError(f"strace wrote {name}({text[:200]}")
    if name in ("fork", "vfork") or (name.startswith("clone") and "CLONE_THREAD" not in text):
        raise ValueError(f"a second process, which is not followed: {name}({text[:200]}")
    if match[2] == "?":
        yield Call(thread, name, tuple(match[1].split(", ")), 0, begin, NEVER)
    elif int(match[2]) >= 0:
        yield Call(thread, name, tuple(match[1].split(", ")), int(match[2]), begin, end)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
