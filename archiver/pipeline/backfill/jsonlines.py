"""JSON lines: one object a line. Empty lines are passed over."""

import json
from collections.abc import Iterable, Iterator

from archiver.core.model import Json
from archiver.pipeline.backfill.lines import Broken, Line


def read(text: Iterable[str]) -> Iterator[Line | Broken]:
    """The lines of a JSONL file."""
    for number, raw in enumerate(text, start=1):
        line = raw.strip().lstrip("\ufeff")
        if not line:
            continue
        try:
            values = _parse(line)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
            yield Broken(number=number, reason=f"no JSON: {reason}")
            continue
        if isinstance(values, dict):
            yield Line(number=number, values=values)
        else:
            yield Broken(number=number, reason="not a JSON object")


def _parse(line: str) -> Json:
    """The value of a line. Half of a surrogate pair (an emoji that was cut) becomes `?`; NaN and 1e400 are refused."""
    values: Json = json.loads(line)
    try:
        plain = json.dumps(values, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError("a number without an end, or NaN") from error
    return values if plain.isascii() else json.loads(plain.encode("utf-8", "replace"))
