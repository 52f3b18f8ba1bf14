"""What codes of levels cost, and how far they may be off (SPEC.md, 19.6).

These figures are part of a content root, so they are integers, or binary64 one operation at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.quant.binary64 import add_up, add_up_rows, source_values
from p2uformat.quant.cuts import Cut
from p2uformat.quant.levels import Levels

__all__ = ["LevelTally", "entropy_bits", "log2_fixed", "most_bits", "tally", "variance_bounds"]

F64 = NDArray[np.float64]
Words = NDArray[np.unsignedinteger]
_PLACES: Final = 32  # binary places of a logarithm


@dataclass(frozen=True, slots=True, eq=False)
class LevelTally:
    """What one block adds to the figures of an update.

    Parameters
    ----------
    counts : ndarray of int64
        How often each code occurs.
    norm_bits : int
        Bits of the norms.
    expected : float
        Mean of the sum of squared errors, over what stochastic rounding may draw.
    bound : float
        What that cannot be above.
    """

    counts: NDArray[np.int64]
    norm_bits: int
    expected: float
    bound: float


def tally(form: Levels, cut: Cut, norms: Words, found: F64, codes: NDArray[np.uint8]) -> LevelTally:
    """Return the figures of a block.

    Parameters
    ----------
    form, cut, norms
        The quantizer, the buckets and their norms.
    found : ndarray of float64
        The weights over their norms.
    codes : ndarray of uint8
        Their codes.
    """
    levels = np.array(form.levels)
    norm = source_values(form.scale_format, norms)
    if form.rounding == "stochastic":
        below = np.clip(np.searchsorted(levels, found, "right") - 1, 0, len(levels) - 2)
        squares = (found - levels[below]) * (levels[below + 1] - found)
    else:
        away = found - levels[codes]
        squares = away * away
    with np.errstate(over="ignore", under="ignore"):
        energy = add_up_rows(found * found, cut.starts)
        lengths = np.diff(cut.starts, append=cut.weights).astype(np.float64)
        bound = _times_square(variance_bounds(form.levels, lengths, energy), norm)
        expected = _times_square(add_up_rows(squares, cut.starts), norm)
    counts = np.bincount(codes, minlength=len(levels))
    bits = 8 * form.scale_format.itemsize * cut.count
    return LevelTally(counts, bits, add_up(expected), add_up(bound))


def _times_square(sums: F64, norm: F64) -> F64:
    """Return sums times squares of norms; nothing is off by nothing, however large those are."""
    square = norm * norm
    square[sums == 0] = 0
    return sums * square


def variance_bounds(levels: tuple[float, ...], lengths: F64, energy: F64) -> F64:
    """Return what the variance of rounding numbers between -1 and 1 to levels cannot be above.

    The sum of ``(x - a) * (b - x)`` over numbers x between neighbouring levels a and b is at most
    ``n / 4`` times the square of the largest gap; at most ``root(n * energy)`` times the largest
    ``(root(b) - root(a))^2`` of magnitudes a < b, which for ``uniform`` is QSGD's ``root(n) / s``;
    and, as for NUQSGD, at most ``energy`` times the largest ``(b - a)^2 / (4 a b)`` with a > 0, and
    for what lies next to 0 the first or the second of these. The last two need a level 0.

    Parameters
    ----------
    levels : tuple of float
        The table.
    lengths, energy : ndarray of float64
        Of each bucket, how many numbers there are, and the sum of their squares.

    Examples
    --------
    >>> variance_bounds((-1.0, 0.0, 1.0), np.array([100.0]), np.array([1.0]))
    array([10.])
    """
    table = np.array(levels)
    gaps = np.diff(table)
    widest = float(gaps.max()) ** 2 / 4
    if (levels[0], levels[-1]) != (-1.0, 1.0):
        # What is beyond the table goes to its end.
        return lengths * max(widest, (1 - levels[-1]) ** 2, (1 + levels[0]) ** 2)
    plain: F64 = lengths * widest
    if 0.0 not in levels:
        return plain
    low, high = np.sort(np.abs(np.stack((table[:-1], table[1:]))), axis=0)
    first = low == 0
    near = float(high[first].max())
    root = np.sqrt(lengths * energy)
    steepest = float(((np.sqrt(high) - np.sqrt(low)) ** 2).max())
    inner, outer = low[~first], high[~first]
    share = float(((outer - inner) ** 2 / (4 * inner * outer)).max()) if len(inner) else 0.0
    apart = share * energy + np.minimum(lengths * (near * near / 4), near * root)
    return np.minimum(np.minimum(plain, steepest * root), apart)


def log2_fixed(number: int) -> int:
    """Return ``floor(log2(number) * 2**32)`` or one less, in integers alone, of a number above 0.

    Examples
    --------
    >>> log2_fixed(8) >> 32, log2_fixed(3) / 2**32
    (3, 1.5849625004921108)
    """
    whole = number.bit_length() - 1
    # 64 bits of the mantissa: squared again and again, its overflows are the binary places.
    mantissa = number << 63 >> whole
    result = whole
    for _ in range(_PLACES):
        mantissa = mantissa * mantissa >> 63
        carry = mantissa >> 64
        mantissa >>= carry
        result = result << 1 | carry
    return result


def entropy_bits(counts: Iterable[int]) -> int:
    """Return the bits that codes of one frequency each take at least, rounded up.

    Examples
    --------
    >>> entropy_bits([50, 50]), entropy_bits([4, 0])
    (100, 0)
    """
    known = [int(count) for count in counts if count]
    total = sum(known)
    fixed = sum(count * (log2_fixed(total) - log2_fixed(count)) for count in known)
    return -(-fixed >> _PLACES)


def most_bits(codes: int, weights: int) -> int:
    """Return the bits of so many codes if all are as frequent: no entropy is above that.

    Examples
    --------
    >>> most_bits(4, 100)
    200
    """
    up = codes & (codes - 1) != 0  # of a power of two nothing is cut off
    return -(-weights * (log2_fixed(codes) + up) >> _PLACES)
