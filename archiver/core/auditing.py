"""What a check of the archive may find, what that means, and which part of the archive one run reads.

Words are stable: scripts read them. Nothing here looks at a store or a catalogue: it decides about what was seen there.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from archiver.core.bucket_rules import BucketRule

WORDS: Mapping[str, str] = {
    "missing": "copies are not where the catalogue says",
    "altered": "copies hold other bytes than were archived",
    "unrecorded": "copies without their lineage record",
    "spool-missing": "images whose bytes are not in the spool any more",
    "spool-rotten": "images whose bytes in the spool have changed",
    "doomed": "rules of a bucket that will delete or move archived images",
    "unreadable": "stores or objects that could not be looked at: nothing is said of them",
    "foreign": "objects below the prefix that no row names",
    "spool-stray": "files in the spool that no row names",
}
#: What speaks against one copy of an image, and what `repair` can do something about.
OF_COPIES = ("missing", "altered")
OF_THE_SPOOL = ("spool-missing", "spool-rotten")
MENDED = (*OF_COPIES, *OF_THE_SPOOL, "unrecorded")
#: Below the prefix, and no images.
OWN_FOLDERS = ("_lineage/", "_catalogue/", "_canary/")
_SHORTEST_ID = 8
_ULID = 26
_ULID_RUN = re.compile(r"[0-9a-z]{27,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be. `key` is the object, the lineage record or the file at fault. `has_hope`:
    the image may be had again from elsewhere (its URL lives, or an object is there again)."""

    word: str
    store: str = ""
    image_id: str = ""
    key: str = ""
    detail: str = ""
    has_hope: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One of `of` parts of an archive: all parts together are the whole, and the same names are always in the same
    part."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3/52`. Raises ValueError."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"{text!r} is no part; write 1/52 for the first of 52")
        return cls(number=int(match[1]), of=int(match[2]))

    def holds(self, name: str) -> bool:
        """Whether what is called `name` is in this part."""
        return zlib.crc32(name.encode()) % self.of == self.number - 1


def own_folders(prefix: str) -> tuple[str, ...]:
    """Where a store keeps what is no image of anybody's."""
    start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    return tuple(start + folder for folder in OWN_FOLDERS)


def is_doomed_by(rule: BucketRule, prefix: str) -> bool:
    """Whether a rule will act on images or lineage records below `prefix`. Backups and the canary may have an end."""
    if any(rule.prefix.startswith(folder) for folder in own_folders(prefix)[1:]):
        return False
    return rule.prefix.startswith(prefix) or prefix.startswith(rule.prefix)


def rule_text(rule: BucketRule) -> str:
    """A rule as a sentence for people."""
    when = f"{rule.days} days after they were written" if rule.days is not None else "at some time"
    if rule.on is not None:
        when = f"on {rule.on:%Y-%m-%d}"
    what = {"delete": "deletes", "move": "moves away from instant access"}[rule.action]
    some = "some of the objects" if rule.narrowed else "objects"
    return f"the rule {rule.name!r} {what} {some} below {rule.prefix or 'the whole bucket'!r}, {when}"


def possible_ids(key: str) -> set[str]:
    """Every part of a key that may be the id of an image, however the key template surrounds it."""
    lowered = key.lower()
    found = {part for part in re.split(r"[^0-9a-z]+", lowered) if len(part) >= _SHORTEST_ID}
    for run in _ULID_RUN.findall(lowered):
        found |= {run[at : at + _ULID] for at in range(len(run) - _ULID + 1)}
    return found


def exit_code(counts: Mapping[str, int], hopeless: int) -> int:
    """What a check ends with: 4 when an image has no good copy anywhere, 3 when something could not be looked at, 1 for
    other findings."""
    if hopeless:
        return 4
    if counts.get("unreadable"):
        return 3
    return 1 if any(counts.values()) else 0


def exit_code_of_repair(fates: Mapping[tuple[str, str], int], hopeless: int) -> int:
    """What a repair ends with: the same, for what it could not mend. What it never touches (foreign, stray, doomed)
    does not count. `fates` are numbers by finding's word and by what became of it."""
    if hopeless:
        return 4
    if any(word == "unreadable" for word, _ in fates):
        return 3
    return 1 if any(word in MENDED and fate != "repaired" for word, fate in fates) else 0
