r"""Files of prompts: text, CSV, TSV and JSON lines become wishes, each with its place in the file.

- text: one prompt a line, without the space around it. Empty lines, and lines that begin with `#`, are passed over. A
  prompt that begins with `#` is written `\#...`; one backslash in front of it is taken away.
- csv, tsv: the first line names the columns: prompt; optional size, n, tags, inputs (both separated by commas), and
  parameters (a JSON object). Every other column is a parameter in the provider's own words; true, false and numbers are
  taken as JSON has them. An empty field says nothing.
- jsonl: one object a line with prompt, size, n, tags, inputs, parameters, or only the prompt in quotes.

Input files are relative to the folder of the file that names them. An encoding other than UTF-8 is an error, never a
guess: half of a Chinese prompt that was read wrongly costs as much as a right one.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

from archiver.core.model import Json, Wish
from archiver.core.nearest import did_you_mean
from archiver.lines import Broken, Line, delimited, jsonlines
from archiver.prompts.judging import COUNTS, flaw, is_size, typed

KINDS = ("txt", "csv", "tsv", "jsonl")
COLUMNS = ("prompt", "size", "n", "tags", "inputs", "parameters")
MOST_TOLD = 10
_MARKS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_SAVE = "save the file as UTF-8 (in Excel: CSV UTF-8)"


class Entry(NamedTuple):
    """One prompt with its companions, and where it stands: `prompts.csv:3`."""

    where: str
    wish: Wish


def kind_of(name: str) -> str:
    """The kind of a file by the ending of its name; anything that is not known is text."""
    ending = PurePath(name).suffix.lower().removeprefix(".")
    return {"csv": "csv", "tsv": "tsv", "jsonl": "jsonl", "ndjson": "jsonl"}.get(ending, "txt")


def read(name: str, data: bytes, *, folder: PurePath, kind: str | None = None) -> tuple[Entry, ...]:
    """The prompts of a file in its order. `name` is how messages call it, `kind` is one of `KINDS` (default: by the
    name), `folder` is what input files are relative to.

    Raises ValueError that tells every wrong line (the first ten of them), or that there is no prompt at all.
    """
    kind = kind or kind_of(name)
    lines = _lines(_decode(name, data), kind)
    found: list[Entry] = []
    wrong: list[str] = []
    for line in lines:
        where = f"{name}:{line.number}"
        try:
            if isinstance(line, Broken):
                raise ValueError(line.reason)
            values = _spelt_out(line.values) if kind in ("csv", "tsv") else line.values
            found.append(Entry(where, _wish(values, folder)))
        except ValueError as error:
            wrong.append(f"{where}: {error}")
    if wrong:
        raise ValueError(told(wrong))
    if not found:
        raise ValueError(f"{name} holds no prompt")
    return tuple(found)


def told(wrong: Sequence[str]) -> str:
    """Many complaints as one text: the first ten, and how many more there are."""
    more = [f"and {len(wrong) - MOST_TOLD} more like these"] if len(wrong) > MOST_TOLD else []
    return "\n".join([*wrong[:MOST_TOLD], *more])


def _decode(name: str, data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            raise ValueError(f"{name} is {encoding}, not UTF-8 text; {_SAVE}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name}:{line}: not UTF-8 text; {_SAVE}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{name}:{line}: not UTF-8 text, it holds a NUL; {_SAVE}")
    return text


def _lines(text: str, kind: str) -> Iterator[Line | Broken]:
    lines = io.StringIO(text, newline=None)  # the ends of Windows' lines become ours, within quotes too
    if kind == "jsonl":
        return jsonlines.read(lines, bare="prompt", mends=False)
    if kind in ("csv", "tsv"):
        return delimited.read(lines, columns=_columns, delimiter="\t" if kind == "tsv" else ",")
    return _prompts(lines)


def _prompts(lines: io.StringIO) -> Iterator[Line]:
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if line and not line.startswith("#"):
            yield Line(number=number, values={"prompt": re.sub(r"^\\(?=\\*#)", "", line)})


def _columns(header: list[str]) -> list[str]:
    """Our own names in lower case; a parameter keeps its spelling, which the provider may insist on."""
    names = [name.lower() if name.lower() in COLUMNS else name for name in header]
    if "prompt" not in names:
        named = f"; it names {', '.join(names)}" if any(names) else ""
        raise ValueError(f"the first line must name the columns, and `prompt` among them{named[:200]}")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the first line names `{twice}` twice")
    return names


def _spelt_out(fields: Mapping[str, Json]) -> dict[str, Json]:
    """The text fields of a CSV line as a line of JSONL has them."""
    values: dict[str, Json] = {}
    parameters: dict[str, Json] = {}
    for name, field in fields.items():
        text = str(field)
        if not name:
            raise ValueError("a field stands under a column without a name")
        if name in ("tags", "inputs"):
            values[name] = [part.strip() for part in text.split(",") if part.strip()]
        elif name in ("n", "parameters"):
            values[name] = typed(text.strip())
        elif name in COLUMNS:
            values[name] = text
        else:
            parameters[name] = typed(text.strip())
    if parameters:
        given = values.get("parameters", {})
        values["parameters"] = {**given, **parameters} if isinstance(given, dict) else given
    return values


def _wish(values: Mapping[str, Json], folder: PurePath) -> Wish:
    """One line as a wish; null says nothing."""
    said = {name: value for name, value in values.items() if value is not None}
    unknown = next((name for name in said if name not in COLUMNS), None)
    if unknown is not None:
        raise ValueError(f'unknown "{unknown}"{did_you_mean(unknown, COLUMNS)}; a parameter belongs into "parameters"')
    if "prompt" not in said:
        raise ValueError("no prompt in this line")
    prompt, size, n = said["prompt"], said.get("size"), said.get("n")
    if not isinstance(prompt, str):
        raise ValueError("prompt is no text")
    if wrong := flaw(prompt):
        raise ValueError(wrong)
    if size is not None and not (isinstance(size, str) and is_size(size)):
        raise ValueError('size is none; write "2048x2048", or a word of the provider such as "2K" or "auto"')
    if n is not None and not (isinstance(n, int) and not isinstance(n, bool) and n in COUNTS):
        raise ValueError(f"n is not a whole number from {COUNTS[0]} to {COUNTS[-1]}")
    parameters = said.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ValueError('parameters is no JSON object such as {"quality": "high"}')
    return Wish(
        prompt=prompt,
        size=size,
        n=n,
        tags=_texts("tags", said.get("tags", [])),
        inputs=tuple(_input(text, folder) for text in _texts("inputs", said.get("inputs", []))),
        parameters=parameters,
    )


def _texts(name: str, value: Json) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f'{name} is no list of texts such as ["a", "b"]')
    texts = tuple(item for item in value if isinstance(item, str) and item.strip() and "\0" not in item)
    if len(texts) < len(value):
        raise ValueError(f"{name} holds something that is no text, or empty")
    return texts


def _input(text: str, folder: PurePath) -> str:
    """A file beside the one that names it, or an archived image."""
    return text if text.startswith("image:") else str(folder / text)
