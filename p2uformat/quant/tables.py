"""Decoding by table: for one step exponent a symbol and its digits name the result.

A block has few step exponents, so the exact rule of SPEC.md, section 4, is evaluated once per
exponent and index, and the weights only look it up. Ladders with many digits evaluate it directly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.errors import Malformed
from p2uformat.floats import FloatFormat
from p2uformat.quant.rounding import log2_floor, round_scaled, significands
from p2uformat.quant.split import OUTLIER, remainder_widths

__all__ = ["Lookup", "Truncated", "reconstruct_magnitudes", "truncate_magnitudes"]

Words = NDArray[np.unsignedinteger]
Runs = list[tuple[int, int, int]]
_TABLE_DIGITS = 6  # a table has 256 << digits entries
_GUARD = 8  # delta counts 1/256 steps


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
    edge = np.where(zero, step - 1, log2_floor(n) + step)
    unit = np.maximum(edge, fmt.emin) - fmt.mantissa
    single = unit >= step
    guard = np.clip(unit - (step - _GUARD), 0, _GUARD)
    whole = n << np.uint64(_GUARD)
    offset = np.where(zero, np.uint64(delta[0]), np.uint64(delta[1]))
    room = np.uint64(256) - (np.uint64(1) << guard.astype(np.uint64))
    offset = np.where(guard > 0, np.minimum(offset, room), offset)
    value = whole + np.where(single, np.uint64(0), offset)
    words = round_scaled(target, value, step - _GUARD)
    return _clamp(fmt, target, value, step - _GUARD, words)


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
    """Return the words of ``n * 2**step``, the missing bits, and which n are off the source grid."""
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
    """What the exact layer is laid over."""

    words: Words
    width: NDArray[np.uint8]
    tiny: NDArray[np.int64]
    fine: NDArray[np.int32]


class Lookup:
    """Rebuilds runs of weights that share a step exponent.

    Parameters
    ----------
    fmt : FloatFormat
        Source format.
    digits : int
        Digits d of the tier reached.
    """

    def __init__(self, fmt: FloatFormat, digits: int) -> None:
        self._fmt = fmt
        self._digits = digits

    def _index(
        self, symbols: NDArray[np.uint8], low: NDArray[np.uint32] | None
    ) -> NDArray[np.unsignedinteger]:
        if low is None:
            return symbols
        kind = np.uint16 if self._digits <= _TABLE_DIGITS else np.uint64
        high = symbols.astype(kind) << kind(self._digits)
        index: NDArray[np.unsignedinteger] = high | low.astype(kind)
        return index

    def _all(self) -> NDArray[np.uint64]:
        """Every index without a sign."""
        return np.arange((OUTLIER + 1) << self._digits, dtype=np.uint64)

    def _tabled(self, longest: int) -> bool:
        return self._digits <= _TABLE_DIGITS and longest > (OUTLIER << self._digits)

    def reconstruct(
        self,
        symbols: NDArray[np.uint8],
        low: NDArray[np.uint32] | None,
        runs: Runs,
        delta: tuple[int, int],
        target: FloatFormat,
    ) -> Words:
        """Return words in the target format, signs included."""
        index = self._index(symbols, low)
        out = np.empty(len(symbols), target.word)
        totals: dict[int, int] = {}
        for start, stop, step in runs:
            totals[step] = totals.get(step, 0) + stop - start
        tables: dict[int, Words] = {}
        for start, stop, step in runs:
            part = index[start:stop]
            fine = step - self._digits
            if step not in tables and self._tabled(totals[step]):
                half = reconstruct_magnitudes(self._fmt, self._all(), fine, delta, target)
                sign = target.word.type(1 << target.sign_bit)
                tables[step] = np.concatenate((half, half | sign))
            if step in tables:
                np.take(tables[step], part, out=out[start:stop], mode="clip")
                continue
            n = part.astype(np.uint64) & np.uint64((128 << self._digits) - 1)
            made = reconstruct_magnitudes(self._fmt, n, fine, delta, target)
            sign_bits = (symbols[start:stop] >> np.uint8(7)).astype(target.word)
            out[start:stop] = made | (sign_bits << target.word.type(target.sign_bit))
        return out

    def truncated(
        self, symbols: NDArray[np.uint8], low: NDArray[np.uint32] | None, runs: Runs
    ) -> Truncated:
        """Return the words that the digits give, without sign, and what is missing below them."""
        index = self._index(symbols & np.uint8(127), low)
        words = np.empty(len(symbols), self._fmt.word)
        width = np.empty(len(symbols), np.uint8)
        fine = np.empty(len(symbols), np.int32)
        tables: dict[int, tuple[Words, NDArray[np.uint8], NDArray[np.bool_]]] = {}
        for start, stop, step in runs:
            part = index[start:stop]
            fine[start:stop] = step - self._digits
            if self._digits <= _TABLE_DIGITS:
                if step not in tables:
                    tables[step] = truncate_magnitudes(self._fmt, self._all(), step - self._digits)
                np.take(tables[step][0], part, out=words[start:stop], mode="clip")
                np.take(tables[step][1], part, out=width[start:stop], mode="clip")
                off = tables[step][2]
                wrong = bool(off.any()) and off[part]
            else:
                made = truncate_magnitudes(
                    self._fmt, part.astype(np.uint64), step - self._digits
                )
                words[start:stop], width[start:stop], wrong = made
            if np.any(wrong & (symbols[start:stop] != OUTLIER)):
                raise Malformed("a weight's digits are off the source grid")
        tiny = np.flatnonzero(index == 0)
        return Truncated(words, width, tiny, fine)
