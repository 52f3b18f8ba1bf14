"""What the server and the proxy share: they run within a with statement."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from p2uformat.errors import InvalidArgument
from p2uformat.testing.sockets import HOST, Listener

__all__ = ["Service"]


class Service(ABC):
    """Something that listens on this machine for as long as a with statement lasts.

    When that ends, connections are closed, stalled ones too, and no thread is left.

    Attributes
    ----------
    port : int
        Any that was free.
    url : str
        As a target of HTTP, without a slash at its end.
    """

    _listener: Listener | None = None

    def __enter__(self) -> Self:
        if self._listener is not None:
            raise InvalidArgument("already running", hint="make another one")
        self._listener = Listener(self._serve)
        self._listener.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Connections that are ending still ask for the listener.
        self._running.stop()
        self._listener = None

    @property
    def port(self) -> int:
        """The port."""
        return self._running.port

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.port}"

    @property
    def _running(self) -> Listener:
        if self._listener is None:
            raise InvalidArgument("not running", hint="use it in a with statement")
        return self._listener

    @abstractmethod
    def _serve(self, link: socket.socket) -> None:
        """Serve one connection, on a thread of its own."""
