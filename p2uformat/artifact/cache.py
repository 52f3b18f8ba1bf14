"""Chunks that were opened lately."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Final

from p2uformat.chunk import ChunkView, open_chunk
from p2uformat.container import Container

__all__ = ["ChunkCache"]

_CACHED_CHUNKS: Final = 12
_CACHED_BYTES: Final = 1 << 25


class ChunkCache:
    """The chunks with several members opened last: neighbours in a tensor share them.

    Two threads that want the same chunk wait for one decoding.

    Parameters
    ----------
    container : Container
        Where the chunks lie.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._lock = threading.Lock()
        self._views: OrderedDict[tuple[int, int], Future[ChunkView]] = OrderedDict()
        self._bytes = 0

    def view(self, page: int, index: int) -> ChunkView:
        """Return an open chunk, whose id was checked."""
        key = page, index
        with self._lock:
            known = self._views.get(key)
            if known is not None:
                self._views.move_to_end(key)
            else:
                mine: Future[ChunkView] = Future()
                self._views[key] = mine
                self._bytes += self._container.entry(page, index).length
        if known is None:
            return self._load(key, mine)
        # An error belongs to who met it: each caller adds its own tensor to it.
        return known.result() if known.exception() is None else self._open(key)

    def _load(self, key: tuple[int, int], mine: Future[ChunkView]) -> ChunkView:
        try:
            view = self._open(key)
        except BaseException as error:
            self._drop(key)
            mine.set_exception(error)
            raise
        mine.set_result(view)
        if view.members == 1:
            self._drop(key)
        self._shrink()
        return view

    def _open(self, key: tuple[int, int]) -> ChunkView:
        entry = self._container.entry(*key)
        return open_chunk(entry.codec, self._container.chunk(*key))

    def _drop(self, key: tuple[int, int]) -> None:
        with self._lock:
            if self._views.pop(key, None) is not None:
                self._bytes -= self._container.entry(*key).length

    def _shrink(self) -> None:
        with self._lock:
            while len(self._views) > _CACHED_CHUNKS or (
                self._bytes > _CACHED_BYTES and len(self._views) > 1
            ):
                key, _ = self._views.popitem(last=False)
                self._bytes -= self._container.entry(*key).length
