"""The table `[[jobs]]`: what is asked for, when, of whom, and into which stores.

It refuses to read prompts: a file may change between ticks. `job_wishes` does.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from archiver.config.budget_section import Budgeted
from archiver.config.values import AbsolutePath, Count, Name, Zone, absolute
from archiver.core.nearest import did_you_mean
from archiver.prompts import COUNTS, WORDS, Pick, flaw, is_name, is_size
from archiver.schedule import Schedule, parse
from archiver.settings import Duration


def _prompt(text: str) -> str:
    if wrong := flaw(text):
        raise ValueError(wrong)
    return text


def _list_name(text: str) -> str:
    if not is_name(text):
        taken = f" and is neither {' nor '.join(WORDS)}" if text in WORDS else ""
        raise ValueError(f"the name of a list has letters, digits and _, begins with a letter{taken}")
    return text


def _list(value: object, info: ValidationInfo) -> object:
    """The values themselves, or the file that holds them."""
    if isinstance(value, str) and value.startswith("file:"):
        return absolute(value.removeprefix("file:"), info.context) if info.context else Path(value)
    if isinstance(value, Path | tuple):  # a section that was made before
        return value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('should be a list of texts: ["cat", "fox"], or "file:animals.txt"')
    if not value or any(flaw(item) for item in value):
        raise ValueError("holds an empty text" if value else "is empty")
    return tuple(value)


def _input(text: str, info: ValidationInfo) -> str:
    """A file, beside the configuration or absolute, or an archived image."""
    return text if text.startswith("image:") or not info.context else str(absolute(text, info.context))


ListName = Annotated[str, AfterValidator(_list_name)]
NamedList = Annotated[tuple[str, ...] | Path, BeforeValidator(_list)]


class Job(Budgeted):
    """`[[jobs]]`: a schedule with prompts and a provider. Loading fills in `zone` and `stores` where they are left out.

    The zone comes before the schedule: it is needed to understand it.
    """

    name: Name
    zone: Zone
    schedule: str
    provider: str
    stores: tuple[str, ...] = Field(default=(), validate_default=True)
    prompts: Annotated[tuple[Annotated[str, AfterValidator(_prompt)], ...], Field(min_length=1)] | None = None
    prompts_file: AbsolutePath | None = None
    template: Annotated[bool, Field(strict=True)] = False
    lists: dict[ListName, NamedList] = Field(default_factory=dict)
    pick: Pick = "all"
    pick_count: Annotated[Count, Field(ge=1)] = 1
    most_prompts: Annotated[Count, Field(ge=1)] = 100
    size: str | None = None
    n: Annotated[Count, Field(ge=COUNTS[0], le=COUNTS[-1])] = 1
    enabled: Annotated[bool, Field(strict=True)] = True
    catch_up: Literal["once", "all", "skip"] = "once"
    priority: Count = 0
    tags: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    inputs: tuple[Annotated[str, AfterValidator(_input)], ...] = ()
    reuse: Annotated[Duration, Field(ge=timedelta(seconds=1))] | None = None

    @property
    def when(self) -> Schedule:
        """The schedule, understood."""
        return parse(self.schedule, self.zone)

    @property
    def is_template(self) -> bool:
        """Whether braces in its prompts mean something: only who asks for it gets it, prompts may be JSON."""
        return self.template or bool(self.lists)

    @field_validator("schedule")
    @classmethod
    def _understood(cls, schedule: str, info: ValidationInfo) -> str:
        parse(schedule, info.data.get("zone", "UTC"))
        return schedule

    @field_validator("provider")
    @classmethod
    def _configured_provider(cls, provider: str, info: ValidationInfo) -> str:
        if info.context and provider not in info.context.providers:
            raise ValueError(f'unknown provider "{provider}"{did_you_mean(provider, sorted(info.context.providers))}')
        return provider

    @field_validator("stores")
    @classmethod
    def _configured_stores(cls, stores: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = sorted(info.context.stores) if info.context else sorted(stores)
        if not stores:
            choice = f"one or more of: {', '.join(known)}" if known else "a store, after configuring [stores.NAME]"
            raise ValueError(f"names no store; write stores = [...] with {choice}")
        for store in stores:
            if store not in known:
                raise ValueError(f'unknown store "{store}"{did_you_mean(store, known)}')
        if len(set(stores)) < len(stores):
            raise ValueError("names a store twice")
        return stores

    @field_validator("size")
    @classmethod
    def _picture_size(cls, size: str | None) -> str | None:
        if size is not None and not is_size(size):
            raise ValueError('is no size; write "2048x2048", or a word of the provider such as "2K" or "auto"')
        return size

    @model_validator(mode="after")
    def _one_source_of_prompts(self) -> "Job":
        if (self.prompts is None) == (self.prompts_file is None):
            raise ValueError("write either prompts = [...] or prompts_file, exactly one of the two")
        return self

    @model_validator(mode="after")
    def _whole_thoughts(self) -> "Job":
        if self.lists and "template" in self.model_fields_set and not self.template:
            raise ValueError("lists are for templates, which template = false switches off; leave one of them out")
        if self.pick == "all" and self.pick_count > 1:
            raise ValueError('pick_count goes with pick = "next" or pick = "random"')
        return self
