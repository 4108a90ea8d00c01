"""What a job is, and planning the ticks of one that are due.

The same code serves the daemon and `run --once`; both may run at once, and the catalogue lets only one of them claim a
tick. Nothing here asks a provider.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from archiver.catalogue import Catalogue, Draft, InputRow
from archiver.core.errors import UsageError
from archiver.core.model import Json, Wish
from archiver.pipeline.gathering import describe_input
from archiver.schedule import Schedule, due


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A schedule with prompts and a provider. `wishes` is asked when a tick is planned (a file may have changed), with
    the tick's due time and its number among the job's ticks, from 0. `settings` and `reuse` as in `Draft`."""

    name: str
    schedule: Schedule
    schedule_text: str
    catch_up: str
    provider: str
    model: str
    stores: tuple[str, ...]
    wishes: Callable[[datetime, int], Sequence[Wish]]
    size: str | None = None
    n: int = 1
    priority: int = 0
    tags: tuple[str, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    reuse: timedelta | None = None


def plan_job(catalogue: Catalogue, job: Job, now: datetime, new_id: Callable[[], str]) -> list[str]:
    """Plan every due tick of one job. Returns the ids of the generations that this call planned."""
    first_seen = catalogue.ticks.see_job(job.name, job.schedule_text, now)
    ticks = due(
        job.schedule,
        first_seen=first_seen,
        last=catalogue.ticks.last(job.name),
        now=now,
        catch_up=job.catch_up,
    )
    made = catalogue.ticks.count(job.name)
    planned: list[str] = []
    for number, tick in enumerate(ticks):
        drafts = [
            Draft(
                id=new_id(),
                origin="job",
                job=job.name,
                position=position,
                prompt=wish.prompt,
                provider=job.provider,
                model=job.model,
                size=wish.size or job.size,
                n=wish.n or job.n,
                stores=job.stores,
                priority=job.priority,
                tags=tuple(dict.fromkeys((*job.tags, *wish.tags))),
                parameters={**job.parameters, **wish.parameters},
                inputs=inputs_of(catalogue, wish.inputs or job.inputs),
                settings=job.settings,
                reuse=job.reuse,
            )
            for position, wish in enumerate(job.wishes(tick, made + number))
        ]
        if catalogue.ticks.plan(job.name, tick, drafts, now):
            planned += [draft.id for draft in drafts]
    return planned


def inputs_of(catalogue: Catalogue, references: Sequence[str]) -> tuple[InputRow, ...]:
    """Input images as they are to be planned: files, and archived images as `image:ID`. Raises UsageError when one
    cannot be had."""
    found: list[InputRow] = []
    for reference in references:
        kind, colon, image_id = reference.partition(":")
        if kind != "image" or not colon:
            try:
                found.append(describe_input(Path(reference)))
            except ValueError as error:
                raise UsageError(str(error)) from None
            continue
        known = catalogue.materials.whereabouts(image_id)
        if known is None:
            raise UsageError(f"there is no archived image {image_id!r}; `archiver images` lists them")
        found.append(InputRow(sha256=known.sha256, content_type=known.content_type, image_id=image_id))
    return tuple(found)
