"""What the values of more than one table may be: names, paths, zones, counts, sizes.

Each type says in its error what to write instead. It refuses to know any table.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from archiver.schedule import find_zone

_SIZE = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "KI": 1024, "MI": 1024**2, "GI": 1024**3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What one table must know of the others: the file's folder, the user's home, and all names that exist."""

    folder: Path
    home: Path | None
    providers: frozenset[str]
    stores: frozenset[str]


def absolute(text: str, around: Surroundings) -> Path:
    """A path of the configuration: relative to the file's folder; `~/` is the user's home. Raises ValueError."""
    if not text.strip() or "\0" in text:
        raise ValueError("is no path")
    if text == "~" or text.startswith("~/"):
        if around.home is None:
            raise ValueError("~ means nothing here: HOME is not set")
        return around.home / text[2:]
    return around.folder / text


def _absolute(value: object, info: ValidationInfo) -> object:
    return absolute(value, info.context) if isinstance(value, str) and info.context else value


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,64}", text):
        raise ValueError("a name has only a-z, 0-9 and -, at most 64 of them")
    return text


def _zone(name: str) -> str:
    return find_zone(name).key


def parse_bytes(value: object) -> object:
    """Turn `"100MB"` into a number of bytes; what is no text stays. Raises ValueError with what to write instead."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMG]I?|)B", value.strip().upper())
    if match is None:
        raise ValueError('is no size; write a number with B, KB, MB, GB, KiB, MiB or GiB, for example "100MB"')
    return int(float(match[1]) * _SIZE[match[2]])


AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
# Without `strict`, pydantic would read "3" and true as numbers.
Count = Annotated[int, Field(strict=True)]
#: Bytes, written as a number or as "100MB".
Bytes = Annotated[Count, BeforeValidator(parse_bytes)]
