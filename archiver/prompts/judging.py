"""What a prompt and its companions may be: errors that stop, and remarks that only tell.

It judges the text alone. What a provider thinks of it costs money to find out.
"""

import json
import re
import unicodedata

from archiver.core.model import Json

#: How many images one request may ask for.
COUNTS = range(1, 11)
#: Weighed as English letters; a few words are the least that says something, and many models read no more.
SHORTEST, LONGEST = 10, 1000
#: A Chinese, Japanese or Korean character says about as much as three English letters ("猫" and "cat").
WIDE_WEIGHT = 3

_SIZE = re.compile(r"[1-9][0-9]*x[1-9][0-9]*|[0-9.]+[kK]|[0-9]+:[0-9]+|[A-Za-z][A-Za-z0-9_-]*")


def flaw(prompt: str) -> str | None:
    """Why a prompt cannot be asked for, None when it can."""
    if not prompt.strip():
        return "is an empty prompt"
    if "\0" in prompt:
        return "holds a NUL, which is no text"
    if any(0xD800 <= ord(sign) < 0xE000 for sign in prompt):
        return "is not UTF-8 text"
    return None


def remarks(prompt: str) -> tuple[str, ...]:
    """What is odd about a prompt that can be asked for: it is very short, or very long.

    The limits, 10 and 1000, are for English; a wide character counts as three.
    """
    text = prompt.strip()
    weight = sum(WIDE_WEIGHT if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)
    if weight < SHORTEST:
        return ("very short: the model will make up the rest",)
    if weight > LONGEST:
        return (f"very long ({len(text)} characters): the model may not read all of it",)
    return ()


def is_size(text: str) -> bool:
    """Whether this can be the size of a picture: `2048x2048`, or a word of a provider such as `2K` or `auto`."""
    return _SIZE.fullmatch(text) is not None


def typed(text: str) -> Json:
    """A value that was written as text: true, false, null, numbers, lists and objects as JSON has them, else the text.

    `"1024"` with the quotes is the text 1024; what JSON does not have (NaN, 1e400, half of a character) is text too.
    """
    try:
        value: Json = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return text
    return value
