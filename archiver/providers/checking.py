"""Remarks on a request before it is paid for, shared by adapters: what a model cannot do, and what contradicts itself.

An error is what the provider would refuse for sure; everything that it may take after all is a warning. Pure: nobody is
asked, and nothing is read.
"""

from collections.abc import Callable, Iterable, Mapping

from archiver.core.errors import Permanent
from archiver.core.known_models import KnownModel, find_model
from archiver.core.model import Ask, Json
from archiver.core.news import Remark


def remarks_on(ask: Ask, sent: Mapping[str, Json] | None = None) -> tuple[Remark, ...]:
    """What is wrong or odd with a request. `sent` are the parameters as they would be sent, those of the provider's
    section included; without it, the ask's own."""
    parameters = dict(ask.parameters if sent is None else sent)
    found = [*_missing(ask), *_contradictions(ask)]
    known = find_model(ask.model)
    if known is None:
        text = f'the model "{ask.model}" is not known here: what it can do is not checked'
        found.append(Remark(level="warning", text=text, about="model"))
    else:
        found += _beyond(ask, parameters, known)
    return tuple(found)


def refuse(name: str, remarks: Iterable[Remark]) -> None:
    """Raise Permanent when one of the remarks is an error: nothing is sent."""
    errors = [remark.text for remark in remarks if remark.level == "error"]
    if errors:
        raise Permanent(f"{name}: not asked: {'; '.join(errors)}")


def unbuildable(build: Callable[[], object]) -> tuple[Remark, ...]:
    """Why an adapter cannot build a request at all: the Permanent that `build` raises, as a remark."""
    try:
        build()
    except Permanent as error:
        return (_error(str(error)),)
    return ()


def _missing(ask: Ask) -> list[Remark]:
    found = [] if ask.prompt.strip() else [_error("the prompt is empty")]
    found += [] if ask.model.strip() else [_error("no model is named")]
    return found + ([] if ask.n >= 1 else [_error("n must be 1 or more")])


def _contradictions(ask: Ask) -> list[Remark]:
    """What stands twice, and differs: one of the two would be passed over in silence."""
    said: dict[str, Json] = {"prompt": ask.prompt, "model": ask.model, "n": ask.n, "size": ask.size}
    return [
        _error(f"{name} is {value!r}, and {ask.parameters[name]!r} among the parameters: leave one of them out")
        for name, value in said.items()
        if name in ask.parameters and value is not None and ask.parameters[name] != value
    ]


def _beyond(ask: Ask, parameters: Mapping[str, Json], known: KnownModel) -> list[Remark]:
    found = []
    if ask.n > known.most:
        images = "one image" if known.most == 1 else f"{known.most} images"
        found.append(_error(f"{ask.model} makes at most {images} a request, not {ask.n}"))
    if known.most_inputs is not None and len(ask.inputs) > known.most_inputs:
        takes = f"at most {known.most_inputs} images" if known.most_inputs else "no images"
        found.append(_error(f"{ask.model} takes {takes} as input, not {len(ask.inputs)}"))
    for name in sorted(known.refuses & parameters.keys()):
        hint = ' (write response_format = "omit")' if name == "response_format" else ""
        found.append(_error(f"{ask.model} refuses the parameter {name}{hint}"))
    size = ask.size or parameters.get("size")
    if isinstance(size, str) and not known.makes(size):
        found.append(_warning(f"{ask.model} is not known to make the size {size}"))
    quality = parameters.get("quality")
    if known.qualities is not None and isinstance(quality, str) and quality.lower() not in known.qualities:
        words = ", ".join(sorted(known.qualities))
        found.append(_warning(f'{ask.model} is not known to have the quality "{quality}"; known are {words}'))
    return found


def _error(text: str) -> Remark:
    return Remark(level="error", text=text)


def _warning(text: str) -> Remark:
    return Remark(level="warning", text=text)
