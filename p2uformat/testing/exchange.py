"""A request and its answer on their way through a connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from p2uformat.errors import Malformed
from p2uformat.testing.http import Request, format_date, format_head, parse_request
from p2uformat.testing.reply import Reply
from p2uformat.testing.sockets import Meter, reset, send, wait_for_goodbye
from p2uformat.testing.throttle import Throttle

__all__ = ["Exchange", "Heads", "Record", "Way"]

_LONGEST_HEAD: Final = 1 << 16
_READ: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Record:
    """A request and what became of it, so far.

    Attributes
    ----------
    method, path : str
        As sent.
    range : tuple of int or None
        Half-open: the range that was asked for, cut to the object.
    status : int
        As sent; 0 where no head was.
    sent : int
        Bytes of body that were sent, chunked framing not counted.
    fault : str
        What the script did; ``ok`` for nothing.
    time : float
        When the head had arrived, by `time.monotonic`.
    connection : int
        Number of the connection, counted from 1: requests of one were asked one after the other.
    headers : mapping of str to str
        Of the request, names in lower case.
    done : bool
        Whether the server is through with it.
    """

    method: str
    path: str
    range: tuple[int, int] | None
    status: int
    sent: int
    fault: str
    time: float
    connection: int
    headers: Mapping[str, str]
    done: bool


@dataclass(slots=True)
class Exchange:
    """A record that is being made.

    Examples
    --------
    >>> Exchange(Request("GET", "/a", {}), connection=1).record().fault
    'ok'
    """

    request: Request
    connection: int
    time: float = field(default_factory=time.monotonic)
    meter: Meter = field(default_factory=Meter)
    range: tuple[int, int] | None = None
    status: int = 0
    fault: str = "ok"
    done: bool = False

    def record(self) -> Record:
        """Return how it stands."""
        request = self.request
        return Record(
            request.method,
            request.target,
            self.range,
            self.status,
            self.meter.count,
            self.fault,
            self.time,
            self.connection,
            request.headers,
            self.done,
        )


class Heads:
    r"""The requests of a connection, one by one; what they carry is read and dropped.

    Examples
    --------
    >>> here, there = socket.socketpair()
    >>> with here, there:
    ...     there.sendall(b"PUT /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxxGET /b HTTP/1.0\r\n\r\n")
    ...     there.shutdown(socket.SHUT_WR)
    ...     heads = Heads(here)
    ...     heads.next().name, heads.next().name, heads.next()
    ('a', 'b', None)
    """

    __slots__ = ("_link", "_rest")

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._rest = b""

    def next(self) -> Request | None:
        """Return the next request, or None when the client has gone.

        Raises
        ------
        Malformed
            If it is no request; there is no telling where the next one starts.
        """
        head = self._until_empty_line()
        if head is None:
            return None
        request = parse_request(head)
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers or not (length.isascii() and length.isdigit()):
            raise Malformed("cannot tell how long the body of the request is")
        return request if self._skip(int(length)) else None

    def _until_empty_line(self) -> bytes | None:
        while b"\r\n\r\n" not in self._rest:
            if len(self._rest) > _LONGEST_HEAD:
                raise Malformed(f"the head of the request is longer than {_LONGEST_HEAD} bytes")
            if not self._more():
                return None
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return head

    def _skip(self, count: int) -> bool:
        while len(self._rest) < count:
            count -= len(self._rest)
            self._rest = b""
            if not self._more():
                return False
        self._rest = self._rest[count:]
        return True

    def _more(self) -> bool:
        data = self._link.recv(_READ)
        self._rest += data
        return bool(data)


@dataclass(frozen=True, slots=True)
class Way:
    """How answers reach the client: through which connection, how fast, until when.

    Attributes
    ----------
    link : socket.socket
        The connection.
    throttle : Throttle
        Of all connections together.
    stall_seconds : float
        How long nothing happens when nothing is to happen.
    stopping : threading.Event
        Ends all waiting.
    """

    link: socket.socket
    throttle: Throttle
    stall_seconds: float
    stopping: threading.Event

    def send(self, reply: Reply, exchange: Exchange) -> bool:
        """Send an answer and return whether another may follow it on the same connection."""
        if reply.delay:
            self.stopping.wait(reply.delay)
        if not (reply.ending and reply.ending.after is None):
            goes_on = reply.request.keeps_alive and not reply.ending and not reply.chunked
            self._send_head(reply, exchange, goes_on=goes_on)
            if reply.request.method != "HEAD":
                self._send_body(reply, exchange.meter)
            if not reply.ending:
                return goes_on
        self._end(reply)
        return False

    def _send_head(self, reply: Reply, exchange: Exchange, *, goes_on: bool) -> None:
        # A connection that will be cut must not announce it: that is the fault.
        says_end = not (goes_on or reply.ending or reply.chunked)
        head = {
            "Server": "p2uformat.testing",
            "Date": format_date(time.time()),
            "Connection": "close" if says_end else "keep-alive",
            **reply.head,
        }
        exchange.status = reply.status
        self.link.sendall(format_head(reply.status, head))

    def _send_body(self, reply: Reply, meter: Meter) -> None:
        own = Throttle(reply.rate)
        piece = min(own.piece, self.throttle.piece)
        size = reply.body.size
        if reply.ending and reply.ending.after is not None:
            size = min(size, reply.ending.after)
        for start in range(0, size, piece):
            data = reply.body.read(start, min(start + piece, size))
            own.take(len(data), self.stopping)
            self.throttle.take(len(data), self.stopping)
            framing = (b"%x\r\n" % len(data), b"\r\n") if reply.chunked else (b"", b"")
            send(self.link, data, meter, framing=framing)

    def _end(self, reply: Reply) -> None:
        how = reply.ending.how if reply.ending else "close"
        if how == "reset":
            reset(self.link, self.stopping)
        elif how == "stall":
            wait_for_goodbye(self.link, self.stall_seconds)
