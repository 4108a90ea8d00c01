"""JSON lines: one object a line. Empty lines are passed over."""

import json
from collections.abc import Iterable, Iterator

from archiver.pipeline.backfill.lines import Broken, Line


def read(text: Iterable[str]) -> Iterator[Line | Broken]:
    """The lines of a JSONL file."""
    for number, raw in enumerate(text, start=1):
        line = raw.strip().lstrip("\ufeff")
        if not line:
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Broken(number=number, reason=f"no JSON: {getattr(error, 'msg', 'nested too deeply')}")
            continue
        if isinstance(values, dict):
            yield Line(number=number, values=values)
        else:
            yield Broken(number=number, reason="not a JSON object")
