"""Bit strings, least significant bit first (SPEC.md, section 3).

Variable-width values are packed through 64-bit words: each value is shifted to its place, values
that share a word are added (their bits are disjoint), and what spills over goes to the next word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_fixed", "pack_variable", "unpack_fixed", "unpack_variable"]

U8 = NDArray[np.uint8]
_HALF_WINDOW = 12  # two values of this width lie in four bytes wherever they start
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
        paired = int(tile.max(initial=0)) <= _HALF_WINDOW
        position = (_unpack_pairs if paired else _unpack_single)(
            data, position, tile, out[start : start + _TILE]
        )
    return out


def _unpack_single(data: U8, position: int, widths: U8, out: NDArray[np.uint32]) -> int:
    """Unpack a tile from a bit on, and return where it ends."""
    ends = np.cumsum(widths, dtype=np.int32)
    bits = int(ends[-1])
    starts = ends - widths + np.int32(position & 7)
    values = _windows(data, position, bits, starts)
    values &= _masks(widths)
    out[:] = values
    return position + bits


def _unpack_pairs(data: U8, position: int, widths: U8, out: NDArray[np.uint32]) -> int:
    """Unpack a tile two values at a time: half as many places to find and windows to gather."""
    if len(widths) % 2:
        widths = np.append(widths, np.uint8(0))
    first = widths[0::2]
    both = first + widths[1::2]
    ends = np.cumsum(both, dtype=np.int32)
    bits = int(ends[-1])
    starts = ends - both + np.int32(position & 7)
    windows = _windows(data, position, bits, starts)
    out[0::2] = windows & _masks(first)
    windows >>= first
    windows &= _masks(widths[1::2])
    out[1::2] = windows[: len(out) // 2]
    return position + bits


def _masks(widths: U8) -> NDArray[np.uint32]:
    masks: NDArray[np.uint32] = np.left_shift(np.uint32(1), widths, dtype=np.uint32)
    masks -= np.uint32(1)
    return masks


def _windows(data: U8, position: int, bits: int, starts: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Return the bits from each start on, in units of the byte that `position` lies in."""
    first = position >> 3
    source = data[first : (position + bits + 7) >> 3]
    wide = np.zeros(len(source) + 4, np.uint32)
    wide[: len(source)] = source
    joined = wide[:-3] | (wide[1:-2] << np.uint32(8))
    joined |= wide[2:-1] << np.uint32(16)
    joined |= wide[3:] << np.uint32(24)
    # Clipping costs nothing here and spares a check of every index.
    values = np.take(joined, starts >> 3, mode="clip")
    values >>= (starts & 7).astype(np.uint32)
    return values
