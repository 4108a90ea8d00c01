"""A prompt with words in braces, and all prompts that it stands for.

`{date}` is the tick's date where the job lives (`{date:%Y-%m}` in another form), `{n}` the number of the tick, from 1,
and `{name}` each value of the list `name` in turn. A prompt stands for the product of the lists that it names; the list
named first changes slowest, the last one fastest, and a list named twice has the same value at both places. `{{` and
`}}` are braces. Values are put in as they are: braces in them mean nothing.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from archiver.core.model import Wish
from archiver.core.nearest import did_you_mean

#: What a list must not be called.
WORDS = ("date", "n")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DIRECTIVES = "YmdHMyjGVuaAbB%"
_DATE = "%Y-%m-%d"


def is_name(text: str) -> bool:
    """Whether a list may be called so: a word of letters (of any script), digits and `_`."""
    return text.isidentifier() and text not in WORDS


@dataclass(frozen=True, slots=True)
class _Word:
    """A word in braces; `form` is for dates."""

    name: str
    form: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """One wish whose prompt may stand for many. `names` are the lists it names, in the order of their first place."""

    wish: Wish
    pieces: tuple[str | _Word, ...]
    names: tuple[str, ...]
    count: int

    def fill(self, index: int, lists: Mapping[str, Sequence[str]], local: datetime, number: int) -> Wish:
        """The wish at `index` of its product. `local` is the tick in the job's zone, `number` counts ticks from 0."""
        values = {"n": str(number + 1)}
        for name in reversed(self.names):
            index, place = divmod(index, len(lists[name]))
            values[name] = lists[name][place]

        def shown(piece: str | _Word) -> str:
            if isinstance(piece, str):
                return piece
            return _shown(local, piece.form) if piece.name == "date" else values[piece.name]

        return replace(self.wish, prompt="".join(map(shown, self.pieces)))


def plain(wish: Wish) -> Template:
    """A wish whose prompt is meant as it is, braces and all."""
    return Template(wish=wish, pieces=(wish.prompt,), names=(), count=1)


def parse(wish: Wish, lists: Mapping[str, Sequence[str]]) -> Template:
    """Understand the braces in a prompt. Raises ValueError for an unknown word, and for a brace that stands alone."""
    pieces: list[str | _Word] = []
    end = 0
    for match in _PIECE.finditer(wish.prompt):
        pieces.append(wish.prompt[end : match.start()])
        end = match.end()
        if match[0] in ("{{", "}}"):
            pieces.append(match[0][0])
        elif match[1] is None:
            raise ValueError(f"a {match[0]} stands alone; write {match[0] * 2} for a brace")
        else:
            pieces.append(_word(match[1], lists))
    pieces.append(wish.prompt[end:])
    named = [piece.name for piece in pieces if isinstance(piece, _Word) and piece.name not in WORDS]
    names = tuple(dict.fromkeys(named))
    return Template(
        wish=wish,
        pieces=tuple(piece for piece in pieces if piece),
        names=names,
        count=math.prod(len(lists[name]) for name in names),
    )


def _word(text: str, lists: Mapping[str, Sequence[str]]) -> _Word:
    name, colon, form = text.partition(":")
    if name not in WORDS and name not in lists:
        raise ValueError(f'unknown word "{{{name}}}"{did_you_mean(name, [*WORDS, *lists])}')
    if colon and name != "date":
        raise ValueError(f'"{{{name}}}" takes nothing behind a colon; only {{date:%Y-%m}} does')
    wrong = next((sign for sign in re.findall(r"%(.?)", form) if not sign or sign not in _DIRECTIVES), None)
    if wrong is not None:
        raise ValueError(f'"%{wrong}" is no part of a date; there are {" ".join(f"%{sign}" for sign in _DIRECTIVES)}')
    return _Word(name, (form or _DATE) if name == "date" else "")


def _shown(local: datetime, form: str) -> str:
    """A date in a form. What is between its parts is not given to the C library, which may not take Chinese."""
    return re.sub(r"%.", lambda match: local.strftime(match[0]), form)
