"""What is known of models, as data: how many images, which sizes and qualities, whether they take images.

A row stands here because its `source` says so, as of the day in it. It serves remarks before money is spent, and
refuses to be complete: of a model without a row nothing is claimed, and what a row does not say may be anything.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One family. `names` are patterns, lower case; the first row that fits a model holds.

    `most` images come of one request. `sizes` are the words and sizes that it takes; with `longest`, every WIDTHxHEIGHT
    up to it (pixels on one side), of sides that `multiple_of` divides, no side longer than `ratio` times the other.
    `most_inputs` is how many images go in (0: none). `refuses` are parameters that make it answer 400. `smallest` is
    the size of a cheap trial.
    """

    names: tuple[str, ...]
    source: str
    most: int = 10
    sizes: frozenset[str] | None = None
    longest: int | None = None
    multiple_of: int = 1
    ratio: float | None = None
    qualities: frozenset[str] | None = None
    most_inputs: int | None = None
    refuses: frozenset[str] = frozenset()
    smallest: str | None = None

    def makes(self, size: str) -> bool:
        """Whether the model can do a size, as far as is known. A shape (`16:9`) is no size."""
        word = size.strip().lower()
        if (self.sizes is None and self.longest is None) or ":" in word or word in (self.sizes or ()):
            return True
        sides = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", word)
        if sides is None or self.longest is None:
            return False
        short, long = sorted((int(sides[1]), int(sides[2])))
        is_even = not (short % self.multiple_of or long % self.multiple_of)
        return short > 0 and long <= self.longest and is_even and (self.ratio is None or long <= short * self.ratio)


_OPENAI = "OpenAI API reference, images, 2026-08"
_QUALITIES = frozenset({"auto", "low", "medium", "high"})

KNOWN: Sequence[KnownModel] = (
    KnownModel(
        names=("dall-e-3",),
        most=1,
        sizes=frozenset({"1024x1024", "1792x1024", "1024x1792"}),
        qualities=frozenset({"standard", "hd"}),
        most_inputs=0,
        smallest="1024x1024",
        source=_OPENAI,
    ),
    KnownModel(
        names=("dall-e-2",),
        sizes=frozenset({"256x256", "512x512", "1024x1024"}),
        qualities=frozenset({"standard"}),
        most_inputs=1,
        smallest="256x256",
        source=_OPENAI,
    ),
    KnownModel(
        names=("gpt-image-2", "gpt-image-2-20??-??-??"),
        sizes=frozenset({"auto"}),
        longest=3840,
        multiple_of=16,
        ratio=3.0,
        qualities=_QUALITIES,
        most_inputs=16,
        refuses=frozenset({"response_format"}),
        smallest="1024x1024",
        source=_OPENAI,
    ),
    KnownModel(
        names=("gpt-image-1", "gpt-image-1.5", "gpt-image-1-mini"),
        sizes=frozenset({"auto", "1024x1024", "1536x1024", "1024x1536"}),
        qualities=_QUALITIES,
        most_inputs=16,
        refuses=frozenset({"response_format"}),
        smallest="1024x1024",
        source=_OPENAI,
    ),
    KnownModel(names=("gpt-image-*",), smallest="1024x1024", source="docs.apiyi.com, 2026-08 (-all, -vip, -oss)"),
    KnownModel(
        names=("nano-banana", "gemini-2.5-flash-image*"),
        sizes=frozenset({"auto", "1k"}),
        longest=1536,
        source="docs.apiyi.com, 2026-08: the first generation refuses imageSize",
    ),
    KnownModel(
        names=("nano-banana*", "gemini-3*-image*"),
        sizes=frozenset({"auto", "512", "0.5k", "1k", "2k", "4k"}),
        longest=4096,
        smallest="1024x1024",
        source="docs.apiyi.com, 2026-08; Gemini API, image generation",
    ),
    KnownModel(names=("gpt-4o-image*", "sora_image*"), source="help.apiyi.com, the seed article on chat completions"),
    KnownModel(
        names=("wan*", "qwen-image*", "z-image*", "seedream*", "doubao-seedream*", "flux*", "*/flux*", "imagen*"),
        source="named in the providers' own pages, 2026-08",
    ),
)


def find_model(model: str) -> KnownModel | None:
    """What is known of a model, None when nothing is."""
    name = model.strip().lower().rpartition("/")[2] or model
    return next(
        (
            known
            for known in KNOWN
            if any(fnmatchcase(name, pattern) or fnmatchcase(model.lower(), pattern) for pattern in known.names)
        ),
        None,
    )
