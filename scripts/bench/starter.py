"""Starts one command and says what it took: wall seconds, CPU seconds, peak megabytes and exit code, in one line.

    python -I -S starter.py REPORT COMMAND [ARGUMENT ...]

Linux counts the memory of whoever starts a process as that of the process, up to its exec; so it has to be somebody
small. That is why this is a process of its own, imports next to nothing, and must go on so: its about 9 MB are the
least that can be told. Of a command that starts others, the peak is that of the largest, the CPU seconds are of all
for which it waited.
"""

import os
import signal
import sys
import time


def main() -> None:
    """Run it to its end, or until SIGTERM, which is handed on. What it prints goes where this process prints."""
    report, command = sys.argv[1], sys.argv[2:]
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(process, number))
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    with open(report, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib would be a megabyte and more
        file.write(f"{wall} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1024} {code}\n")


if __name__ == "__main__":
    main()
