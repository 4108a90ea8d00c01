"""What an answer says besides its images: usage, model, finish reasons, and whatever nobody here knows.

Kept with the generation, so that a question of next year can still be answered. It refuses to keep an image, a URL, a
long text or anything that looks like a credential: those have places of their own, or none.
"""

import json
import re
from collections.abc import Mapping

from archiver.core.model import Json
from archiver.core.redaction import names_a_secret

MOST_CHARACTERS = 16_000
"""Of all facts of one answer, as JSON."""
LONGEST_TEXT = 300
LEFT_OUT = "[left out]"
DEEPEST = 40
"""Levels. What is nested deeper would break the stack, and with it the reading of an answer that was paid."""

_URL = re.compile(r"(?i)\b(?:https?|data|file):")
#: Bytes that are no image, and of no use to anybody but the provider.
_NOISE = frozenset({"thoughtSignature", "thought_signature"})


def facts(document: Mapping[str, object]) -> dict[str, Json]:
    """The rest of an answer. When it is longer than `MOST_CHARACTERS`, only its plain values at the top."""
    kept = {str(name): _kept(str(name), value) for name, value in document.items() if name not in _NOISE}
    if len(json.dumps(kept)) <= MOST_CHARACTERS:
        return kept
    plain: dict[str, Json] = {name: value for name, value in kept.items() if not isinstance(value, dict | list)}
    return plain if len(json.dumps(plain)) <= MOST_CHARACTERS else {}


def _kept(name: str, value: object, depth: int = 0) -> Json:
    if depth > DEEPEST:
        return LEFT_OUT
    if isinstance(value, Mapping):
        return {str(key): _kept(str(key), item, depth + 1) for key, item in value.items() if key not in _NOISE}
    if isinstance(value, list):
        return [_kept(name, item, depth + 1) for item in value]
    if isinstance(value, str):
        is_long = len(value) > LONGEST_TEXT or _URL.search(value) is not None
        # JSON may hold half a surrogate pair, and no database can store one.
        return LEFT_OUT if is_long or names_a_secret(name) else value.encode("utf-8", "replace").decode()
    return value if value is None or isinstance(value, bool | int | float) else LEFT_OUT
