"""Memory whose pages are dear: fresh where it is kept, used again where it is not.

The system clears every fresh page and maps it at its first use, for 4 KiB pages one by one. On some
machines that takes longer than to decode what is put there.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shelf", "fresh"]

U8 = NDArray[np.uint8]
_LINE: Final = 64
_HUGE_PAGE: Final = 1 << 21
_HUGE_FROM: Final = 1 << 22  # numpy asks for huge pages from here on


def fresh(size: int) -> U8:
    """Return uninitialised memory, aligned so that its pages are huge where that is worth it.

    Raises
    ------
    MemoryError
        If there is not enough.

    Examples
    --------
    >>> fresh(100).shape
    (100,)
    """
    unit = _HUGE_PAGE if size >= _HUGE_FROM else _LINE
    room = np.empty(-(-size // unit) * unit + unit, np.uint8)
    skip = -room.ctypes.data % unit
    return room[skip : skip + size]


class Shelf:
    """Scratch memory that is handed out and taken back, by any thread.

    Parameters
    ----------
    most : int
        Pieces that are kept.

    Examples
    --------
    >>> shelf = Shelf(2)
    >>> piece = shelf.take(10)
    >>> shelf.give(piece)
    >>> shelf.take(5) is piece
    True
    """

    __slots__ = ("_spare",)

    def __init__(self, most: int) -> None:
        self._spare: deque[U8] = deque(maxlen=most)

    def take(self, size: int) -> U8:
        """Return at least `size` bytes with anything in them."""
        try:
            piece = self._spare.pop()
        except IndexError:
            return fresh(size)
        return piece if len(piece) >= size else fresh(size)

    def give(self, piece: U8) -> None:
        """Take memory back; nobody may use it from now on."""
        self._spare.append(piece)
