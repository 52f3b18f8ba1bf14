"""A proxy of any protocol over TCP whose faults are a string."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from p2uformat.errors import InvalidArgument
from p2uformat.testing.fault import Fault
from p2uformat.testing.reply import Ending
from p2uformat.testing.script import Player, Script, parse_script
from p2uformat.testing.service import Service
from p2uformat.testing.sockets import Listener, Meter, reset, send, wait_for_goodbye
from p2uformat.testing.throttle import Throttle
from p2uformat.testing.transport import Cut, Delay, Slow

__all__ = ["PROXY_FAULTS", "Connection", "FaultProxy"]

PROXY_FAULTS: Final[tuple[type[Fault], ...]] = (Cut, Delay, Slow)
_CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection and what became of it, so far.

    Attributes
    ----------
    fault : str
        What the script does; ``ok`` for nothing.
    bytes_down, bytes_up : int
        Passed on to the client, and to the target.
    time : float
        When it was accepted, by `time.monotonic`.
    done : bool
        Whether it has ended.
    """

    fault: str
    bytes_down: int
    bytes_up: int
    time: float
    done: bool


@dataclass(slots=True)
class _Pair:
    """A connection that is being served, and its faults."""

    client: socket.socket
    faults: tuple[Fault, ...]
    down: Meter = field(default_factory=Meter)
    up: Meter = field(default_factory=Meter)
    time: float = field(default_factory=time.monotonic)
    done: bool = False

    def record(self) -> Connection:
        fault = "&".join(map(str, self.faults)) or "ok"
        return Connection(fault, self.down.count, self.up.count, self.time, self.done)

    @property
    def delay(self) -> float:
        return sum(fault.seconds for fault in self.faults if isinstance(fault, Delay))

    @property
    def rate(self) -> float | None:
        return next((fault.rate for fault in self.faults if isinstance(fault, Slow)), None)

    @property
    def ending(self) -> Ending | None:
        cuts = (fault for fault in self.faults if isinstance(fault, Cut))
        return next((Ending(cut.how, cut.after) for cut in cuts), None)


class FaultProxy(Service):
    """Passes connections on to a server, soundly except for what a script says.

    The n-th step of the script applies to the n-th connection. Bytes are counted from the server
    to the client, heads included: a proxy knows no protocol.

    Parameters
    ----------
    target_host, target_port : str, int
        Where the server is.
    script : str
        Faults among ``reset[@N]``, ``close[@N]``, ``stall[@N]``, ``delay(SECONDS)`` before the
        server is called, and ``slow(RATE)``; without selectors.
    rate : float, optional
        Bytes per second in each direction, over all connections together, as of one link.
    stall_seconds : float
        How long a stalled connection is held, unless the client goes away before.

    Raises
    ------
    InvalidArgument
        For a script that does not parse or that has faults of HTTP.

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> from p2uformat.testing.server import FaultServer
    >>> with FaultServer({"a": b"abc"}) as server:
    ...     with FaultProxy("127.0.0.1", server.port, script="reset@0 ok") as proxy:
    ...         try:
    ...             urlopen(f"{proxy.url}/a")
    ...         except OSError:
    ...             pass
    ...         with urlopen(f"{proxy.url}/a") as answer:
    ...             answer.read()
    b'abc'
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        *,
        script: str = "",
        rate: float | None = None,
        stall_seconds: float = 60.0,
    ) -> None:
        self._target = (target_host, target_port)
        self._down, self._up = Throttle(rate), Throttle(rate)
        self._stall_seconds = stall_seconds
        self._pairs: list[_Pair] = []
        self.script = script

    @property
    def script(self) -> str:
        """The faults. Setting them starts from their first step, with the next connection."""
        return str(self._player.script)

    @script.setter
    def script(self, text: str) -> None:
        self._player = Player(_without_selectors(parse_script(text, known=PROXY_FAULTS)))

    @property
    def connections(self) -> list[Connection]:
        """Connections in order of arrival; also those that are still open."""
        return [pair.record() for pair in self._pairs]

    @property
    def bytes_down(self) -> int:
        """Bytes from the server to clients in all."""
        return sum(pair.down.count for pair in self._pairs)

    @property
    def bytes_up(self) -> int:
        """Bytes from clients to the server in all."""
        return sum(pair.up.count for pair in self._pairs)

    def _serve(self, client: socket.socket) -> None:
        pair = _Pair(client, self._player.next("GET", ""))
        self._pairs.append(pair)
        listener = self._running
        try:
            listener.stopping.wait(pair.delay)
            if pair.ending and pair.ending.after is None:
                self._end(pair, listener.stopping)
            else:
                self._connect(pair, listener)
        finally:
            pair.done = True

    def _connect(self, pair: _Pair, listener: Listener) -> None:
        try:
            target = socket.create_connection(self._target, timeout=_CONNECT_SECONDS)
        except OSError:
            reset(pair.client, listener.stopping)
            return
        with target:
            target.settimeout(None)
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.track(target)
            try:
                self._pass(pair, target, listener.stopping)
            finally:
                listener.untrack(target)

    def _pass(self, pair: _Pair, target: socket.socket, stopping: threading.Event) -> None:
        """Pass bytes both ways until both have ended, or the place to cut was reached."""
        up = threading.Thread(target=self._pass_up, args=(pair, target, stopping), daemon=True)
        up.start()
        try:
            how = self._pass_down(pair, target, stopping)
        except OSError:
            # An end that was not clean is passed on as what it was.
            how = "reset"
        if how == "stall":
            # What the client still sends goes up meanwhile; when it leaves, the stall is over.
            up.join(self._stall_seconds)
        if how:
            _shut(target, socket.SHUT_RDWR)
            # While a thread waits for a socket, closing it sends nothing: that thread leaves first.
            _shut(pair.client, socket.SHUT_RD)
        up.join()
        if how == "reset":
            reset(pair.client, stopping)

    def _pass_down(self, pair: _Pair, target: socket.socket, stopping: threading.Event) -> str:
        """Pass bytes to the client; return how to cut it where that place was reached."""
        own, ending = Throttle(pair.rate), pair.ending
        limit = ending.after if ending else None
        piece = min(own.piece, self._down.piece)
        while limit is None or pair.down.count < limit:
            data = target.recv(piece if limit is None else min(piece, limit - pair.down.count))
            if not data:
                _shut(pair.client, socket.SHUT_WR)
                return ""
            own.take(len(data), stopping)
            self._down.take(len(data), stopping)
            send(pair.client, data, pair.down)
        return ending.how if ending else ""

    def _pass_up(self, pair: _Pair, target: socket.socket, stopping: threading.Event) -> None:
        try:
            while data := pair.client.recv(self._up.piece):
                self._up.take(len(data), stopping)
                send(target, data, pair.up)
            _shut(target, socket.SHUT_WR)
        except OSError:
            _shut(target, socket.SHUT_RDWR)

    def _end(self, pair: _Pair, stopping: threading.Event) -> None:
        if pair.ending and pair.ending.how == "reset":
            reset(pair.client, stopping)
        elif pair.ending and pair.ending.how == "stall":
            wait_for_goodbye(pair.client, self._stall_seconds)


def _shut(link: socket.socket, directions: int) -> None:
    """Shut one direction or both; who is gone already is as good."""
    with contextlib.suppress(OSError):
        link.shutdown(directions)


def _without_selectors(script: Script) -> Script:
    if any((rule.method, rule.glob) != ("GET", "*") for rule in script.rules):
        raise InvalidArgument("script: a proxy knows no names", hint="leave out the selectors")
    return script
