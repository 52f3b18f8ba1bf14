"""Bit strings, least significant bit first (SPEC.md, section 3).

Variable-width values are packed through 64-bit words: each value is shifted to its place, values
that share a word are added (their bits are disjoint), and what spills over goes to the next word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_fixed", "pack_variable", "unpack_fixed", "unpack_variable"]

U8 = NDArray[np.uint8]
_THREE_BYTES = 17  # the widest value that lies in three bytes wherever it starts
_TILE = 1 << 16  # values a tile: its temporaries stay in the second-level cache


def pack_fixed(values: NDArray[np.unsignedinteger], width: int) -> bytes:
    """Pack values of `width` bits each.

    Examples
    --------
    >>> pack_fixed(np.array([1, 2, 3], np.uint8), 4).hex()
    '2103'
    """
    if width == 8 and values.dtype == np.uint8:
        return values.tobytes()
    if width == 4:
        padded = np.zeros(len(values) + len(values) % 2, np.uint8)
        padded[: len(values)] = values
        return (padded[0::2] | (padded[1::2] << 4)).tobytes()
    return pack_variable(values, np.full(len(values), width, np.uint8))


def unpack_fixed(data: U8, count: int, width: int) -> NDArray[np.uint32]:
    """Unpack `count` values of `width` bits; the caller has checked the length."""
    if width == 4:
        out = np.empty(2 * len(data), np.uint32)
        out[0::2] = data & 15
        out[1::2] = data >> 4
        return out[:count]
    return unpack_variable(data, np.full(count, width, np.uint8))


def pack_variable(values: NDArray[np.unsignedinteger], widths: U8) -> bytes:
    """Pack each value with its own width (0 to 32 bits).

    Parameters
    ----------
    values : ndarray of unsigned integers, shape (n,)
        Each below ``2 ** width``.
    widths : ndarray of uint8, shape (n,)
        Bits of each value.

    Returns
    -------
    bytes
        The bit string, zero padded to a whole byte.

    Examples
    --------
    >>> pack_variable(np.array([1, 5], np.uint32), np.array([1, 3], np.uint8)).hex()
    '0b'
    """
    keep = np.flatnonzero(widths)
    if not len(keep):
        return b""
    width = widths[keep].astype(np.int64)
    value = values[keep].astype(np.uint64)
    ends = np.cumsum(width)
    total = int(ends[-1])
    starts = ends - width
    word = starts >> 6
    shift = (starts & 63).astype(np.uint64)
    heads = np.flatnonzero(np.diff(word, prepend=-1))
    out = np.zeros((total >> 6) + 2, np.uint64)
    out[word[heads]] = np.add.reduceat(value << shift, heads)
    spill = np.flatnonzero((starts & 63) + width > 64)
    out[word[spill] + 1] |= value[spill] >> (np.uint64(64) - shift[spill])
    return out.astype("<u8").tobytes()[: (total + 7) >> 3]


def unpack_variable(data: U8, widths: U8) -> NDArray[np.uint32]:
    """Unpack values whose widths (0 to 24 bits) are known; the caller has checked the length.

    Examples
    --------
    >>> unpack_variable(np.array([0x0B], np.uint8), np.array([1, 3], np.uint8)).tolist()
    [1, 5]
    """
    out = np.empty(len(widths), np.uint32)
    position = 0
    for start in range(0, len(widths), _TILE):
        tile = widths[start : start + _TILE]
        ends = np.cumsum(tile, dtype=np.int32)
        bits = int(ends[-1])
        first = position >> 3
        window = np.zeros(((position + bits + 7) >> 3) - first + 4, np.uint8)
        source = data[first : (position + bits + 7) >> 3]
        window[: len(source)] = source
        starts = ends - tile + np.int32(position & 7)
        out[start : start + _TILE] = _gather(window, starts, tile)
        position += bits
    return out


def _gather(window: U8, starts: NDArray[np.int32], widths: U8) -> NDArray[np.uint32]:
    wide = window.astype(np.uint32)
    joined = wide[:-3] | (wide[1:-2] << np.uint32(8))
    joined |= wide[2:-1] << np.uint32(16)
    if int(widths.max(initial=0)) > _THREE_BYTES:
        joined |= wide[3:] << np.uint32(24)
    # Clipping costs nothing here and spares a check of every index.
    values = np.take(joined, starts >> 3, mode="clip")
    values >>= (starts & 7).astype(np.uint32)
    values &= np.take(_MASKS, widths, mode="clip")
    return values


_MASKS = ((np.uint64(1) << np.arange(33, dtype=np.uint64)) - np.uint64(1)).astype(np.uint32)
