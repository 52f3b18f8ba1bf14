"""A file behind a URL, read by offset like one on the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Final

from p2uformat.closing import Closing
from p2uformat.errors import InvalidArgument
from p2uformat.reading import Piece
from p2uformat.transport.address import Address
from p2uformat.transport.anyfs import AnySource
from p2uformat.transport.attempts import Attempts
from p2uformat.transport.fault import Fault, ranges_ignored
from p2uformat.transport.http import HttpSource
from p2uformat.transport.pieces import SPAN_BYTES, Span
from p2uformat.transport.policy import Policy
from p2uformat.transport.readahead import ReadAhead
from p2uformat.transport.running import run
from p2uformat.transport.s3 import S3Source
from p2uformat.transport.source import Beginning, Source
from p2uformat.transport.transfer import Transfer, joined

__all__ = ["RemoteReader", "source_of"]

# The manifest of a small model; of a larger one the rest comes with the second request.
FIRST_BYTES: Final = 1 << 16
HEAD_BYTES: Final = 128
_NAMED: Final = slice(16, 112)  # of a p2u file: its roots and lengths, beside flag and check


def source_of(address: Address, policy: Policy) -> Source:
    """Return the object behind a URL; nothing is asked of it yet."""
    if address.protocol in ("http", "https"):
        return HttpSource(address, policy)
    if address.protocol in ("s3", "s3a"):
        return S3Source(address, policy)
    return AnySource(address, policy)


class RemoteReader(Closing):
    """An object behind a URL, read by offset from any thread, and after a fork in the child.

    Parameters
    ----------
    address : Address
        The object.
    policy : Policy, optional
        How patient and greedy to be.
    known : bytes
        The manifest of a file at hand: if this is of the same artifact, it is not read again.
    source : Source, optional
        The object, where it is no single one behind the URL.
    begun : Beginning, optional
        Its start, where that is known: nothing is asked for then.

    Attributes
    ----------
    path : str
        The URL without secrets.
    size : int
        Bytes when it was opened.
    ranges : bool
        Whether parts of it can be read.
    source : Source
        The object itself.

    Raises
    ------
    NotFound, AccessDenied, TransferFailed
        If it cannot be reached.
    InvalidArgument
        If its protocol is not known here.
    """

    def __init__(
        self,
        address: Address,
        policy: Policy | None = None,
        known: bytes = b"",
        *,
        source: Source | None = None,
        begun: Beginning | None = None,
    ) -> None:
        self.policy = policy or Policy()
        self.source = source or source_of(address, self.policy)
        self.path = self.source.name
        begun = begun or run(self._begin(HEAD_BYTES if known else FIRST_BYTES))
        if known and begun.data[_NAMED] == known[_NAMED]:
            begun = replace(begun, data=begun.data[:HEAD_BYTES] + known[HEAD_BYTES:])
        self.size = begun.total
        self.ranges = begun.ranges
        self._first = memoryview(begun.data)
        self._limit = 0
        self._ahead: list[ReadAhead] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False

    @property
    def first(self) -> memoryview:
        """The bytes at its start that are kept: what came first, and the manifest."""
        return self._first

    def close(self) -> None:
        """Stop what is underway; the connections stay for whoever comes next."""
        self._closed = True
        for ahead in self._ahead:
            ahead.close()
        self._ahead.clear()

    def ahead(self, limit: int) -> None:
        """Say that all bytes up to `limit` will be read soon, in order."""
        self._limit = min(limit, self.size)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, fewer at the end of the object.

        Raises
        ------
        P2UError
            If the object cannot be read any more, or has changed.
        """
        return bytes(self.view(offset, length))

    def view(self, offset: int, length: int) -> memoryview:
        """Return the same, without a copy."""
        if self._closed:
            raise InvalidArgument(f"{self.path!r} is closed")
        length = max(min(length, self.size - offset), 0)
        if not length or offset + length <= len(self._first):
            return self._first[offset : offset + length]
        for ahead in self._mine():
            found = ahead.take(offset, length)
            if found is not None:
                return found
        if offset + length <= self._limit:
            return self._sequential(offset, length)
        return self._directly(offset, length)

    @contextmanager
    def expecting(self, pieces: Iterable[Piece]) -> Iterator[None]:
        """Fetch `pieces` in the background while the block reads them, about in this order.

        Raises
        ------
        RangesIgnored
            If the server sends whole objects only.
        """
        wanted = [p for p in pieces if p.length and p.stop > len(self._first)]
        if not wanted:
            yield
            return
        self._require_ranges()
        ahead = ReadAhead(self.source, wanted, self.policy)
        with self._lock:
            self._mine().append(ahead)
        try:
            yield
        finally:
            with self._lock:
                self._ahead = [other for other in self._ahead if other is not ahead]
            ahead.close()

    def _mine(self) -> list[ReadAhead]:
        """Return what is read ahead by this process: threads do not survive a fork."""
        if self._pid != os.getpid():
            self._ahead = []
            self._pid = os.getpid()
        return self._ahead

    def _sequential(self, offset: int, length: int) -> memoryview:
        """Read in large steps what is read in small ones."""
        with self._lock:
            end = len(self._first)
            if offset + length > end:
                stop = min(max(offset + length, end + SPAN_BYTES), self._limit)
                self._first = memoryview(bytes(self._first) + self._directly(end, stop - end))
        return self._first[offset : offset + length]

    def _directly(self, offset: int, length: int) -> memoryview:
        if not self.ranges:
            if offset + length <= self._limit:
                return run(self._up_to(self._limit))[offset : offset + length]
            self._require_ranges()
        found: list[memoryview] = []
        span = Span((Piece(offset, length, None),))
        transfer = Transfer(
            self.source, [span], lambda _, views: found.append(joined(views)), self.policy
        )
        run(transfer.run())
        return found[0]

    def _require_ranges(self) -> None:
        if not self.ranges:
            error = ranges_ignored(self.path).error
            assert error is not None
            raise error

    async def _begin(self, length: int) -> Beginning:
        attempts = Attempts(self.source.name, self.policy, opening=True)
        while True:
            try:
                return await self.source.begin(length)
            except Fault as fault:
                await attempts.failed(fault)

    async def _up_to(self, limit: int) -> memoryview:
        """Return the first bytes of an object that comes whole only, and leave the rest."""
        attempts = Attempts(self.source.name, self.policy)
        while True:
            data = bytearray()
            try:
                async with aclosing(self.source.whole()) as stream:
                    async for part in stream:
                        data += part
                        if len(data) >= limit:
                            return memoryview(data)[:limit]
                raise Fault("the answer ended early")
            except Fault as fault:
                await attempts.failed(fault)
