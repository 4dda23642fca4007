"""A wire to a server that the test can cut: before it is used, in the middle, or over one message."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = b"COMMIT\0"
"""With its end: a transaction may also begin as READ COMMITTED."""


class Wire:
    """Hands on what comes to `port` to another port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._word = b""
        self._is_answered = False
        self._muted: socket.socket | None = None
        self.lost = threading.Event()
        """Set when a message was lost."""
        self.port = 0
        self.join()

    def join(self) -> None:
        """Let connections through again."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def cut(self) -> None:
        """End every connection, and let none through."""
        with self._lock:
            listener, self._listener = self._listener, None
            pairs, self._pairs = self._pairs, []
        if listener is not None:
            _end(listener)
        for pair in pairs:
            for one in pair:
                _end(one)

    def lose(self, word: bytes, *, is_answered: bool) -> None:
        """End the connection over the next message to the server with this word.

        With `is_answered` the server still does what it says, and only its answer is lost.
        """
        self._is_answered = is_answered
        self.lost.clear()
        self._word = word

    def close(self) -> None:
        self.cut()
        for one in self._threads:
            one.join(5)

    def _start(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._pairs.append((client, server))
                self._start(self._up, client, server)
                self._start(self._down, server, client)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._word and self._word in data:
                    self._word = b""
                    if not self._is_answered:
                        self.lost.set()
                        break
                    self._muted = server
                server.sendall(data)
        _end(client)
        _end(server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self._muted is server:
                    self.lost.set()
                    break
                client.sendall(data)
        _end(client)
        _end(server)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
