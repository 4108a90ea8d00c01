"""Finding the configuration file, and reading it with the environment on top.

The environment comes in as an argument; nothing is read but the one file.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from archiver.config.complaints import Location, Problem, dotted, problems_of, refusal
from archiver.config.environment import Override, read_environment
from archiver.config.sections import Config, Document
from archiver.config.values import Surroundings
from archiver.core.errors import ConfigurationError
from archiver.core.model import Network


def search_path(environ: Mapping[str, str], *, cwd: Path, home: Path) -> tuple[Path, ...]:
    """Where a configuration is looked for when nobody names one. Never `./config/archiver.toml`, the example."""
    xdg = Path(environ.get("XDG_CONFIG_HOME", ""))
    per_user = xdg if xdg.is_absolute() else home / ".config"  # the XDG specification: a relative value is ignored
    return (cwd / "archiver.toml", per_user / "archiver" / "config.toml", Path("/etc/archiver/config.toml"))


def find_config(explicit: str | None, environ: Mapping[str, str], *, cwd: Path, home: Path) -> Path | None:
    """The file to load: `--config`, `$ARCHIVER_CONFIG`, or the first of `search_path` that exists.

    A file that was named is returned whether it exists or not, so that loading it can complain.
    """
    named = explicit or environ.get("ARCHIVER_CONFIG")
    if named:
        return cwd / named
    return next((path for path in search_path(environ, cwd=cwd, home=home) if _is_file(path)), None)


def require_config(explicit: str | None, environ: Mapping[str, str], *, cwd: Path, home: Path) -> Path:
    """As `find_config`, for commands that need one: raises ConfigurationError when there is none."""
    found = find_config(explicit, environ, cwd=cwd, home=home)
    if found is None:
        places = ", ".join(str(path) for path in search_path(environ, cwd=cwd, home=home))
        raise ConfigurationError(f'no configuration found; looked at {places}; run "archiver init" to make one')
    return found


def load(path: Path, environ: Mapping[str, str], machine_zone: str | None) -> Config:
    """The configuration in `path`, with the `ARCHIVER_…__…` variables of `environ` on top.

    `machine_zone` is the IANA zone that holds where none is written; None demands that one is. Raises
    ConfigurationError with all problems.
    """
    path = path.absolute()  # a `file://` URL beside a relative path would begin with a folder where a host belongs
    raw = _read(path)
    origins = dict.fromkeys(_keys(raw), "file")
    named = {section: _names(raw, section) for section in ("providers", "stores")}
    overrides, problems = read_environment(environ, named)
    variables: dict[str, str] = {}
    for override in overrides:
        _apply(raw, override)
        origins[dotted(override.path)] = "env"
        variables[dotted(override.path)] = override.variable
        if len(override.path) == 3 and override.path[1] not in named[override.path[0]]:
            variables[dotted(override.path[:2])] = override.variable  # a misspelt name makes a section of its own
    if machine_zone is None and not _names_zone(raw):
        message = 'the machine does not tell the name of its time zone; write it here, for example "Asia/Shanghai"'
        problems.append(Problem("archiver.zone", message))
    _fill_in(raw, machine_zone or "UTC")
    around = Surroundings(
        folder=path.parent,
        home=Path(environ["HOME"]) if environ.get("HOME") else None,
        providers=frozenset(_names(raw, "providers")),
        stores=frozenset(_names(raw, "stores")),
    )
    try:
        document = Document.model_validate(raw, context=around)
    except ValidationError as error:
        for key, message in problems_of(error, Document, lambda location: _readable(location, raw)):
            variable = variables.get(key) or variables.get(key.rpartition(".")[0])
            problems.append(Problem(key, f"{message} (from {variable})" if variable else message))
    if problems:
        raise refusal(problems, path)
    return Config(
        path=path,
        origins=origins,
        archiver=document.archiver,
        providers=document.providers,
        stores=document.stores,
        fetch=document.fetch,
        network=Network(
            proxy=document.network.proxy,
            ca_file=str(document.network.ca_file) if document.network.ca_file else None,
        ),
        alerts=document.alerts,
        jobs=document.jobs,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder of others that we may not enter
        return False


def _read(path: Path) -> dict[str, object]:
    text = _text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # its message has line and column, and nothing of the file
        raise ConfigurationError(f"{path} is no valid TOML: {error}") from None


def _text(path: Path) -> str:
    """A text file, line ends unified. Windows' editors begin UTF-8 files with a mark, which is dropped."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text") from None
    if "\0" in text:  # UTF-16 without a mark passes for UTF-8 full of NULs
        raise ConfigurationError(f"{path} is not UTF-8 text")
    return text


def _names(raw: Mapping[str, object], section: str) -> list[str]:
    table = raw.get(section)
    return list(table) if isinstance(table, dict) else []


def _names_zone(raw: Mapping[str, object]) -> bool:
    table = raw.get("archiver")
    return isinstance(table, dict) and "zone" in table


def _apply(raw: dict[str, object], override: Override) -> None:
    table = raw
    for step in override.path[:-1]:
        inner = table.setdefault(step, {})
        if not isinstance(inner, dict):
            return  # the file has no table there: validation will say so
        table = inner
    table[override.path[-1]] = override.value


def _fill_in(raw: dict[str, object], machine_zone: str) -> None:
    """Defaults that come from other sections: the zone, and the store where there is only one."""
    archiver = raw.setdefault("archiver", {})
    zone = archiver.setdefault("zone", machine_zone) if isinstance(archiver, dict) else machine_zone
    stores, jobs = _names(raw, "stores"), raw.get("jobs")
    for job in jobs if isinstance(jobs, list) else []:
        if isinstance(job, dict):
            job.setdefault("zone", zone)
            if len(stores) == 1:
                job.setdefault("stores", stores)


def _keys(raw: Mapping[str, object]) -> list[str]:
    """The dotted path of every setting in the file."""
    keys: list[str] = []
    for section, table in raw.items():
        if isinstance(table, dict):
            for key, value in table.items():
                named = section in ("providers", "stores") and isinstance(value, dict)
                keys += [f"{section}.{key}.{inner}" for inner in value] if named else [f"{section}.{key}"]
        elif isinstance(table, list):
            jobs = [job for job in table if isinstance(job, dict)]
            keys += [f"{section}.{job.get('name')}.{key}" for job in jobs for key in job]
    return keys


def _readable(location: Location, raw: Mapping[str, object]) -> str:
    """`jobs.daily.n` in place of `jobs[0].n`: people know their jobs by name."""
    jobs = raw.get("jobs")
    match location:
        case ("jobs", int(index), *rest) if isinstance(jobs, list) and isinstance(jobs[index], dict):
            name = jobs[index].get("name")
            if isinstance(name, str) and name and rest != ["name"]:
                return dotted(("jobs", name, *rest))
    return dotted(location)
