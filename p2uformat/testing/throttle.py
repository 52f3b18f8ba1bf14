"""A rate that several threads share, as connections share one link."""

from __future__ import annotations

import math
import threading
import time
from typing import Final

from p2uformat.errors import InvalidArgument

__all__ = ["Throttle"]

# Sleeping is late by a fraction of a millisecond each time; so much may be made up for.
_CATCH_UP_SECONDS: Final = 0.01
# Pieces last about this long, so that nobody's first byte waits for somebody's megabyte.
_PIECE_SECONDS: Final = 0.005
_LARGEST_PIECE: Final = 1 << 18


class Throttle:
    """At most `rate` bytes per second, over everyone who asks.

    Parameters
    ----------
    rate : float or None
        Bytes per second; None is no limit.

    Attributes
    ----------
    piece : int
        How many bytes to ask for at once: 5 ms of the rate, at most 256 KiB.

    Examples
    --------
    >>> Throttle(100_000).piece, Throttle(None).piece
    (500, 262144)
    """

    __slots__ = ("_free", "_lock", "_rate", "piece")

    def __init__(self, rate: float | None) -> None:
        if rate is not None and not (rate > 0 and math.isfinite(rate)):
            raise InvalidArgument(f"rate: expected bytes per second above 0, got {rate!r}")
        self._rate = rate
        self._lock = threading.Lock()
        self._free = 0.0
        share = math.inf if rate is None else rate * _PIECE_SECONDS
        self.piece = int(max(1, min(share, _LARGEST_PIECE)))

    def reserve(self, count: int) -> float:
        """Book `count` bytes and return how many seconds from now their last has come through.

        Examples
        --------
        >>> Throttle(None).reserve(10**12)
        0.0
        >>> 0.9 < Throttle(1000).reserve(1000) <= 1.0
        True
        """
        if self._rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - _CATCH_UP_SECONDS) + count / self._rate
            return max(0.0, self._free - now)

    def take(self, count: int, stopping: threading.Event) -> None:
        """Wait until `count` bytes have come through, or until `stopping` is set.

        Examples
        --------
        >>> Throttle(10**6).take(1000, threading.Event())
        """
        seconds = self.reserve(count)
        if seconds:
            stopping.wait(seconds)
