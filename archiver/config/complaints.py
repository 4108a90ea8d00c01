"""What is wrong with a configuration, in words: the key's path, what is expected, and the name that was probably meant.

Never the value that was found: it may be a secret at the wrong place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from archiver.config.sections import ProviderSection, StoreSection
from archiver.core.errors import ConfigurationError
from archiver.core.nearest import did_you_mean

Location = tuple[int | str, ...]
Model = TypeVar("Model", bound=BaseModel)

_EXPECTED = {
    "missing": "is missing",
    "string_type": "should be text in quotes",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "int_parsing": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "tuple_type": "should be a list: [...]",
    "list_type": "should be a list: [...]",
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "model_attributes_type": "should be a table",
}

_OF_ALL_KINDS = {"providers": tuple(ProviderSection.model_fields), "stores": tuple(StoreSection.model_fields)}


class Problem(NamedTuple):
    """One thing that is wrong: the dotted path of the key, and the sentence about it."""

    key: str
    message: str


def dotted(location: Location, prefix: str = "") -> str:
    """A location as people write it: `jobs.daily.prompts[1]`."""
    text = prefix
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step != "[key]":  # how pydantic marks that the key itself is wrong, not its value
            text += f".{step}" if text else step
    return text


def problems_of(
    error: ValidationError, model: type[BaseModel], name: Callable[[Location], str] = dotted, also: Iterable[str] = ()
) -> list[Problem]:
    """All that pydantic found. `name` turns a location into the dotted path; `also` are keys that the section may have
    besides those of `model`."""
    found: list[Problem] = []
    for detail in error.errors(include_url=False, include_input=False):
        location = detail["loc"]
        kind = detail["type"]
        if kind == "extra_forbidden":
            known = _known_keys(model, location[:-1]) + (list(also) if len(location) == 1 else [])
            message = f"unknown setting{did_you_mean(str(location[-1]), known)}"
        elif kind == "value_error":
            message = str(detail["ctx"]["error"])
        elif kind in ("string_too_short", "too_short") and detail["ctx"]["min_length"] == 1:
            message = "is empty"
        else:
            message = _EXPECTED.get(kind, detail["msg"].replace("Input should", "should"))
        found.append(Problem(name(location), message))
    return found


def refusal(problems: Sequence[Problem], file: Path | None = None) -> ConfigurationError:
    """One error that tells all problems."""
    where = f" (in {file})" if file else ""
    if len(problems) == 1:
        return ConfigurationError(problems[0].message + where, key=problems[0].key)
    lines = [f"  {key}: {message}" if key else f"  {message}" for key, message in problems]
    return ConfigurationError("\n".join([f"{len(problems)} errors{where}", *lines]))


def validate_section(model_class: type[Model], raw: Mapping[str, object], path: str, file: Path | None = None) -> Model:
    """The raw keys of an adapter's section as its `Settings`.

    `path` is the section, for example `providers.apiyi`; `file` is named in the message. Raises ConfigurationError with
    every wrong key.
    """
    try:
        return model_class.model_validate(dict(raw))
    except ValidationError as error:
        # What holds for all kinds was taken out before: it may be what was meant all the same.
        also = _OF_ALL_KINDS.get(path.partition(".")[0], ())
        problems = problems_of(error, model_class, lambda location: dotted(_as_written(location, raw), path), also)
    # Raised outside of `except`: the context would carry pydantic's own report, whose values may be secrets.
    raise refusal(problems, file)


def _as_written(location: Location, raw: object) -> Location:
    """A location without the places in lists that a person did not write: one of a kind may stand without brackets."""
    steps: list[int | str] = []
    for step in location:
        if isinstance(step, int):
            if not isinstance(raw, list | tuple):
                continue
            raw = raw[step]
        elif isinstance(raw, Mapping):
            raw = raw.get(step)
        steps.append(step)
    return tuple(steps)


def _known_keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys of the table at `location`; numbers and names of tables lead to no other model."""
    for step in location:
        field = model.model_fields.get(step) if isinstance(step, str) else None
        if field is not None:
            model = _model_in(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
