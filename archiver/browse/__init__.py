"""Looking through the catalogue in a browser: Datasette on this machine, for this person, reading only.

It listens on 127.0.0.1 alone and answers only to that name, so that a web page elsewhere cannot ask it through a name
of its own. It refuses to write, and temporary URLs cannot be read through it.
"""

import importlib.util
import signal
import socket
import sys
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

from archiver.browse.pictures import Pictures
from archiver.catalogue.viewing import readers_need_a_snapshot, snapshot
from archiver.core.errors import Unusable, UsageError

INSTALL = f'{sys.executable} -m pip install "datasette>=0.65.5,<1"'
HOST, NAME = "127.0.0.1", "catalogue"


def require() -> None:
    """Raise UsageError with the line that installs Datasette unless it is there."""
    if importlib.util.find_spec("datasette") is None:
        raise UsageError(f"browsing needs Datasette: {INSTALL}")


def listen(port: int) -> socket.socket:
    """A socket on this machine's own address; port 0: any that is free. Raises Unusable."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError as error:
        sock.close()
        raise Unusable(f"cannot listen on {HOST}:{port}: {error.strerror}; --port 0 takes a free one") from error
    return sock


def serve(path: Path, pictures: Pictures, sock: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve the catalogue at `path` until SIGINT or SIGTERM; `ready` gets the address once it answers."""
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc,unused-ignore]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready(f"http://{HOST}:{sock.getsockname()[1]}/")

    with ExitStack() as stack:
        # Datasette puts the path into a URI as it is.
        if readers_need_a_snapshot() or set("?#%") & set(str(path.absolute())):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="archiver-"))
            copy = Path(folder) / f"{NAME}.db"
            snapshot(path, copy)
            path = copy
        app = _only_here(_application(path, pictures), sock.getsockname()[1])
        settings = uvicorn.Config(app, log_level="error", access_log=False, lifespan="on", timeout_graceful_shutdown=2)
        # uvicorn stops in order, and then raises the signal again: there is nothing left to do for it.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            Server(settings).run(sockets=[sock])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _application(path: Path, pictures: Pictures) -> Any:
    from datasette.app import Datasette
    from datasette.plugins import pm

    from archiver.browse.plugin import CatalogueFile, Plugin

    pm.register(Plugin(pictures), name="archiver")
    metadata = tomllib.loads(resources.files("archiver.browse").joinpath("metadata.toml").read_text("utf-8"))
    served = Datasette(
        metadata=metadata,
        settings={
            "allow_download": False,
            "sql_time_limit_ms": 5000,
            "facet_time_limit_ms": 500,
            "num_sql_threads": 2,
            "truncate_cells_html": 400,
        },
    )
    served.remove_database("_memory")
    served.add_database(CatalogueFile(served, path=str(path.absolute()), is_mutable=True), name=NAME)
    return served.app()


def _only_here(app: Any, port: int) -> Any:
    """`app`, for requests that call it by this machine's own names."""
    known = {f"{name}:{port}".encode() for name in (HOST, "localhost")}

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"host") not in known:
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": b"This page is for this machine alone.\n"})
            return
        await app(scope, receive, send)

    return asked
