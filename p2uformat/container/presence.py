"""Which chunks a partial file holds (SPEC.md, section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from p2uformat.errors import Malformed

__all__ = ["Presence"]


@dataclass(frozen=True, slots=True)
class Presence:
    r"""The bitmap behind a partial file, a bit for each entry of the location table.

    It is a hint: every chunk is checked when it is read.

    Parameters
    ----------
    bits : bytes
        The bitmap, as far as it is there.
    entries : int
        Entries of the location table.

    Examples
    --------
    >>> Presence(b"\x05", 3).holds(2), Presence(b"\x05", 3).holds(1), Presence(b"", 3).holds(0)
    (True, False, False)
    """

    bits: bytes
    entries: int

    @classmethod
    def parse(cls, data: bytes, entries: int) -> Self:
        """Return the bitmap that `data` is; one that is cut short lacks its last bits.

        Raises
        ------
        Malformed
            If a bit behind the last entry is set.
        """
        spare = -entries % 8
        if spare and len(data) == (entries + 7) >> 3 and data[-1] >> (8 - spare):
            raise Malformed("the padding of the bitmap is not zero", region="trailing")
        return cls(data, entries)

    def holds(self, entry: int) -> bool:
        """Return whether the chunk of a table entry is said to be there."""
        place, bit = divmod(entry, 8)
        return place < len(self.bits) and bool(self.bits[place] >> bit & 1)

    def whole(self) -> bool:
        """Return whether all of them are."""
        return all(map(self.holds, range(self.entries)))
