"""Pieces that are fetched before they are asked for, within a bounded amount of memory."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterable, Iterator
from typing import Final

from fsspec.asyn import get_loop

from p2uformat.closing import Closing
from p2uformat.reading import Piece
from p2uformat.transport.pieces import Span, merge
from p2uformat.transport.policy import Policy
from p2uformat.transport.source import Source
from p2uformat.transport.transfer import Transfer, Transferred, Views, joined

__all__ = ["ReadAhead"]

_ROOM_BYTES: Final = 1 << 26
# The layers of a block lie in as many places as there are tiers. So many bytes are put in the order
# of the file, in which neighbours come with one request; it is well below the room there is.
_WINDOW_BYTES: Final = 24 << 20
_PATIENCE_SECONDS: Final = 0.25


def _windows(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Cut pieces into runs, each in the order of the file."""
    window: list[Piece] = []
    size = 0
    for piece in pieces:
        if window and size + piece.length > _WINDOW_BYTES:
            yield sorted(window, key=lambda part: part.offset)
            window, size = [], 0
        window.append(piece)
        size += piece.length
    if window:
        yield sorted(window, key=lambda part: part.offset)


class ReadAhead(Closing):
    """Fetches pieces in the background and keeps them until they are taken, each once.

    Parameters
    ----------
    source : Source
        Where they lie.
    pieces : iterable of Piece
        About in the order in which they will be taken.
    policy : Policy
        Of the transfer.
    """

    def __init__(self, source: Source, pieces: Iterable[Piece], policy: Policy) -> None:
        known = {piece.offset: piece for piece in pieces}
        spans = [
            span
            for window in _windows(known.values())
            for span in merge(window, most=source.span_bytes)
        ]
        self._changed = threading.Condition()
        self._waiting = set(known)
        self._asked: set[int] = set()
        self._ready: dict[int, memoryview] = {}
        self._used = 0
        self._full = False
        self._loop = get_loop()
        self._room = asyncio.Event()
        transfer = Transfer(source, spans, self._put, policy, self._admit)
        self._future: concurrent.futures.Future[Transferred] = asyncio.run_coroutine_threadsafe(
            transfer.run(), self._loop
        )

    def close(self) -> None:
        """Stop fetching, and drop what was not taken."""
        self._future.cancel()
        with self._changed:
            self._waiting.clear()
            self._ready.clear()
            self._changed.notify_all()

    def take(self, offset: int, length: int) -> memoryview | None:
        """Return a piece once it is here; None if it is none that comes.

        Raises
        ------
        P2UError
            If the transfer failed before.
        """
        with self._changed:
            while offset in self._waiting:
                found = self._ready.get(offset)
                if found is not None:
                    break
                if self._future.done():
                    self._future.result()
                    break  # it was damaged on the way, and who reads it by itself will say so
                if self._full and offset not in self._asked:
                    break  # room is taken by what comes before and nobody wants
                self._changed.wait(_PATIENCE_SECONDS)
            self._waiting.discard(offset)
            taken = self._ready.pop(offset, None)
            if taken is not None:
                self._release(len(taken))
        return taken if taken is not None and len(taken) == length else None

    def _put(self, piece: Piece, views: Views) -> None:
        data = joined(views)
        with self._changed:
            if piece.offset in self._waiting:
                self._ready[piece.offset] = data
            else:
                self._release(piece.length)
            self._changed.notify_all()

    def _release(self, count: int) -> None:
        self._used -= count
        self._loop.call_soon_threadsafe(self._room.set)

    async def _admit(self, span: Span) -> None:
        size = sum(piece.length for piece in span.pieces)
        while True:
            with self._changed:
                if not self._used or self._used + size <= _ROOM_BYTES:
                    self._used += size
                    self._full = False
                    self._asked.update(piece.offset for piece in span.pieces)
                    return
                self._full = True
                self._room.clear()
                self._changed.notify_all()
            await self._room.wait()
