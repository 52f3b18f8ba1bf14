"""From offsets in a file to places in packs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from p2uformat.errors import Malformed
from p2uformat.store.keys import PackId
from p2uformat.store.records import Placed, Record

__all__ = ["Extents"]


class Extents:
    """Where the bytes of a file behind its manifest lie.

    Parameters
    ----------
    start : int
        The manifest's length.
    placed : Placed
        The artifact.
    record : Record
        What it is one of.

    Attributes
    ----------
    stop : int
        Where the bytes end that are there.
    """

    def __init__(self, start: int, placed: Placed, record: Record) -> None:
        self._packs = record.packs
        self._extents = placed.extents
        lengths = (extent.length for extent in placed.extents)
        self._starts = list(accumulate(lengths, initial=start))
        self.stop = self._starts[-1]

    def locate(self, offset: int, length: int) -> Iterator[tuple[PackId, int, int]]:
        """Yield the pack, the offset in it and the length of each stretch of a range.

        What lies behind the end is left out.

        Raises
        ------
        Malformed
            If the range begins in front of the first chunk.
        """
        if offset < self._starts[0]:
            raise Malformed(f"offset {offset} is in front of the first chunk")
        number = bisect_right(self._starts, offset) - 1
        stop = min(offset + length, self.stop)
        while offset < stop:
            extent = self._extents[number]
            skip = offset - self._starts[number]
            count = min(extent.length - skip, stop - offset)
            yield self._packs[extent.pack], extent.offset + skip, count
            offset += count
            number += 1

    def of_chunk(self, offset: int, length: int) -> tuple[PackId, int] | None:
        """Return where a chunk lies; None if it is not there, or not in one piece."""
        found = list(self.locate(offset, length))
        if len(found) != 1 or found[0][2] != length:
            return None
        return found[0][0], found[0][1]
