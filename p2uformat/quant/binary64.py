"""Pinned binary64 arithmetic of the quantizers without a ladder (SPEC.md, section 19).

Reconstruction has to be the same bits in every reader, and fitted parameters the same in every
writer. So every operation here is a single IEEE operation on one element, or a sum whose order is
given: numpy's own sums, and those of a BLAS, differ between builds.
"""

from __future__ import annotations

import math
import sys
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.quant.rounding import cast_words

__all__ = [
    "SourceValues",
    "add_up",
    "add_up_rows",
    "as_scaled",
    "clamped",
    "magnitude_of",
    "nan_word",
    "rounded",
    "scaled_value",
    "source_values",
]

Words = NDArray[np.unsignedinteger]
F64 = NDArray[np.float64]
LARGEST: Final = sys.float_info.max
_KEPT: Final = 32  # bits of a figure's mantissa
_DOUBLE: Final = FORMATS["F64"]
_SINGLE: Final = FORMATS["F32"]


class SourceValues:
    """The weights of a block as binary64 numbers.

    Parameters
    ----------
    fmt : FloatFormat
        Their format.
    words : ndarray of unsigned integers
        Their bit patterns.

    Attributes
    ----------
    values : ndarray of float64
        The numbers, exactly; NaN and infinities stay what they are.
    finite : ndarray of bool, or None
        Which are finite; None if all are.
    """

    __slots__ = ("finite", "fmt", "values", "words")

    def __init__(self, fmt: FloatFormat, words: Words) -> None:
        self.fmt = fmt
        self.words = words
        self.values = source_values(fmt, words)
        finite = magnitude_of(fmt, words) <= fmt.word.type(fmt.max_word)
        self.finite = None if finite.all() else finite


def magnitude_of(fmt: FloatFormat, words: Words) -> Words:
    """Return bit patterns without the sign."""
    magnitude: Words = words & fmt.word.type((1 << fmt.sign_bit) - 1)
    return magnitude


def source_values(fmt: FloatFormat, words: Words) -> F64:
    """Return bit patterns as binary64 numbers: every source dtype fits, so nothing is rounded.

    Examples
    --------
    >>> source_values(FORMATS["BF16"], np.array([0x3FC0], np.uint16))
    array([1.5])
    """
    with np.errstate(invalid="ignore"):  # signalling NaNs are not an error here
        return words.view(fmt.numpy).astype(np.float64)


def clamped(fmt: FloatFormat, values: F64) -> F64:
    """Limit numbers to what a format holds; NaN stays NaN."""
    largest = float(source_values(fmt, np.array([fmt.max_word], fmt.word))[0])
    return np.clip(values, -largest, largest)


def rounded(values: F64, target: FloatFormat) -> Words:
    """Round binary64 numbers to a format, once, to nearest, ties to even; none of them is NaN.

    Examples
    --------
    >>> rounded(np.array([1.0000001]), FORMATS["BF16"]).tolist() == [0x3F80]
    True
    """
    if target is _SINGLE:
        with np.errstate(over="ignore", under="ignore"):
            return values.astype(np.float32).view(target.word)
    return cast_words(_DOUBLE, values.view(_DOUBLE.word), target)


def nan_word(fmt: FloatFormat, fraction: NDArray[np.unsignedinteger], bits: int) -> Words:
    """Return NaNs of a format, without sign, that keep the leading bits of a fraction.

    Parameters
    ----------
    fmt : FloatFormat
        The format.
    fraction : ndarray of unsigned integers
        Fractions of NaNs of another format.
    bits : int
        How many bits a fraction has there.
    """
    if fmt.name == "F8_E4M3":
        return np.full(len(fraction), fmt.max_word + 1, fmt.word)
    wide = fraction.astype(np.uint64)
    shift = fmt.mantissa - bits
    kept = wide << np.uint64(shift) if shift >= 0 else wide >> np.uint64(-shift)
    kept[kept == 0] = 1 << (fmt.mantissa - 1)
    word: Words = (kept + np.uint64(fmt.max_word + 1)).astype(fmt.word)
    return word


def add_up(values: F64) -> float:
    """Add numbers by halves, in the one order of SPEC.md, section 19.

    While there is more than one, the upper half is added to the lower; of an odd number the middle
    one stays. This is as exact as pairwise summation, and every step is elementwise.

    Examples
    --------
    >>> add_up(np.array([1.0, 2.0, 3.0])), add_up(np.array([]))
    (6.0, 0.0)
    """
    if not len(values):
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        while len(values) > 1:
            half = (len(values) + 1) // 2
            lower = values[:half].copy()
            lower[: len(values) - half] += values[half:]
            values = lower
    return float(values[0])


def add_up_rows(values: F64, starts: NDArray[np.int64]) -> F64:
    """Add numbers by halves in runs, each as `add_up` does.

    Parameters
    ----------
    values : ndarray of float64
        The numbers, none of which overflows a sum.
    starts : ndarray of int64
        Where each run starts; none is empty.

    Examples
    --------
    >>> add_up_rows(np.array([1.0, 2.0, 3.0]), np.array([0, 2]))
    array([3., 3.])
    """
    lengths = np.diff(starts, append=len(values))
    sums = np.empty(len(starts))
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        table = values[starts[rows][:, None] + np.arange(length)]
        while table.shape[1] > 1:
            half = (table.shape[1] + 1) // 2
            lower = table[:, :half].copy()
            lower[:, : table.shape[1] - half] += table[:, half:]
            table = lower
        sums[rows] = table[:, 0]
    return sums


def as_scaled(value: float, *, up: bool) -> tuple[int, int]:
    """Return a number that is not negative as ``(mantissa, exponent)``, 32 bits kept.

    Parameters
    ----------
    value : float
        The number; what overflowed counts as the largest finite one.
    up : bool
        Whether to round up, as a bound is, and not down.

    Examples
    --------
    >>> as_scaled(0.75, up=True), as_scaled(0.0, up=False)
    ((3, -2), (0, 0))
    """
    if not value:
        return 0, 0
    mantissa, below = min(value, LARGEST).as_integer_ratio()
    exponent = 1 - below.bit_length()
    drop = max(0, mantissa.bit_length() - _KEPT)
    mantissa = -(-mantissa >> drop) if up else mantissa >> drop
    trailing = (mantissa & -mantissa).bit_length() - 1
    return mantissa >> trailing, exponent + drop + trailing


def scaled_value(scaled: tuple[int, int]) -> float:
    """Return ``mantissa * 2**exponent``, infinity where no float is as large.

    Examples
    --------
    >>> scaled_value((3, -2))
    0.75
    """
    try:
        return math.ldexp(*scaled)
    except OverflowError:
        return math.inf
