"""The gallery: one page that opens from the disk, with a folder of thumbnails beside it.

It is given pictures and writes files. It refuses to know where they come from: no catalogue, store or configuration
is here, nothing is fetched, and the page it writes loads nothing from anywhere but what its pictures are linked to.
"""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from archiver.core.errors import UsageError
from archiver.gallery.page import MARK, pieces
from archiver.gallery.thumbnails import Thumbnailer

__all__ = ["PAGE", "THUMBS", "Picture", "Thumbnailer", "check_folder", "thumbnail_name", "write_page"]

PAGE, THUMBS = "index.html", "thumbs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image as the page shows it.

    `full` is where the whole image is: a path relative to the page, or a web address, already escaped as a URL; None
    when it can be had by `archiver get` only. `dies` is when `full` stops working. `thumb` is relative to the page.
    """

    id: str
    prompt: str
    revised: str | None
    model: str | None
    provider: str | None
    job: str | None
    tags: list[str]
    draft: bool
    parents: list[str]
    store: str
    key: str
    extension: str
    size: int | None
    width: int | None
    height: int | None
    cost: float | None
    made: str
    archived: str | None
    full: str | None
    dies: str | None
    thumb: str | None


def check_folder(folder: Path) -> None:
    """Raise UsageError unless `folder` is new, empty, or holds a gallery: nobody's own index.html is replaced."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    page, head = folder / PAGE, b""
    if page.is_file():
        with page.open("rb") as file:
            head = file.read(4096)
    if MARK not in head:
        raise UsageError(f"{folder} holds something else; name a new folder, or the one of an earlier gallery")


def thumbnail_name(sha256: str) -> str:
    """Where the thumbnail of an image lies, relative to the page. Equal bytes share it, and a later run finds it."""
    return f"{THUMBS}/{sha256[:2]}/{sha256[2:34]}.webp"


def write_page(folder: Path, pictures: Iterable[Picture], *, title: str, made: datetime, hosts: Iterable[str]) -> None:
    """Write the page, whole or not at all; `hosts` are the origins (`https://host`) that its pictures are linked to."""
    handle, name = tempfile.mkstemp(prefix=".archiver-", dir=folder)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for piece in pieces(pictures, title=title, made=made, hosts=hosts):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / PAGE)
    finally:
        part.unlink(missing_ok=True)
