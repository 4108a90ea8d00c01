"""Settings from the environment: `ARCHIVER_<SECTION>__<KEY>` and `ARCHIVER_<PROVIDERS|STORES>__<NAME>__<KEY>`.

Upper and lower case are the same, and `_` stands for the `-` of a name. A value is text, a number, true or false, or a
TOML list or table; an empty one counts as not set. Jobs cannot be set here. A variable that nobody knows is a problem
and not silence: somebody believes that it works. Values are never repeated in a message.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from archiver.config.alerts_section import AlertsSection
from archiver.config.complaints import Problem
from archiver.config.sections import ArchiverSection, FetchSection, NetworkSection
from archiver.settings import Section

_OWN: dict[str, type[Section]] = {
    "archiver": ArchiverSection,
    "fetch": FetchSection,
    "network": NetworkSection,
    "alerts": AlertsSection,
}
_NAMED = {"providers": "kind", "stores": "url"}
_NUMBER_OR_TRUTH = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?|true|false")


class Override(NamedTuple):
    """One setting that the environment makes: its path (two or three names), the value, and the variable."""

    path: tuple[str, ...]
    value: object
    variable: str


def read_environment(
    environ: Mapping[str, str], names: Mapping[str, Iterable[str]]
) -> tuple[list[Override], list[Problem]]:
    """All overrides, and what is wrong with other `ARCHIVER_` variables. `names`: the providers and stores so far."""
    overrides: list[Override] = []
    problems: list[Problem] = []
    for variable in sorted(environ):
        upper, text = variable.upper(), environ[variable].strip()
        if not upper.startswith("ARCHIVER_") or upper == "ARCHIVER_CONFIG" or upper.startswith("ARCHIVER_TEST"):
            continue
        path = _path(upper.removeprefix("ARCHIVER_").lower().split("__"))
        if path is None:
            problems.append(Problem(variable, _unknown(upper, names)))
        elif text:
            try:
                overrides.append(Override(path, _value(text), variable))
            except tomllib.TOMLDecodeError:
                problems.append(Problem(variable, "begins like a TOML value but is none"))
    return overrides, problems


def _path(parts: list[str]) -> tuple[str, ...] | None:
    match parts:
        case [section, key] if section in _OWN and key:
            return (section, key)
        case [section, name, key] if section in _NAMED and name and key:
            return (section, name.replace("_", "-"), key)
    return None


def _unknown(variable: str, names: Mapping[str, Iterable[str]]) -> str:
    if variable.startswith("ARCHIVER_JOBS"):
        return "jobs cannot be set by the environment; write them into the file"
    known = [f"{section}__{key}".upper() for section, model in _OWN.items() for key in model.model_fields]
    known += [
        f"{section}__{name.replace('-', '_')}__{key}".upper()
        for section, key in _NAMED.items()
        for name in names.get(section, ())
    ]
    word = variable.removeprefix("ARCHIVER_")
    near = [name for name in known if name.endswith(f"__{word}")]  # the section was left out
    near += difflib.get_close_matches(word, ["CONFIG", *known], n=1)
    hint = (
        f"did you mean ARCHIVER_{near[0]}?" if near else "write ARCHIVER_<SECTION>__<KEY>, as ARCHIVER_NETWORK__PROXY"
    )
    return f"unknown variable of the environment; {hint}"


def _value(text: str) -> object:
    if text[0] not in "[{\"'" and not _NUMBER_OR_TRUTH.fullmatch(text):
        return text
    parsed = tomllib.loads(f"value = {text}")
    if len(parsed) > 1:
        raise tomllib.TOMLDecodeError
    return parsed["value"]
