"""A server of objects over HTTP/1.1 whose faults are a string."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from itertools import count
from urllib.parse import quote

from p2uformat.errors import Malformed
from p2uformat.testing.exchange import Exchange, Heads, Record, Way
from p2uformat.testing.files import files_of
from p2uformat.testing.http import format_head
from p2uformat.testing.reply import Reply, respond
from p2uformat.testing.script import Player, parse_script
from p2uformat.testing.service import Service
from p2uformat.testing.source import Entity
from p2uformat.testing.throttle import Throttle

__all__ = ["FaultServer"]


class FaultServer(Service):
    """Serves objects on this machine, soundly except for what a script says.

    Parameters
    ----------
    files : mapping of str to bytes, or path of a folder
        The objects. ETags follow from the bytes of a mapping, and from size, time and inode in a
        folder.
    script : str
        Faults; `p2uformat.testing.script` has the grammar.
    rate : float, optional
        Bytes per second of body, over all connections together, as of one link.
    stall_seconds : float
        How long a stalled answer holds its connection, unless the client goes away before.

    Raises
    ------
    InvalidArgument
        For a script that does not parse, a folder that is not there, a rate that is none.

    Examples
    --------
    >>> from urllib.error import HTTPError
    >>> from urllib.request import urlopen
    >>> with FaultServer({"a.bin": b"abcdef"}, script="503 ok") as server:
    ...     try:
    ...         urlopen(server.url_of("a.bin"))
    ...     except HTTPError as error:
    ...         error.close()
    ...     with urlopen(server.url_of("a.bin")) as answer:
    ...         data = answer.read()
    >>> data, [record.status for record in server.requests]
    (b'abcdef', [503, 200])
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | str | os.PathLike[str],
        *,
        script: str = "",
        rate: float | None = None,
        stall_seconds: float = 60.0,
    ) -> None:
        self._files = files_of(files)
        self._throttle = Throttle(rate)
        self._stall_seconds = stall_seconds
        self._exchanges: list[Exchange] = []
        self._numbers = count(1)
        self.script = script

    @property
    def script(self) -> str:
        """The faults. Setting them starts from their first step, whatever was before."""
        return str(self._player.script)

    @script.setter
    def script(self, text: str) -> None:
        self._player = Player(parse_script(text))

    def url_of(self, name: str) -> str:
        """Return where an object is, whether there is one or not."""
        return f"{self.url}/{quote(name)}"

    @property
    def requests(self) -> list[Record]:
        """What was asked for, in order of arrival; also what is still being answered."""
        return [exchange.record() for exchange in self._exchanges]

    @property
    def bytes_sent(self) -> int:
        """Bytes of body that were sent in all."""
        return sum(exchange.meter.count for exchange in self._exchanges)

    def replace(self, name: str, data: bytes) -> None:
        """Let an object be `data` from now on, with another ETag and a later date.

        Answers under way go on with the old bytes.
        """
        self._files.replace(name, data)

    def _serve(self, link: socket.socket) -> None:
        way = Way(link, self._throttle, self._stall_seconds, self._running.stopping)
        heads, number = Heads(link), next(self._numbers)
        try:
            while request := heads.next():
                if not self._answer(way, Exchange(request, number)):
                    return
        except Malformed:
            link.sendall(format_head(400, {"Connection": "close", "Content-Length": "0"}))

    def _answer(self, way: Way, exchange: Exchange) -> bool:
        """Answer a request, and return whether the connection goes on."""
        self._exchanges.append(exchange)
        entity = self._files.find(exchange.request.name)
        try:
            return way.send(self._reply(exchange, entity), exchange)
        finally:
            exchange.done = True
            if entity:
                entity.source.close()

    def _reply(self, exchange: Exchange, entity: Entity | None) -> Reply:
        request = exchange.request
        reply = respond(request, entity)
        exchange.range = (reply.span.start, reply.span.stop) if reply.span else None
        faults = self._player.next(request.method, request.name)
        exchange.fault = "&".join(map(str, faults)) or "ok"
        for fault in faults:
            reply = fault.apply(reply)
        return reply
