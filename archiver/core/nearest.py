"""What a person probably meant by a word that nobody knows. It only words the hint; it never puts the word right."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a complaint about an unknown word: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(word.lower(), names, n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known here: {', '.join(names)}" if names else ""
