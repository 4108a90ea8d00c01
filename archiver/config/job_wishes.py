"""What a job asks for at a tick: its prompts and lists, read anew, and the cap on them.

Files are read here, at each tick: they may change between two. What they mean is decided in `prompts`. It claims no
tick: an error here leaves it where it is, unpaid.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from archiver.config.job_section import Job
from archiver.core.errors import ConfigurationError
from archiver.core.model import Wish
from archiver.prompts import Entry, Pool, read


def job_pool(job: Job) -> Pool:
    """Every prompt that a job may ask for, checked, and a tick's share of them within the cap.

    Raises ConfigurationError for a file that cannot be used, a template that cannot be understood, and for more prompts
    at one tick than `most_prompts`.
    """
    lists: dict[str, Sequence[str]] = {}
    for name, values in job.lists.items():
        if isinstance(values, Path):
            held = _entries(values, f"jobs.{job.name}.lists.{name}", "txt")
            lists[name] = [entry.wish.prompt for entry in held]
        else:
            lists[name] = values
    try:
        pool = Pool.of(_listed(job), lists=lists, zone=job.zone, is_template=job.is_template)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    asked = pool.asked(job.pick, job.pick_count)
    if asked > job.most_prompts:
        raise ConfigurationError(
            f"one tick would ask for {asked} prompts, which is more than {job.most_prompts};"
            f" write most_prompts = {asked} if that is meant",
            key=f"jobs.{job.name}.most_prompts",
        )
    return pool


def job_wishes(job: Job, tick: datetime, number: int) -> list[Wish]:
    """What a job asks for at `tick`, its `number`-th one (from 0). Raises ConfigurationError as `job_pool`."""
    return job_pool(job).pick(job.pick, job.pick_count, job=job.name, tick=tick, number=number)


def _listed(job: Job) -> Sequence[Entry]:
    """The prompts as they are written."""
    if job.prompts_file is not None:
        return _entries(job.prompts_file, f"jobs.{job.name}.prompts_file")
    return [
        Entry(f"jobs.{job.name}.prompts[{index}]", Wish(prompt=prompt))
        for index, prompt in enumerate(job.prompts or ())
    ]


def _entries(path: Path, key: str, kind: str | None = None) -> tuple[Entry, ...]:
    try:
        return read(str(path), path.read_bytes(), folder=path.parent, kind=kind)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}", key=key) from None
    except ValueError as error:
        raise ConfigurationError(str(error), key=key) from None
