"""What a job is, and planning the ticks of one that are due.

The same code serves the daemon and `run --once`; both may run at once, and the catalogue lets only one of them claim a
tick. Nothing here asks a provider.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.catalogue import Catalogue, Draft
from archiver.schedule import Schedule, due


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A schedule with prompts and a provider. `prompts` is read when a tick is planned: a file may have changed."""

    name: str
    schedule: Schedule
    schedule_text: str
    catch_up: str
    provider: str
    model: str
    stores: tuple[str, ...]
    prompts: Callable[[], Sequence[str]]
    size: str | None = None
    n: int = 1
    priority: int = 0
    tags: tuple[str, ...] = ()


def plan_job(catalogue: Catalogue, job: Job, now: datetime, new_id: Callable[[], str]) -> list[str]:
    """Plan every due tick of one job. Returns the ids of the generations that this call planned."""
    first_seen = catalogue.generations.see_job(job.name, job.schedule_text, now)
    ticks = due(
        job.schedule,
        first_seen=first_seen,
        last=catalogue.generations.last_tick(job.name),
        now=now,
        catch_up=job.catch_up,
    )
    planned: list[str] = []
    for tick in ticks:
        drafts = [
            Draft(
                id=new_id(),
                origin="job",
                job=job.name,
                position=position,
                prompt=prompt,
                provider=job.provider,
                model=job.model,
                size=job.size,
                n=job.n,
                stores=job.stores,
                priority=job.priority,
                tags=job.tags,
            )
            for position, prompt in enumerate(job.prompts())
        ]
        if catalogue.generations.plan(job.name, tick, drafts, now):
            planned += [draft.id for draft in drafts]
    return planned
