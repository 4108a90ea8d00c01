"""A loopback listener with one thread per connection, the floor under every double of this package.

It can go down and come up again on the same port. Closing it cuts every connection and joins every thread, and raises
what a connection's code raised: a bug in a double must not pass for a network fault. It refuses to know HTTP.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

HOST = "127.0.0.1"
_JOIN_SECONDS = 10.0


class Listener:
    """Calls `serve(connection)` in a new thread per connection, and closes the connection when it returns.

    `serve` may raise OSError freely: the peer went away. `stopping` is set while the listener is down, so that a double
    which is slow on purpose waits on it instead of sleeping.
    """

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.stopping = threading.Event()
        self.connections = 0  # accepted since the start, so that tests can see keep-alive
        self._serve = serve
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._bugs: list[Exception] = []
        self._socket = self._bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor: threading.Thread | None = None

    @staticmethod
    def _bound(port: int) -> socket.socket:
        """A bound socket that does not listen yet: it keeps the port, and connecting to it is refused."""
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
        return bound

    def up(self) -> None:
        """Accept connections."""
        self.stopping.clear()
        self._socket.listen(256)
        self._acceptor = threading.Thread(target=self._accept, args=(self._socket,), daemon=True)
        self._acceptor.start()

    def down(self) -> None:
        """Cut all connections and refuse new ones, and keep the port."""
        self._stop()
        self._socket = self._bound(self.port)

    def close(self) -> None:
        """Stop for good. Raises the first error that `serve` raised, unless it was an OSError."""
        self._stop()
        if self._bugs:
            raise RuntimeError("the double itself failed") from self._bugs[0]

    def _stop(self) -> None:
        self.stopping.set()
        if self._acceptor is not None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=_JOIN_SECONDS):
                self._acceptor.join(_JOIN_SECONDS)  # closing a socket does not wake an accept everywhere
            self._acceptor = None
        self._socket.close()
        with self._lock:
            left = dict(self._open)
        for connection in left.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left:
            thread.join(_JOIN_SECONDS)
            if thread.is_alive():
                raise RuntimeError("a connection of the double did not end")

    def _accept(self, listening: socket.socket) -> None:
        while True:
            connection, _ = listening.accept()
            if self.stopping.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            with self._lock:
                self.connections += 1
                self._open[thread] = connection
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except OSError:
            pass
        except Exception as bug:  # noqa: BLE001 - raised again by close(), in the test's own thread
            self._bugs.append(bug)
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)
            connection.close()


def reset(connection: socket.socket) -> None:
    """Make the coming close of `connection` a reset (RST) instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
