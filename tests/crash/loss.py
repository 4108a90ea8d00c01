"""What a power loss may leave of a folder whose changes were recorded.

Sure is what was synced: the bytes of a file by a sync of that file, the names in a folder by a sync of that folder.
Everything else may have arrived or not, in pieces as small as a sector and in any order. It models no disk that lies
about a sync, and no bytes of other files in the place of what did not arrive: what a file system of today leaves there
is zeros.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.crash.disk import Disk, Naming, Node
from tests.crash.straced import NEVER

Model = Literal["least", "journal", "folders", "anything"]
"""What becomes of names that were not synced. `least`: nothing arrives, neither names nor bytes. `journal`: all changes
of names are one sequence, of which a prefix arrives, at least up to the last sync of anything (ext4). `folders`: a
prefix of each folder's own sequence, and only its own sync counts. `anything`: any of them, as POSIX allows."""

MODELS: tuple[Model, ...] = ("least", "journal", "folders", "anything")
Tree = dict[str, "bytes | Tree"]
"""A folder: names, with the bytes of files and the contents of folders."""


@dataclass(frozen=True, slots=True)
class Fate:
    """How one power loss goes: `keep` is the share of unsynced pieces of `piece` bytes that arrive."""

    model: Model
    keep: float
    piece: int
    chance: random.Random = field(repr=False)

    @classmethod
    def draw(cls, chance: random.Random) -> "Fate":
        """One of all there are."""
        model = chance.choice(MODELS)
        keep = 0.0 if model == "least" else chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        return cls(model, keep, chance.choice((512, 4096, 1 << 40)), chance)

    def arrives(self) -> bool:
        """Whether the next piece does."""
        return self.chance.random() < self.keep


def after_loss(disk: Disk, moment: int, fate: Fate) -> Tree:
    """What the folder holds when the power went at `moment`."""
    names: dict[Node, dict[str, Node | None]] = {}
    for naming in _arrived(disk, moment, fate):
        names.setdefault(naming.folder, {}).update(naming.entries)
    contents: dict[Node, bytes] = {}

    def tree(folder: Node) -> Tree:
        found: Tree = {}
        for name, node in names.get(folder, {}).items():
            if node is not None and node.is_folder:
                found[name] = tree(node)
            elif node is not None:
                if node not in contents:  # a file of two names is one file
                    contents[node] = _content(node, moment, fate)
                found[name] = contents[node]
        return found

    return tree(disk.root)


def alive(disk: Disk) -> Tree:
    """What a living process finds in the folder."""
    return after_loss(disk, NEVER, Fate("anything", 2.0, 1 << 40, random.Random(0)))


def _arrived(disk: Disk, moment: int, fate: Fate) -> list[Naming]:
    """The changes of names that hold, in order."""
    begun = [one for one in disk.namings if one.begin < moment]
    if fate.model == "journal":
        horizon = max((begin for begin, end in disk.syncs if end < moment), default=-1)
        return _prefix(begun, lambda one: one.end < horizon, fate.chance)
    held = [one for one in begun if one.end < one.folder.sure(moment)]
    sure = set(held)
    if fate.model == "anything":
        return [one for one in begun if one in sure or fate.arrives()]
    if fate.model == "folders":
        for folder in dict.fromkeys(one.folder for one in begun):
            mine = [one for one in begun if one.folder is folder]
            sure.update(_prefix(mine, sure.__contains__, fate.chance))
        return [one for one in begun if one in sure]
    return held


def flat(tree: Tree, above: str = "") -> dict[str, bytes]:
    """The files of a tree, by path; a folder ends in a slash and holds nothing."""
    found: dict[str, bytes] = {}
    for name, held in tree.items():
        if isinstance(held, dict):
            found |= {f"{above}{name}/": b"", **flat(held, f"{above}{name}/")}
        else:
            found[above + name] = held
    return found


def _prefix(changes: list[Naming], is_sure: Callable[[Naming], bool], chance: random.Random) -> list[Naming]:
    """At least all that is sure, and then as many more as chance will have."""
    least = max((number for number, one in enumerate(changes, 1) if is_sure(one)), default=0)
    return changes[: chance.randint(least, len(changes))]


def _content(node: Node, moment: int, fate: Fate) -> bytes:
    """The bytes of a file. The size of what did not arrive may have arrived: zeros."""
    content = bytearray()
    horizon = node.sure(moment)
    grows = fate.model != "least" and fate.chance.random() < 0.5
    for write in node.writes:
        if write.begin >= moment:
            continue
        is_sure = write.end < horizon
        if write.data is None:
            if is_sure or fate.arrives():
                content[write.offset :] = bytes(max(0, write.offset - len(content)))
            continue
        end = write.offset + len(write.data)
        if is_sure or grows:
            content.extend(bytes(max(0, end - len(content))))
        for start, stop in [(write.offset, end)] if is_sure else _pieces(write.offset, end, fate.piece):
            if is_sure or fate.arrives():
                content.extend(bytes(max(0, stop - len(content))))
                content[start:stop] = write.data[start - write.offset : stop - write.offset]
    return bytes(content)


def _pieces(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = min(end, (start // size + 1) * size)
        yield start, stop
        start = stop
