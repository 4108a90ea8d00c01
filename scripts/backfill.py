#!/usr/bin/env python3
"""Archive image URLs that somebody else collected: the same as `archiver backfill`, from any Python.

    python3 scripts/backfill.py FILE... [--dry-run] [--report FILE] [...]

It goes on in `.venv/`, which it makes first where there is none, and decides nothing itself: every argument and the
exit code are those of `archiver backfill`; docs/backfill.md tells them all.
"""

import os
import sys

from bootstrap import leave_old_python

leave_old_python()

# Only now: installer.py is written for the Python that archiver needs.
from installer import PYTHON, Failure, install, say  # noqa: E402


def main(arguments: list[str]) -> int:
    """Become `archiver backfill`; 3 when `.venv` could not be made."""
    try:
        install("run")
    except Failure as failure:
        say(str(failure))
        return 3
    os.execv(PYTHON, [str(PYTHON), "-m", "archiver", "backfill", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
