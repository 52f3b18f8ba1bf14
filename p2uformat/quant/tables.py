"""Decoding by table: for one step exponent a symbol and its digits name the result.

A block has few step exponents, so the exact rule of SPEC.md, section 4, is evaluated once per
exponent and index, and the weights only look it up. Ladders with many digits evaluate it directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from p2uformat.floats import FloatFormat
from p2uformat.quant.rounding import log2_floor, round_scaled, significands
from p2uformat.quant.split import GUARD_BITS, OUTLIER, reconstruction_guard, remainder_widths

__all__ = ["OFF_GRID", "Lookup", "Truncated", "reconstruct_magnitudes", "truncate_magnitudes"]

OFF_GRID = 255

Words = NDArray[np.unsignedinteger]
Runs = list[tuple[int, int, int]]
_TABLE_DIGITS = 6  # a table has 256 << digits entries
_CACHED = 64  # tables kept: the blocks of a tensor have the same few


def reconstruct_magnitudes(
    fmt: FloatFormat, n: NDArray[np.uint64], step: int, delta: tuple[int, int], target: FloatFormat
) -> Words:
    """Return magnitude words of reconstructed weights (SPEC.md, section 4).

    Parameters
    ----------
    fmt : FloatFormat
        Source format.
    n : ndarray of uint64
        Grid indices, below 2**31.
    step : int
        ``Kt``.
    delta : (int, int)
        Reconstruction bytes for n = 0 and n > 0.
    target : FloatFormat
        Output format.
    """
    zero = n == 0
    guard = reconstruction_guard(fmt, n, step)
    single = guard == GUARD_BITS
    whole = n << np.uint64(GUARD_BITS)
    offset = np.where(zero, np.uint64(delta[0]), np.uint64(delta[1]))
    room = np.uint64(256) - (np.uint64(1) << guard.astype(np.uint64))
    offset = np.where(guard > 0, np.minimum(offset, room), offset)
    value = whole + np.where(single, np.uint64(0), offset)
    words = round_scaled(target, value, step - GUARD_BITS)
    return _clamp(fmt, target, value, step - GUARD_BITS, words)


def _clamp(
    fmt: FloatFormat, target: FloatFormat, value: NDArray[np.uint64], exponent: int, words: Words
) -> Words:
    """Replace what is above the source's largest finite value by that value."""
    largest, unit = significands(fmt, np.array([fmt.max_word], fmt.word))
    shift = int(unit[0]) - exponent
    integer = int(largest[0])
    limit = integer << shift if shift >= 0 else integer >> -shift
    above = value > np.uint64(min(limit, (1 << 63) - 1))
    if above.any():
        top = round_scaled(target, largest.astype(np.uint64), int(unit[0]))
        words[above] = top[0]
    return words


def truncate_magnitudes(
    fmt: FloatFormat, n: NDArray[np.uint64], step: int
) -> tuple[Words, NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the words of ``n * 2**step``, the missing bits, and which n are off the grid."""
    lowest = fmt.emin - fmt.mantissa
    unit = np.maximum(log2_floor(n) + np.int32(step), fmt.emin) - np.int32(fmt.mantissa)
    shift = unit - np.int32(step)
    right = np.clip(shift, 0, 63).astype(np.uint64)
    left = np.clip(-shift, 0, 63).astype(np.uint64)
    sig = (n >> right) << left
    off = (sig >> left) << right != n
    scale = np.clip(unit - lowest, 0, fmt.max_field + 1).astype(np.uint64)
    word = sig + (scale << np.uint64(fmt.mantissa))
    off |= word > np.uint64(fmt.max_word)
    zero = n == 0
    word[zero] = 0
    off[zero] = False
    width = remainder_widths(fmt, n, np.full(len(n), step, np.int32)).astype(np.uint8)
    return np.where(off, np.uint64(0), word).astype(fmt.word), width, off


@dataclass(frozen=True, slots=True)
class Truncated:
    """What the exact layer is laid over.

    Parameters
    ----------
    words : ndarray of uint
        Bit patterns, sign included, as far as the digits give them.
    width : ndarray of uint8
        Bits missing below; `OFF_GRID` where the digits belong to no source value.
    tiny : ndarray of int64
        Positions whose index is 0.
    fine : ndarray of int32
        ``Kt`` of those.
    """

    words: Words
    width: NDArray[np.uint8]
    tiny: NDArray[np.int64]
    fine: NDArray[np.int32]


@lru_cache(maxsize=_CACHED)
def _value_table(
    fmt: FloatFormat, digits: int, step: int, delta: tuple[int, int], target: FloatFormat
) -> Words:
    """Return the word of every symbol and digits, signs included."""
    half = reconstruct_magnitudes(fmt, _indices(digits), step - digits, delta, target)
    return np.concatenate((half, half | target.word.type(1 << target.sign_bit)))


@lru_cache(maxsize=_CACHED)
def _word_table(fmt: FloatFormat, digits: int, step: int) -> tuple[Words, NDArray[np.uint8]]:
    """Return the truncated word and missing bits of every symbol and digits, signs included."""
    half, width, off = truncate_magnitudes(fmt, _indices(digits), step - digits)
    width[off] = OFF_GRID
    words = np.concatenate((half, half | fmt.word.type(1 << fmt.sign_bit)))
    return words, np.concatenate((width, width))


def _indices(digits: int) -> NDArray[np.uint64]:
    return np.arange((OUTLIER + 1) << digits, dtype=np.uint64)


class Lookup:
    """Rebuilds runs of weights that share a step exponent.

    Parameters
    ----------
    fmt : FloatFormat
        Source format.
    digits : int
        Digits d of the tier reached.
    symbols : ndarray of uint8, shape (n,)
        Base symbols of the live weights.
    low : ndarray of uint32, shape (n,), optional
        Their digits.
    runs : list of (int, int, int)
        Runs (start, stop, K) that cover them.
    """

    def __init__(
        self,
        fmt: FloatFormat,
        digits: int,
        symbols: NDArray[np.uint8],
        low: NDArray[np.uint32] | None,
        runs: Runs,
    ) -> None:
        self._fmt = fmt
        self._digits = digits
        self._symbols = symbols
        self._runs = runs
        self._tabled = digits <= _TABLE_DIGITS
        kind = np.uint16 if self._tabled else np.uint64
        self._index: NDArray[np.unsignedinteger] = symbols
        if low is not None:
            self._index = symbols.astype(kind)
            self._index <<= kind(digits)
            self._index |= low.astype(kind)

    def _signs(self, start: int, stop: int, fmt: FloatFormat) -> Words:
        sign = (self._symbols[start:stop] >> np.uint8(7)).astype(fmt.word)
        placed: Words = sign << fmt.word.type(fmt.sign_bit)
        return placed

    def _plain(self, start: int, stop: int) -> NDArray[np.uint64]:
        """Return grid indices without the sign."""
        mask = np.uint64((128 << self._digits) - 1)
        return self._index[start:stop].astype(np.uint64) & mask

    def reconstruct(self, delta: tuple[int, int], target: FloatFormat) -> Words:
        """Return words in the target format, signs included."""
        out = np.empty(len(self._symbols), target.word)
        for start, stop, step in self._runs:
            if self._tabled:
                table = _value_table(self._fmt, self._digits, step, delta, target)
                np.take(table, self._index[start:stop], out=out[start:stop], mode="clip")
                continue
            fine = step - self._digits
            made = reconstruct_magnitudes(self._fmt, self._plain(start, stop), fine, delta, target)
            out[start:stop] = made | self._signs(start, stop, target)
        return out

    def truncated(self) -> Truncated:
        """Return the words that the digits give, and what is missing below them."""
        words = np.empty(len(self._symbols), self._fmt.word)
        width = np.empty(len(self._symbols), np.uint8)
        for start, stop, step in self._runs:
            if self._tabled:
                tables = _word_table(self._fmt, self._digits, step)
                part = self._index[start:stop]
                np.take(tables[0], part, out=words[start:stop], mode="clip")
                np.take(tables[1], part, out=width[start:stop], mode="clip")
                continue
            made = truncate_magnitudes(self._fmt, self._plain(start, stop), step - self._digits)
            words[start:stop] = made[0] | self._signs(start, stop, self._fmt)
            width[start:stop] = np.where(made[2], np.uint8(OFF_GRID), made[1])
        kind = self._index.dtype.type
        tiny = np.flatnonzero((self._index & kind((128 << self._digits) - 1)) == 0)
        return Truncated(words, width, tiny, self._steps_at(tiny) - np.int32(self._digits))

    def _steps_at(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        starts = np.array([run[0] for run in self._runs], np.int64)
        steps = np.array([run[2] for run in self._runs], np.int32)
        if not len(starts):
            return np.empty(0, np.int32)
        # An empty run has the start of the next one: the last of equals is the one that holds it.
        return steps[np.searchsorted(starts, places, side="right") - 1]
