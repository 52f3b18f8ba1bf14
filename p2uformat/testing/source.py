"""Bytes that are served: in memory or on disk, and windows on them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["EMPTY", "Body", "Entity", "FileSource", "MemorySource", "Source"]


class Source(Protocol):
    """Bytes of a known length that can be read anywhere."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return bytes `start` to `stop`; fewer if some have gone."""

    def close(self) -> None:
        """Let go of what is held."""


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Bytes in memory; slices of them are not copied.

    Examples
    --------
    >>> bytes(MemorySource(b"abcd").read(1, 3))
    b'bc'
    """

    data: bytes

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self.data)

    def read(self, start: int, stop: int) -> memoryview:
        """Return bytes `start` to `stop`."""
        return memoryview(self.data)[start:stop]

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """An open file; it is read where it is asked for and never held in memory.

    A file that becomes shorter while it is served reads as zeros from there on: its length was
    promised.
    """

    descriptor: int
    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`; fewer where the file ends."""
        # Not all systems have pread; each answer has a descriptor of its own, so seeking will do.
        os.lseek(self.descriptor, start, os.SEEK_SET)
        return os.read(self.descriptor, stop - start)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Entity:
    """An object as it is at this moment.

    Attributes
    ----------
    source : Source
        Its bytes.
    etag : str
        Its strong ETag, with quotes.
    modified : float
        When it last changed, in seconds since 1970.
    """

    source: Source
    etag: str
    modified: float

    @property
    def size(self) -> int:
        """How many bytes the object has."""
        return self.source.size


@dataclass(frozen=True, slots=True)
class Body:
    r"""A window on a source. Outside of the source there are zeros, so a window may lie anywhere.

    Attributes
    ----------
    source : Source
        What is behind the window.
    start, stop : int
        Half-open, in bytes of the source.
    flip : int or None
        The byte, counted from `start`, whose lowest bit is wrong.

    Examples
    --------
    >>> body = Body(MemorySource(b"abcd"), 2, 6, flip=1)
    >>> body.size, body.read(0, 4)
    (4, b'ce\x00\x00')
    """

    source: Source
    start: int
    stop: int
    flip: int | None = None

    @property
    def size(self) -> int:
        """How many bytes the window shows."""
        return self.stop - self.start

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return bytes `start` to `stop`, counted from the window's start; all of them, always."""
        data = self._padded(self.start + start, self.start + stop)
        if self.flip is None or not start <= self.flip < stop:
            return data
        wrong = bytearray(data)
        wrong[self.flip - start] ^= 1
        return bytes(wrong)

    def _padded(self, start: int, stop: int) -> bytes | memoryview:
        first = min(max(start, 0), self.source.size)
        last = max(min(stop, self.source.size), first)
        data = self.source.read(first, last) if first < last else b""
        if len(data) == stop - start:
            return data
        before = min(max(-start, 0), stop - start)
        return (bytes(before) + bytes(data)).ljust(stop - start, b"\0")


EMPTY: Final = Body(MemorySource(b""), 0, 0)
