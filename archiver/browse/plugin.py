"""What archiver adds to Datasette: pictures in the cells, and a guard on every connection.

The guard is the promise of this room: whatever SQL a page or a person sends, SQLite itself refuses what is not reading,
and the table of temporary URLs.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from datasette import hookimpl
from datasette.database import Database
from datasette.utils.asgi import Response
from datasette.utils.sqlite import sqlite3
from markupsafe import Markup

from archiver.browse.pictures import Pictures
from archiver.catalogue.viewing import guard

ROUTE = "/-/archiver"
# `format` of a Markup escapes what it is given.
_PREVIEW = Markup(
    '<a href="/-/archiver/image/{0}"><img src="/-/archiver/thumb/{0}" alt="" loading="lazy"'
    ' style="display:block;max-width:160px;max-height:160px;border-radius:4px"><code>{0}</code></a>'
)
_LINK = Markup('<a href="{0}" rel="noreferrer">{1}</a>')
_BYTES = Markup('<span title="{0} bytes">{1}</span>')
_OF_IMAGES = ("image_id", "parent_image_id", "child_image_id")


class CatalogueFile(Database):  # type: ignore[misc,unused-ignore]
    """The catalogue as Datasette has it, but that a refused question is told to who asked, and not to the terminal."""

    async def execute(self, *given: Any, **options: Any) -> Any:
        """See Datasette."""
        return await super().execute(*given, **{**options, "log_sql_errors": False})


class Plugin:
    """One registered object, with one method for each hook."""

    __name__ = "archiver"  # Datasette lists its plugins by name, as if they were all modules

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    @hookimpl  # type: ignore[untyped-decorator,unused-ignore]
    def prepare_connection(self, conn: Any, database: str) -> None:
        """Let every connection to the catalogue only read."""
        if database != "_internal":
            guard(conn)

    @hookimpl  # type: ignore[untyped-decorator,unused-ignore]
    def render_cell(self, row: Any, value: Any, column: str, table: str | None) -> Any:
        """Images by their id, keys as links, sizes as people read them."""
        if value is None or isinstance(value, bytes):
            return None
        if column in _OF_IMAGES or (column == "id" and table == "images"):
            return _PREVIEW.format(value)
        if column == "key":
            link = self._pictures.public(_as_dict(row))
            if link:
                return _LINK.format(link, value)
        if column in ("size", "bytes") and isinstance(value, int):
            return _BYTES.format(value, _size(value))
        return None

    @hookimpl  # type: ignore[untyped-decorator,unused-ignore]
    def register_routes(self) -> list[tuple[str, Any]]:
        """Where the pictures are."""
        return [
            (rf"^{ROUTE}/image/(?P<image_id>[0-9A-Za-z_-]+)$", self.image),
            (rf"^{ROUTE}/thumb/(?P<image_id>[0-9A-Za-z_-]+)$", self.thumb),
        ]

    async def image(self, request: Any) -> Any:
        """The whole image."""
        return _reply(await asyncio.to_thread(self._pictures.whole, request.url_vars["image_id"]))

    async def thumb(self, request: Any) -> Any:
        """A small one."""
        return _reply(await asyncio.to_thread(self._pictures.small, request.url_vars["image_id"]))

    @hookimpl  # type: ignore[untyped-decorator,unused-ignore]
    def handle_exception(self, exception: Exception) -> Any:
        """Say what was refused, in place of a page about a broken server."""
        if isinstance(exception, sqlite3.DatabaseError) and any(
            word in str(exception) for word in ("prohibited", "not authorized")
        ):
            return Response.text("Only reading is allowed here, and no temporary URLs.\n", status=403)
        return None


def _as_dict(row: Any) -> Mapping[str, Any]:
    return {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row of SQLite is no mapping


def _reply(found: tuple[bytes, str] | None) -> Any:
    if found is None:
        return Response.text("There is no archived image to show.\n", status=404)
    data, content_type = found
    headers = {
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cache-control": "private, max-age=3600",
    }
    if content_type == "application/octet-stream":
        headers["content-disposition"] = "attachment"
    return Response(body=data, status=200, headers=headers, content_type=content_type)


def _size(size: int) -> str:
    for name, unit in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"
