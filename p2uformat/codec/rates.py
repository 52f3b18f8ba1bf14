"""Integer entropies, the same on every machine (the artifact's identity depends on them).

Logarithms are fixed point, from a table that is computed with integers only.
"""

from __future__ import annotations

import heapq
import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["ONE_BIT", "entropy", "huffman_bits", "log2_fixed", "log2_table", "quarter_octaves"]

ONE_BIT = 1 << 12  # fixed-point unit of rates
_TABLE_BITS = 11


@cache
def log2_table() -> NDArray[np.int64]:
    """Return log2(1 + i / 2048) for i in 0..2048, in units of 1 / ONE_BIT."""
    # The square root of two, repeatedly: bit b of the logarithm says whether the square of the
    # value passes 2. 62-bit integers keep the rounding far below one unit.
    entries = []
    for i in range((1 << _TABLE_BITS) + 1):
        value = (1 << 62) + (i << (62 - _TABLE_BITS))
        result = 0
        if value >= 1 << 63:
            result, value = ONE_BIT, 1 << 62
        for bit in range(ONE_BIT.bit_length() - 2, -1, -1):
            value = (value * value) >> 62
            if value >= 1 << 63:
                value >>= 1
                result += 1 << bit
        entries.append(result)
    return np.array(entries, np.int64)


def log2_fixed(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return log2 of positive integers below 2**52, in units of 1 / ONE_BIT; 0 for 0.

    Examples
    --------
    >>> (log2_fixed(np.array([1, 2, 8])) // ONE_BIT).tolist()
    [0, 1, 3]
    """
    bits = counts.astype(np.float64).view(np.int64)
    exponent = (bits >> 52) - 1023
    place = (bits >> (52 - _TABLE_BITS)) & ((1 << _TABLE_BITS) - 1)
    result: NDArray[np.int64] = np.where(counts > 0, exponent * ONE_BIT + log2_table()[place], 0)
    return result


def entropy(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bits that an ideal code with a table of its own needs, in units of 1 / ONE_BIT.

    Parameters
    ----------
    histogram : ndarray of int64, shape (..., symbols)
        Counts.

    Examples
    --------
    >>> int(entropy(np.array([4, 4])) // ONE_BIT)
    8
    """
    total = histogram.sum(-1)
    spent = (histogram * log2_fixed(histogram)).sum(-1)
    result: NDArray[np.int64] = total * log2_fixed(total) - spent
    return result


@cache
def quarter_octaves(low: int, high: int) -> NDArray[np.int64]:
    """Return ``floor(2**(16 + k / 4))`` for k in low..high: limits in units of 2**-16."""
    return np.array([math.isqrt(math.isqrt(1 << (64 + k))) for k in range(low, high)], np.int64)


def huffman_bits(histogram: NDArray[np.int64]) -> int:
    """Return the bits of a Huffman code (Huffman 1952) for counts, without its table.

    Examples
    --------
    >>> huffman_bits(np.array([2, 1, 1]))
    6
    """
    heap = histogram[histogram > 0].tolist()
    if len(heap) < 2:
        return 0
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heap[0]
        heapq.heapreplace(heap, merged)
        total += merged
    return total
