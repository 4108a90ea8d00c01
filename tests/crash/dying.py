"""Kills its own process with SIGKILL at one named place, without a hook in the code that dies.

A place is written `WHEN MODULE:FUNCTION #N [in MODULE:FUNCTION]`: WHEN is `before` or `after`, N counts the calls from
1 over all threads, and with `in` only calls from inside that other function count. A place that does not exist is
refused. Run as a program, with a place and the arguments of archiver, this file is an archiver that dies there.
"""

import functools
import importlib
import inspect
import itertools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

ANNOUNCEMENT = "died at its crash point: "

_PLACE = re.compile(r"(before|after) ([\w.]+):([\w.]+) #(\d+)(?: in ([\w.]+):([\w.]+))?")


def _replace(module: str, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `wrap(function)` in the function's place."""
    *path, last = name.split(".")
    holder: Any = importlib.import_module(module)
    for part in path:
        holder = getattr(holder, part)
    found = inspect.getattr_static(holder, last)
    if isinstance(found, classmethod | staticmethod):
        setattr(holder, last, type(found)(wrap(found.__func__)))
    else:
        setattr(holder, last, wrap(found))


def arm(place: str) -> None:
    """Arrange the death. Raises ValueError, ImportError or AttributeError for a place that does not exist."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ValueError(f"{place!r} is no place; write {_PLACE.pattern}")
    when, module, name, number, scope_module, scope_name = match.groups()
    calls = itertools.count(1)
    inside = threading.local()

    def die() -> None:
        # One call of the system, whatever state the interpreter is in; then the death itself.
        os.write(2, f"{ANNOUNCEMENT}{place}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def act(*arguments: Any, **named: Any) -> Any:
            is_it = (scope_name is None or getattr(inside, "depth", 0) > 0) and next(calls) == int(number)
            if is_it and when == "before":
                die()
            result = function(*arguments, **named)
            if is_it:
                die()
            return result

        return act

    def scope(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def act(*arguments: Any, **named: Any) -> Any:
            inside.depth = getattr(inside, "depth", 0) + 1
            try:
                return function(*arguments, **named)
            finally:
                inside.depth -= 1

        return act

    _replace(module, name, deadly)
    if scope_name is not None:
        _replace(scope_module, scope_name, scope)


def main() -> None:
    """Be archiver, and die."""
    from archiver.cli import main as live

    arm(sys.argv.pop(1))
    live()


if __name__ == "__main__":
    main()
