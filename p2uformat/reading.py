"""What the format needs of a file, wherever that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["Openable", "Piece", "Reader"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file that are checked together.

    Parameters
    ----------
    offset, length : int
        Where they lie.
    id : bytes or None
        Their digest; None if somebody else checks them.
    """

    offset: int
    length: int
    id: bytes | None

    @property
    def stop(self) -> int:
        """The offset behind them."""
        return self.offset + self.length


class Reader(Protocol):
    """A file that is read by offset from any thread."""

    @property
    def path(self) -> str:
        """What it is called in messages."""

    @property
    def size(self) -> int:
        """Bytes when it was opened."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, fewer at the end of the file."""

    def view(self, offset: int, length: int) -> bytes | memoryview:
        """Return the same, without a copy where that can be."""

    def ahead(self, limit: int) -> None:
        """Say that all bytes up to `limit` will be read soon, in order."""

    def expecting(self, pieces: Iterable[Piece]) -> AbstractContextManager[None]:
        """Say that `pieces` will be read within the block, about in this order."""

    def close(self) -> None:
        """Let go of it."""


@runtime_checkable
class Openable(Protocol):
    """A place that is opened in a way of its own. Paths have neither of these names."""

    @property
    def ancestors(self) -> Sequence[Openable]:
        """Where the artifacts lie that the one here needs; none if nobody knows."""

    def open_reader(self) -> Reader:
        """Return what is there, to be read like a file."""
