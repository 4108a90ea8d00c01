"""A folder as its recorded calls made it: files and folders apart from their names, every change, and every sync.

What of it survives a power loss is asked of `loss`. A change that is not known here is refused: one that went unseen
would make every verdict worthless.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.straced import NEVER, Call

_HARMLESS = ("sendto", "sendmsg", "clone", "clone3")


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that go into a file, or with `data` None its new size `offset`."""

    begin: int
    end: int
    offset: int
    data: bytes | None


@dataclass(eq=False, slots=True)
class Node:
    """A file or a folder, whatever it is called. `names` are those that a living process sees."""

    is_folder: bool
    size: int = 0
    names: dict[str, "Node"] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    syncs: list[tuple[int, int]] = field(default_factory=list)

    def sure(self, moment: int) -> int:
        """What ended before the moment that this returns is safe when the power goes at `moment`."""
        return max((begin for begin, end in self.syncs if end < moment), default=-1)


@dataclass(frozen=True, slots=True)
class Naming:
    """One change of names in one folder; a rename is one change."""

    begin: int
    end: int
    folder: Node
    entries: tuple[tuple[str, Node | None], ...]


class Disk:
    """The folder `top` and what was done below it. What lies there already is safe."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self.root = Node(is_folder=True)
        self.namings: list[Naming] = []
        self.syncs: list[tuple[int, int]] = []
        self._places: dict[int, int] = {}
        self._adopt(top, self.root)

    def _adopt(self, path: Path, node: Node) -> None:
        node.syncs.append((-1, 0))
        if not node.is_folder:
            node.writes.append(Write(-3, -2, 0, path.read_bytes()))
            node.size = path.stat().st_size
            return
        for found in sorted(path.iterdir()):
            child = Node(found.is_dir())
            self._name(-3, -2, node, (found.name, child))
            self._adopt(found, child)

    def moments(self) -> tuple[list[int], list[int]]:
        """The moments before, in and after every sync, and those of every other change."""
        writes = {(one.begin, one.end) for node in self._nodes() for one in node.writes}
        others = writes | {(one.begin, one.end) for one in self.namings}
        return _around(self.syncs), _around(others)

    def _nodes(self) -> Iterator[Node]:
        yield from {node for naming in self.namings for _, node in naming.entries if node is not None}

    # --- what was done -----------------------------------------------------------------------------------------------

    def do(self, call: Call) -> None:
        """Take in the next call of the process; one that a death cut off was not made. Raises ValueError for one that
        changes files in a way not known here."""
        if call.end == NEVER:
            return
        if (act := getattr(self, f"_do_{call.name}", None)) is not None:
            act(call)
        elif call.name not in _HARMLESS:
            handled = [call.place(at) for at in range(len(call.arguments))]
            if any(self._is_mine(path) for path in (*handled, *call.paths())):
                raise ValueError(f"{call.name} of {handled} is not modelled")

    def _is_mine(self, path: Path) -> bool:
        return path.is_relative_to(self._top)

    def _find(self, path: Path) -> Node | None:
        node: Node | None = self.root
        for name in path.relative_to(self._top).parts:
            node = node.names.get(name) if node is not None else None
        return node

    def _known(self, path: Path) -> Node:
        node = self._find(path)
        if node is None:
            raise ValueError(f"{path} was never made")
        return node

    def _name(self, begin: int, end: int, folder: Node, *entries: tuple[str, Node | None]) -> None:
        self.namings.append(Naming(begin, end, folder, entries))
        for name, node in entries:
            if node is None:
                folder.names.pop(name, None)
            else:
                folder.names[name] = node

    def _do_openat(self, call: Call) -> None:
        path, flags = call.paths()[0], call.arguments[2]
        self._places[call.result] = 0
        if not self._is_mine(path):
            return
        node = self._find(path)
        if node is None and "O_CREAT" in flags:
            node = Node(is_folder=False)
            self._name(call.begin, call.end, self._known(path.parent), (path.name, node))
        elif node is not None and "O_TRUNC" in flags and node.size:
            self._resize(call, node, 0)
        if node is not None and "O_APPEND" in flags:
            self._places[call.result] = node.size

    def _do_lseek(self, call: Call) -> None:
        self._places[call.handle()] = call.result

    def _do_write(self, call: Call) -> None:
        at = self._places.get(call.handle(), 0)
        self._places[call.handle()] = at + call.result
        if self._is_mine(call.place()):
            self._put(call, self._known(call.place()), at)

    def _do_pwrite64(self, call: Call) -> None:
        if self._is_mine(call.place()):
            self._put(call, self._known(call.place()), int(call.arguments[3]))

    def _put(self, call: Call, node: Node, offset: int) -> None:
        data = call.text(1)[: call.result]
        node.writes.append(Write(call.begin, call.end, offset, data))
        node.size = max(node.size, offset + len(data))

    def _do_ftruncate(self, call: Call) -> None:
        if self._is_mine(call.place()):
            self._resize(call, self._known(call.place()), int(call.arguments[1]))

    def _resize(self, call: Call, node: Node, size: int) -> None:
        node.writes.append(Write(call.begin, call.end, size, None))
        node.size = size

    def _do_mkdir(self, call: Call) -> None:
        (path,) = call.paths()
        if self._is_mine(path):
            self._name(call.begin, call.end, self._known(path.parent), (path.name, Node(is_folder=True)))

    def _do_rename(self, call: Call) -> None:
        old, new = call.paths()
        if self._is_mine(old) or self._is_mine(new):
            if old.parent != new.parent:
                raise ValueError(f"{old} was renamed into another folder, which is not modelled")
            self._name(call.begin, call.end, self._known(old.parent), (old.name, None), (new.name, self._known(old)))

    def _do_link(self, call: Call) -> None:
        old, new = call.paths()
        if self._is_mine(new):
            self._name(call.begin, call.end, self._known(new.parent), (new.name, self._known(old)))

    def _do_unlink(self, call: Call) -> None:
        (path,) = call.paths()
        if self._is_mine(path):
            self._name(call.begin, call.end, self._known(path.parent), (path.name, None))

    _do_mkdirat, _do_renameat, _do_linkat, _do_unlinkat, _do_rmdir = (
        _do_mkdir,
        _do_rename,
        _do_link,
        _do_unlink,
        _do_unlink,
    )

    def _do_mmap(self, call: Call) -> None:
        shared = "MAP_SHARED" in call.arguments[3] and "PROT_WRITE" in call.arguments[2]
        if shared and self._is_mine(call.place(4)) and not call.place(4).name.endswith("-shm"):
            raise ValueError(f"{call.place(4)} is written through memory, which is not modelled")

    def _do_fsync(self, call: Call) -> None:
        if self._is_mine(call.place()):
            self._known(call.place()).syncs.append((call.begin, call.end))
            self.syncs.append((call.begin, call.end))

    _do_fdatasync = _do_fsync


def _around(spans: Iterable[tuple[int, int]]) -> list[int]:
    """Before, in and after each."""
    found = {moment for begin, end in spans for moment in (begin, begin + 1, end + 1)}
    return sorted(moment for moment in found if moment > 0)
