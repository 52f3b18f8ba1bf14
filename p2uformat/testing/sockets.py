"""Sockets that end the way a test wants, and a listener that leaves nothing behind."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["HOST", "Listener", "Meter", "reset", "send", "wait_for_goodbye"]

HOST: Final = "127.0.0.1"
_BACKLOG: Final = 512
_DRAIN_SECONDS: Final = 10.0
_DRAIN_STEP: Final = 0.002
_NAME: Final = "p2u-faults"
_BARE: Final = (b"", b"")


@dataclass(slots=True)
class Meter:
    """How many bytes went out.

    Examples
    --------
    >>> Meter().count
    0
    """

    count: int = 0


def send(
    link: socket.socket,
    data: bytes | memoryview,
    meter: Meter,
    *,
    framing: tuple[bytes, bytes] = (b"", b""),
) -> None:
    """Send all of `data`, counted before it can be seen at the other end.

    Parameters
    ----------
    link : socket.socket
        Where to.
    data : bytes or memoryview
        What counts.
    meter : Meter
        Where it is counted; what could not be sent is taken off again.
    framing : pair of bytes
        What goes before and after and does not count.

    Examples
    --------
    >>> here, there = socket.socketpair()
    >>> with here, there:
    ...     send(here, b"abc", meter := Meter())
    ...     there.recv(9), meter.count
    (b'abc', 3)
    """
    if framing[0]:
        link.sendall(framing[0])
    left = memoryview(data)
    meter.count += len(left)
    try:
        while left:
            left = left[link.send(left) :]
    except OSError:
        meter.count -= len(left)
        raise
    if framing[1]:
        link.sendall(framing[1])


def reset(link: socket.socket, stopping: threading.Event) -> None:
    """End a connection with RST, after what was sent has arrived.

    An RST takes along what still waits to be sent; the count of bytes before it would be a guess.
    """
    end = time.monotonic() + _DRAIN_SECONDS
    with contextlib.suppress(OSError):
        while _unsent(link) and time.monotonic() < end and not stopping.wait(_DRAIN_STEP):
            pass
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


def _unsent(link: socket.socket) -> int:
    """Return how many bytes the other end has not acknowledged; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    # These modules are not there on every system.
    import fcntl  # noqa: PLC0415
    import termios  # noqa: PLC0415

    return int.from_bytes(fcntl.ioctl(link.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def wait_for_goodbye(link: socket.socket, seconds: float) -> None:
    """Wait until the other end goes away, or for so many seconds without a byte from it."""
    with contextlib.suppress(OSError):
        link.settimeout(seconds)
        while link.recv(1 << 16):
            pass


class Listener:
    """A port of this machine, with a thread for each connection.

    Parameters
    ----------
    handle : callable
        Gets each connection, and is done with it when it returns. Errors of the connection end it.

    Attributes
    ----------
    port : int
        Any that was free.
    stopping : threading.Event
        Set when the listener stops: who waits should wait on this.

    Examples
    --------
    >>> listener = Listener(lambda link: link.sendall(b"hello"))
    >>> listener.start()
    >>> with socket.create_connection((HOST, listener.port)) as link:
    ...     link.recv(9)
    b'hello'
    >>> listener.stop()
    """

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._links: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server((HOST, 0), backlog=_BACKLOG)
        self._wake, self._woken = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name=_NAME, daemon=True)
        self.stopping = threading.Event()
        self.port: int = self._server.getsockname()[1]

    def start(self) -> None:
        """Accept connections."""
        self._acceptor.start()

    def stop(self) -> None:
        """End every connection, and return when all threads have."""
        self.stopping.set()
        self._wake.close()
        self._acceptor.join()
        with self._lock:
            for link in self._links:
                _interrupt(link)
        for thread in self._threads:
            thread.join()

    def track(self, link: socket.socket) -> None:
        """Interrupt this socket too when the listener stops."""
        with self._lock:
            self._links.add(link)
            if self.stopping.is_set():
                _interrupt(link)

    def untrack(self, link: socket.socket) -> None:
        """Forget a socket."""
        with self._lock:
            self._links.discard(link)

    def _accept(self) -> None:
        with self._server, self._woken, selectors.DefaultSelector() as ready:
            ready.register(self._server, selectors.EVENT_READ)
            ready.register(self._woken, selectors.EVENT_READ)
            while True:
                ready.select()
                if self.stopping.is_set():
                    return
                # Who connected may be gone again.
                with contextlib.suppress(ConnectionError):
                    self._begin(self._server.accept()[0])

    def _begin(self, link: socket.socket) -> None:
        # Pieces are as small as a throttle makes them; waiting for more would change their timing.
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.track(link)
        thread = threading.Thread(target=self._run, args=(link,), name=_NAME, daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _run(self, link: socket.socket) -> None:
        try:
            with link, contextlib.suppress(OSError):
                self._handle(link)
        finally:
            self.untrack(link)


def _interrupt(link: socket.socket) -> None:
    """Wake whoever waits for a socket. Closing would not, and its number may be another's then."""
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
