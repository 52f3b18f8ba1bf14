"""Bit strings of values of one width, least significant bit first (SPEC.md, section 3).

Eight values of `width` bits fill exactly `width` bytes, so whole columns of such groups are shifted
at once: no positions to compute, and any width up to 32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.errors import Malformed

__all__ = ["check_dense", "dense_bytes", "pack_dense", "unpack_dense"]

Buffer = bytes | memoryview
Codes = NDArray[np.unsignedinteger]
_GROUP: Final = 8
_TILE: Final = 1 << 13  # groups a tile: its columns stay in the second-level cache


def dense_bytes(count: int, width: int) -> int:
    """Return the bytes of `count` values of `width` bits.

    Examples
    --------
    >>> dense_bytes(3, 11)
    5
    """
    return (count * width + 7) // 8


def check_dense(data: Buffer, count: int, width: int, name: str) -> None:
    """Check the length of a bit string, and that its padding is zero.

    Raises
    ------
    Malformed
        If one is wrong; `name` says what it holds.
    """
    expected = dense_bytes(count, width)
    if len(data) != expected:
        raise Malformed(f"{name}: expected {expected} bytes, got {len(data)}")
    used = count * width % 8
    if used and data[-1] >> used:
        raise Malformed(f"{name}: its padding is not zero")


def pack_dense(values: Codes, width: int) -> bytes:
    """Pack values of `width` bits, 1 to 32, zero padded to a whole byte.

    Examples
    --------
    >>> pack_dense(np.array([1, 2, 3], np.uint16), 11).hex()
    '0110c00000'
    """
    count = len(values)
    groups = -(-count // _GROUP)
    padded = np.zeros((groups, _GROUP), _word(width))
    padded.reshape(-1)[:count] = values
    out = np.zeros((groups, width), np.uint8)
    for start in range(0, groups, _TILE):
        _pack_tile(padded[start : start + _TILE], width, out[start : start + _TILE])
    return out.reshape(-1)[: dense_bytes(count, width)].tobytes()


def unpack_dense(data: Buffer, count: int, width: int) -> Codes:
    """Unpack `count` values of `width` bits; the caller has checked the length.

    Returns
    -------
    ndarray of uint8, uint16 or uint32, shape (count,)
        The smallest dtype that holds them.

    Examples
    --------
    >>> unpack_dense(bytes.fromhex("0110c00000"), 3, 11).tolist()
    [1, 2, 3]
    """
    groups = -(-count // _GROUP)
    padded = np.zeros(groups * width, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    table = padded.reshape(groups, width)
    out = np.empty((groups, _GROUP), _word(width))
    for start in range(0, groups, _TILE):
        _unpack_tile(table[start : start + _TILE], width, out[start : start + _TILE])
    codes: Codes = out.reshape(-1)[:count]
    return codes


def _word(width: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype(np.uint8 if width <= 8 else np.uint16 if width <= 16 else np.uint32)


def _places(width: int) -> Iterator[tuple[int, int, int]]:
    """Yield for each byte that a value of a group meets: value, byte, and the value's shift there.

    A positive shift moves the value up inside the byte, a negative one down.
    """
    for value in range(_GROUP):
        first, last = value * width, (value + 1) * width - 1
        for byte in range(first // 8, last // 8 + 1):
            yield value, byte, first - 8 * byte


def _pack_tile(values: Codes, width: int, out: NDArray[np.uint8]) -> None:
    columns = np.ascontiguousarray(values.T)
    made = np.zeros((width, len(values)), np.uint8)
    for value, byte, shift in _places(width):
        column = columns[value]
        moved = column << shift if shift >= 0 else column >> -shift
        made[byte] |= moved.astype(np.uint8)
    out[:] = made.T


def _unpack_tile(table: NDArray[np.uint8], width: int, out: Codes) -> None:
    columns = np.ascontiguousarray(table.T)
    word = out.dtype
    made = np.zeros((_GROUP, len(table)), word)
    for value, byte, shift in _places(width):
        column = columns[byte].astype(word)
        made[value] |= column >> shift if shift >= 0 else column << -shift
    made &= word.type((1 << width) - 1)
    out[:] = made.T
