"""Packs on their way into a store, several at once, within bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from p2uformat.closing import Closing
from p2uformat.errors import StoreUnavailable
from p2uformat.store.keys import PackId
from p2uformat.store.objects import Objects
from p2uformat.store.packs import PackBuilder
from p2uformat.stored.offer import OfferedChunk, PackPlace

__all__ = ["CONNECTIONS", "Uploads"]

CONNECTIONS: Final = 4  # each holds a pack in memory, and some clients hold it twice


class Uploads(Closing):
    """Puts chunks into packs and writes these.

    Parameters
    ----------
    objects : Objects
        The store's place.
    writer : bytes
        Id of the writer.
    connections : int
        Packs that are written at once.
    written : callable, optional
        Called, on some thread, with the bytes of each pack that is there.

    Attributes
    ----------
    added : int
        Bytes of packs handed over.
    """

    def __init__(
        self,
        objects: Objects,
        writer: bytes,
        connections: int = CONNECTIONS,
        written: Callable[[int], None] | None = None,
    ) -> None:
        self.added = 0
        self._objects = objects
        self._writer = writer
        self._written = written
        self._pack: PackBuilder | None = None
        self._number = 0
        self._room = threading.Semaphore(connections)
        self._pool = ThreadPoolExecutor(connections, "p2u-push")
        self._underway: list[Future[None]] = []

    def close(self) -> None:
        """Wait for what is under way, and begin nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, chunk: OfferedChunk, data: bytes | memoryview) -> PackPlace:
        """Put a chunk into a pack, and return where it will lie.

        Raises
        ------
        P2UError
            If an earlier pack could not be written.
        """
        pack = self._pack
        if pack is not None and (pack.tier != chunk.tier or not pack.fits(chunk.length)):
            self._send()
            pack = None
        if pack is None:
            pack = self._pack = PackBuilder(chunk.tier)
        return PackPlace(PackId(self._writer, self._number), pack.add(chunk.id, data))

    def finish(self) -> None:
        """Write what is left, and wait for all.

        Raises
        ------
        P2UError
            If a pack could not be written.
        """
        if self._pack is not None:
            self._send()
        for future in self._underway:
            future.result()

    def _send(self) -> None:
        assert self._pack is not None
        self._room.acquire()
        for future in self._underway:
            if future.done():
                future.result()
        data = self._pack.finish()
        pack = PackId(self._writer, self._number)
        self._pack, self._number = None, self._number + 1
        self.added += len(data)
        self._underway.append(self._pool.submit(self._put, pack, data))

    def _put(self, pack: PackId, data: bytes) -> None:
        try:
            if not self._objects.create(pack.key, data):
                raise StoreUnavailable(
                    f"{self._objects.name!r}: {pack.key} holds something else",
                    path=self._objects.name,
                )
            if self._written is not None:
                self._written(len(data))
        finally:
            self._room.release()
