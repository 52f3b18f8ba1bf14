"""The bytes of a stored artifact: through readers of packs, or through one transfer over all."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Final

from p2uformat.closing import Closing
from p2uformat.errors import InvalidArgument, NotFound, RangesIgnored
from p2uformat.reading import Piece, Reader
from p2uformat.store.keys import PackId
from p2uformat.store.objects import Objects
from p2uformat.store.remote import RemoteObjects
from p2uformat.stored.extents import Extents
from p2uformat.transport.fault import Fault
from p2uformat.transport.policy import Policy
from p2uformat.transport.remote import source_of
from p2uformat.transport.source import Answer, Source

__all__ = ["PackedReader", "PackedSource", "Relocate"]

Relocate = Callable[[], Extents | None]
"""Looks again where the bytes lie; None if they are where they were said to be."""

_MOST_OPEN: Final = 64


class PackedReader(Closing):
    """A stored artifact, read by offset like a file.

    Parameters
    ----------
    objects : Objects
        The store's place.
    name : str
        The artifact in messages.
    manifest : bytes
        All in front of the first chunk.
    extents : Extents
        Where the rest lies.
    relocate : callable
        Called when a pack is gone: a collector may have put its chunks into another.
    """

    def __init__(
        self, objects: Objects, name: str, manifest: bytes, extents: Extents, relocate: Relocate
    ) -> None:
        self.path = name
        self.size = extents.stop
        self._objects = objects
        self._manifest = memoryview(manifest)
        self._extents = extents
        self._relocate = relocate
        self._packs: OrderedDict[PackId, Reader] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the packs."""
        with self._lock:
            packs, self._packs = self._packs, OrderedDict()
        for pack in packs.values():
            pack.close()

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, fewer at the end."""
        return bytes(self.view(offset, length))

    def view(self, offset: int, length: int) -> bytes | memoryview:
        """Return the same, without a copy where that can be."""
        front = self._manifest[offset : offset + length]
        if len(front) == length or offset + len(front) >= self.size:
            return front
        try:
            behind = self._behind(offset + len(front), length - len(front))
        except NotFound:
            moved = self._relocate()
            if moved is None:
                raise
            self._extents = moved
            behind = self._behind(offset + len(front), length - len(front))
        return b"".join([front, behind]) if front else behind

    def ahead(self, limit: int) -> None:
        """Do nothing: the manifest is here."""

    def expecting(self, pieces: Iterable[Piece]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return a context that does nothing."""
        return nullcontext()

    def _behind(self, offset: int, length: int) -> bytes | memoryview:
        parts = [
            self._pack(pack).view(at, count)
            for pack, at, count in self._extents.locate(offset, length)
        ]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pack(self, pack: PackId) -> Reader:
        with self._lock:
            found = self._packs.get(pack)
            if found is None:
                found = self._packs[pack] = self._objects.reader(pack.key)
                # One in use on another thread lives as long as that needs it.
                if len(self._packs) > _MOST_OPEN:
                    self._packs.popitem(last=False)
            self._packs.move_to_end(pack)
            return found


class PackedSource(Source):
    """The packs of an artifact, of which ranges are asked as if they were one object.

    Parameters
    ----------
    objects : RemoteObjects
        The store's place.
    name : str
        The artifact in messages.
    extents : Extents
        Where its bytes lie.
    relocate : callable
        As for `PackedReader`.
    policy : Policy
        Of the transfer.
    """

    def __init__(
        self,
        objects: RemoteObjects,
        name: str,
        extents: Extents,
        relocate: Relocate,
        policy: Policy,
    ) -> None:
        super().__init__(objects.address, policy)
        self.name = name
        self._objects = objects
        self._extents = extents
        self._relocate = relocate
        self._packs: dict[PackId, Source] = {}
        self.span_bytes = source_of(objects.address, policy).span_bytes

    async def stream(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a range; what is not exactly those raises `Fault`."""
        for pack, at, count in self._extents.locate(start, stop - start):
            async with aclosing(self._of_pack(pack, at, at + count)) as parts:
                async for part in parts:
                    yield part

    async def same(self) -> bool:
        """Return True: packs do not change."""
        return True

    async def _of_pack(self, pack: PackId, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        source = self._source(pack)
        try:
            async with aclosing(source.stream(start, stop)) as parts:
                async for part in parts:
                    yield part
        except Fault as fault:
            if isinstance(fault.error, RangesIgnored):
                async with aclosing(_cut_out(source, start, stop)) as parts:
                    async for part in parts:
                        yield part
                return
            if isinstance(fault.error, NotFound) and await self._moved():
                raise Fault("the pack was put together anew") from fault
            raise

    async def _moved(self) -> bool:
        moved = await asyncio.to_thread(self._relocate)
        if moved is None:
            return False
        self._extents = moved
        return True

    def _source(self, pack: PackId) -> Source:
        found = self._packs.get(pack)
        if found is None:
            found = self._packs[pack] = source_of(self._objects.address_of(pack.key), self.policy)
            found.counts = self.counts
        return found

    async def _ask(self, start: int, stop: int | None) -> Answer:
        raise InvalidArgument(f"{self.name!r} is no single object: {start}, {stop}")


async def _cut_out(source: Source, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    """Yield a range of a pack whose store gives whole objects only."""
    at = 0
    async with aclosing(source.whole()) as parts:
        async for part in parts:
            skip = max(start - at, 0)
            piece = part[skip : stop - at]
            at += len(part)
            if piece:
                yield piece
            if at >= stop:
                return
    raise Fault(f"the answer ended {stop - at} bytes early")
