"""JSON documents of any size: one value, many behind each other, or one that is too large to be held.

A value of at most `LONGEST` characters comes whole. A larger one is gone through: its members come one by one, with
the names that lead to them and the plain values that stood before them. Where it is no JSON any more, the rest comes
as text, so that nothing in it is lost.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from archiver.core.model import Json
from archiver.lines import Broken, Rest

LONGEST = 8 * 1024 * 1024
"""Characters of one value that is parsed as a whole."""
DEEPEST = 40
_SPACE = " \t\r\n\ufeff"
_decode = json.JSONDecoder(strict=False).raw_decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A value and the line where it begins. `text` is what it was read from. `around` are the plain values of the
    objects around it. `path` leads to it, without the numbers of lists; parts of one list have one path."""

    number: int
    value: Json
    text: str = field(repr=False)
    path: tuple[str, ...] = ()
    around: Mapping[str, Json] = field(default_factory=dict)


def read(pieces: Iterable[str]) -> Iterator[Part | Rest | Broken]:
    """The parts of a document."""
    window = _Window(iter(pieces))
    try:
        while window.skip():
            yield from _value(window, (), {}, 0)
    except ValueError as error:
        yield Broken(number=window.number, reason=f"no JSON: {error}; searched for URLs as plain text")
        yield from window.rest()


class _Window:
    """The part of a text that is held: from `at` on nothing has been used yet."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self.text = ""
        self.at = 0
        self.number = 1
        self.is_whole = False
        self.taken = ""

    def more(self) -> bool:
        """Hold twice as much as before. False when there is no more."""
        if self.is_whole:
            return False
        kept = [self.text[self.at :]]
        size = wanted = len(kept[0])
        wanted = max(wanted * 2, 64 * 1024)
        while size < wanted and (piece := next(self._pieces, "")):
            kept.append(piece)
            size += len(piece)
        self.is_whole = size < wanted
        self.text, self.at = "".join(kept), 0
        return len(kept) > 1

    def use(self, end: int) -> str:
        """Go on to `end`; what lies before it."""
        used = self.text[self.at : end]
        self.number += used.count("\n")
        self.at = end
        return used

    def skip(self) -> str:
        """The next sign that is no space, unused; empty at the end."""
        while True:
            at = self.at
            while at < len(self.text) and self.text[at] in _SPACE:
                at += 1
            self.use(at)
            if at < len(self.text):
                return self.text[at]
            if not self.more():
                return ""

    def take(self) -> Json:
        """The value at `at`, whole. Raises ValueError when it is none or too large; then nothing was used."""
        while True:
            try:
                value: Json
                value, end = _decode(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if len(self.text) - self.at >= LONGEST or not self.more():
                    raise ValueError(getattr(error, "msg", "nested too deeply")) from error
                continue
            # A number goes on, perhaps, where the window ends.
            if end < len(self.text) or self.is_whole or not self.more():
                self.taken = self.text[self.at : end]
                self.use(end)
                return value

    def expect(self, signs: str) -> str:
        """Use the next sign, one of these."""
        sign = self.skip()
        if not sign or sign not in signs:
            raise ValueError("cut short" if not sign else f"{' or '.join(signs)} is missing")
        self.use(self.at + 1)
        return sign

    def rest(self) -> Iterator[Rest]:
        """Everything that was not used, in lines or long pieces."""
        while self.at < len(self.text) or self.more():
            end = self.text.rfind("\n", self.at) + 1 or len(self.text)
            number = self.number
            yield Rest(number=number, text=self.use(max(end, self.at + 1)))


def _value(
    window: _Window, path: tuple[str, ...], around: Mapping[str, Json], depth: int
) -> Iterator[Part | Rest | Broken]:
    window.skip()
    number = window.number
    try:
        value = window.take()
    except ValueError:  # too large, or wrong somewhere inside: what stands before that place is good
        if depth >= DEEPEST or window.skip() not in ("{", "["):
            raise
    else:
        yield Part(number=number, value=value, text=window.taken, path=path, around=around)
        return
    if window.expect("{[") == "[":
        yield from _items(window, path, around, depth)
    else:
        yield from _members(window, path, dict(around), depth)


def _items(
    window: _Window, path: tuple[str, ...], around: Mapping[str, Json], depth: int
) -> Iterator[Part | Rest | Broken]:
    if window.skip() == "]":
        window.expect("]")
        return
    while True:
        yield from _value(window, path, around, depth + 1)
        if window.expect(",]") == "]":
            return


def _members(
    window: _Window, path: tuple[str, ...], around: dict[str, Json], depth: int
) -> Iterator[Part | Rest | Broken]:
    if window.skip() == "}":
        window.expect("}")
        return
    while True:
        window.skip()
        name = str(window.take())
        window.expect(":")
        for part in _value(window, (*path, name), around, depth + 1):
            if isinstance(part, Part) and part.path == (*path, name) and not isinstance(part.value, dict | list):
                around[name] = part.value
            yield part
        if window.expect(",}") == "}":
            return
