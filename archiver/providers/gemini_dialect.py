"""Google's own dialect, for every adapter that speaks it: what a request says, and what an answer does.

Pure functions between our words and Google's. Of several images in one candidate the last one is the result, the others
led to it. It refuses to hand back what only the model may say: an image in its name needs its signature, so it goes
back in the user's.
"""

import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace

from archiver.core.errors import Permanent
from archiver.core.model import Ask, Completed, Input, Json, Output
from archiver.providers import answers
from archiver.providers.extract import extract
from archiver.providers.facts import facts

RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8", "8:1")
"""That the models of the series know; not every model knows all."""
SIZES: Mapping[str, int] = {"1K": 1024, "2K": 2048, "4K": 4096}
"""The side of a square of each class. Other ratios have about as many pixels."""
_NEAR = 0.05
"""How far the shape may be from a known one, as a share of it."""
_NEARLY = 0.9
"""A class is large enough when its side is so much of what was asked for: 2752x1536 is 2K."""
_AT_THE_TOP = frozenset({"tools", "toolConfig", "safetySettings", "systemInstruction", "cachedContent", "labels"})
_CAMEL = {"aspect_ratio": "aspectRatio", "image_size": "imageSize"}
_FINE = frozenset({"STOP", "FINISH_REASON_UNSPECIFIED"})


def wanted(
    ask: Ask, parameters: Mapping[str, Json], *, aspect_ratio: str | None = None, image_size: str | None = None
) -> tuple[dict[str, Json], str | None]:
    """The body of a request, and the class of its size. `parameters`, and the shape and size that hold where the ask
    says nothing, are those of a section. Raises Permanent for a size that has no meaning here."""
    said: dict[str, Json] = {**parameters, **ask.parameters}
    image: dict[str, Json] = {"aspectRatio": aspect_ratio, "imageSize": image_size}
    image |= _image_config(ask.size)
    for name in ("aspectRatio", "aspect_ratio", "imageSize", "image_size"):
        if name in said:
            image[_CAMEL.get(name, name)] = said.pop(name)
    image = {name: value for name, value in image.items() if value is not None}
    config: dict[str, Json] = {"responseModalities": ["IMAGE"]}
    if ask.n > 1:
        config["candidateCount"] = ask.n
    given = said.pop("generationConfig", None)
    config |= given if isinstance(given, dict) else {}
    config |= {name: value for name, value in said.items() if name not in _AT_THE_TOP}
    if image:
        own = config.get("imageConfig")
        config["imageConfig"] = {**(own if isinstance(own, dict) else {}), **image}
    top = {name: value for name, value in said.items() if name in _AT_THE_TOP}
    size = image.get("imageSize")
    return {**top, "contents": _contents(ask), "generationConfig": config}, size if isinstance(size, str) else None


def understood(document: Mapping[str, object], complaint: str, request_id: str | None) -> Completed:
    """What an answer says. `complaint` is what it says as an error, `request_id` how its headers name the request.
    Raises Permanent when it has no image."""
    candidates = document.get("candidates")
    candidates = [each for each in candidates if isinstance(each, Mapping)] if isinstance(candidates, list) else []
    reasons = _reasons(document, candidates)
    outputs: list[Output] = []
    words: list[str] = []
    for candidate in candidates:
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, Mapping) else None
        # What a candidate that was stopped says is a page to read about it, and not the image.
        found = extract(parts, guess=not reasons)
        outputs += _drafted(found.outputs, len(outputs))
        words.append(found.words)
    said = "\n\n".join(filter(None, words))
    if outputs:
        response_id = _field(document, "responseId")
        return Completed(
            outputs=tuple(outputs),
            request_id=request_id or (answers.clean(response_id) if isinstance(response_id, str) else None),
            reply=said or None,
            facts=facts(document),
        )
    reasons += [complaint, answers.clean(said)]
    raise Permanent(
        f"answered without images: {'; '.join(filter(None, reasons)) or 'no parts'} (charged all the same, perhaps)"
    )


def _image_config(size: str | None) -> dict[str, Json]:
    """What a size means here. Raises Permanent with what to write instead."""
    word = (size or "auto").strip().upper()
    if word == "AUTO":
        return {}
    if word in SIZES:
        return {"imageSize": word}
    if word in RATIOS:
        return {"aspectRatio": word}
    sides = re.fullmatch(r"([1-9][0-9]{0,4})X([1-9][0-9]{0,4})", word)
    if sides is None:
        raise Permanent(f"size {answers.clean(size or '')} has no meaning here; write {_CHOICE}")
    width, height = int(sides[1]), int(sides[2])
    nearest = min(RATIOS, key=lambda ratio: abs(math.log(_shape(ratio) * height / width)))
    if abs(_shape(nearest) * height / width - 1) > _NEAR:
        raise Permanent(f"size {width}x{height} has a shape that these models do not draw; write {_CHOICE}")
    side = math.sqrt(width * height)
    large_enough = [name for name, own in SIZES.items() if own >= side * _NEARLY]
    if not large_enough:
        raise Permanent(f"size {width}x{height} is larger than 4K; write {_CHOICE}")
    # 1K is what every model does unasked, and the first of the series refuses the word.
    chosen: dict[str, Json] = {} if large_enough[0] == "1K" else {"imageSize": large_enough[0]}
    return {"aspectRatio": nearest, **chosen}


_CHOICE = f'"1K", "2K" or "4K", a ratio ({", ".join(RATIOS)}), or WIDTHxHEIGHT of such a ratio, for example "2048x2048"'


def _shape(ratio: str) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)


def _contents(ask: Ask) -> list[Json]:
    """The dialogue so far and the prompt. An image in the model's name is refused without the signature that came with
    it ("Image part is missing a thought_signature"), so what it drew goes back with the next words of the user."""
    contents: list[Json] = []
    drawn: tuple[Input, ...] = ()
    for turn in ask.turns:
        contents.append(_user(turn.prompt, turn.inputs + drawn))
        drawn = turn.images
        said = turn.reply or " ".join(f"[image {number}]" for number, _ in enumerate(drawn, 1))
        if said:
            contents.append({"role": "model", "parts": [{"text": said}]})
    return [*contents, _user(ask.prompt, ask.inputs + drawn)]


def _user(words: str, images: tuple[Input, ...]) -> Json:
    parts: list[Json] = [{"text": words}]
    for image in images:
        data = b64encode(image.data).decode("ascii")
        parts.append({"inlineData": {"mimeType": image.content_type, "data": data}})
    return {"role": "user", "parts": parts}


def _drafted(outputs: tuple[Output, ...], first: int) -> list[Output]:
    """The images of one candidate, counted from `first`: all but the last one led to it."""
    finals = [output.index for output in outputs if output.role == "final"]
    return [
        replace(output, index=first + output.index, role="draft" if output.index in finals[:-1] else output.role)
        for output in outputs
    ]


def _reasons(document: Mapping[str, object], candidates: list[Mapping[str, object]]) -> list[str]:
    """Why there is less than was asked for, as the provider names it."""
    feedback = _field(document, "promptFeedback")
    found = [_field(feedback, "blockReason"), _field(feedback, "blockReasonMessage")]
    for candidate in candidates:
        reason = _field(candidate, "finishReason")
        found += [reason if reason not in _FINE else None, _field(candidate, "finishMessage")]
    return [answers.clean(reason) for reason in found if isinstance(reason, str) and reason]


def _field(source: object, name: str) -> object:
    """A field by its name in camelCase or in snake_case; both are met."""
    if not isinstance(source, Mapping):
        return None
    return source.get(name, source.get(re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)))
