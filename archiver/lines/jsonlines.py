"""JSON lines: one object a line. Empty lines are passed over."""

import json
from collections.abc import Iterable, Iterator

from archiver.core.model import Json
from archiver.lines import Broken, Line


def read(
    text: Iterable[str], *, bare: str | None = None, lists: str | None = None, mends: bool = True
) -> Iterator[Line | Broken]:
    """The lines of a JSONL file. A line that is only text is the column `bare`, when one is named, and one that is a
    list of objects the column `lists`. Half of a surrogate pair (an emoji that was cut) becomes `?` if `mends`, else
    the line is broken."""
    for number, raw in enumerate(text, start=1):
        line = raw.strip().lstrip("\ufeff")
        if not line:
            continue
        try:
            values = _parse(line, mends)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
            yield Broken(number=number, reason=f"no JSON: {reason}")
            continue
        if isinstance(values, str) and bare is not None:
            values = {bare: values}
        if isinstance(values, list) and values and lists is not None and all(isinstance(item, dict) for item in values):
            values = {lists: values}
        if isinstance(values, dict):
            yield Line(number=number, values=values)
        else:
            yield Broken(number=number, reason="not a JSON object")


def _parse(line: str, mends: bool) -> Json:
    """The value of a line. NaN and 1e400 are refused."""
    values: Json = json.loads(line)
    try:
        plain = json.dumps(values, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError("a number without an end, or NaN") from error
    try:
        plain.encode()
    except UnicodeEncodeError as error:
        if not mends:
            raise ValueError("half of a surrogate pair, which is no character") from error
        values = json.loads(plain.encode("utf-8", "replace"))
    return values
