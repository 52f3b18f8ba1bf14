"""Floats to integers: the grid indices of the ladder and what is left below them.

This is the numpy kernel of SPEC.md, section 4, in the direction of encoding. Everything works on
bit patterns; no float arithmetic is done on the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.floats import FloatFormat
from p2uformat.quant.rounding import log2_floor, significands

__all__ = [
    "GUARD_BITS",
    "MINUS_ZERO",
    "OUTLIER",
    "PLUS_ZERO",
    "Split",
    "base_symbols",
    "reconstruction_guard",
    "remainder_widths",
]

Words = NDArray[np.unsignedinteger]
U8 = NDArray[np.uint8]

OUTLIER = 127
GUARD_BITS = 8  # reconstruction bytes count 1/256 steps
PLUS_ZERO = 255
MINUS_ZERO = 254
_SYMBOL_SHIFT = 8  # a left shift by this much is past every symbol, and so is more


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a block's words that every layer is computed from.

    Parameters
    ----------
    fmt : FloatFormat
        The source format.
    words : ndarray of uint, shape (n,)
        Bit patterns.
    magnitude : ndarray of uint, shape (n,)
        The same without the sign.
    sig : ndarray of uint32 or uint64, shape (n,)
        Significands.
    unit : ndarray of int32, shape (n,)
        Exponent of the significand's last bit.
    """

    fmt: FloatFormat
    words: Words
    magnitude: Words
    sig: NDArray[np.unsignedinteger]
    unit: NDArray[np.int32]

    @classmethod
    def of(cls, fmt: FloatFormat, words: Words) -> Split:
        """Take words apart."""
        magnitude = words & fmt.word.type((1 << fmt.sign_bit) - 1)
        sig, unit = significands(fmt, magnitude)
        return cls(fmt, words, magnitude, sig, unit)

    def index(self, step: NDArray[np.int32], most_left: int) -> NDArray[np.unsignedinteger]:
        """Return ``floor(|w| / 2**step)``; left shifts are capped, which only outliers meet."""
        width = self.sig.dtype.itemsize * 8 - 1
        shift = step - self.unit
        right = np.clip(shift, 0, width).astype(self.sig.dtype)
        left = np.clip(-shift, 0, min(most_left, width)).astype(self.sig.dtype)
        index: NDArray[np.unsignedinteger] = (self.sig >> right) << left
        return index


def base_symbols(split: Split, step: NDArray[np.int32], *, sparse: bool) -> U8:
    """Return the base layer's symbols (SPEC.md, section 4).

    Parameters
    ----------
    split : Split
        The block.
    step : ndarray of int32, shape (n,)
        K of each weight's segment.
    sparse : bool
        The block's sparse flag.
    """
    fmt = split.fmt
    m = np.minimum(split.index(step, _SYMBOL_SHIFT), OUTLIER).astype(np.uint8)
    sign = (split.words >> fmt.sign_bit).astype(np.uint8) << np.uint8(7)
    symbols: U8 = m | sign
    outlier = (m == OUTLIER) | (split.magnitude > fmt.max_word)
    if sparse:
        outlier |= symbols == MINUS_ZERO
    symbols[outlier] = OUTLIER
    if sparse:
        zero = split.magnitude == 0
        symbols[zero] = PLUS_ZERO - (sign[zero] >> np.uint8(7))
    return symbols


def remainder_widths(
    fmt: FloatFormat, n: NDArray[np.unsignedinteger], step: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return how many low bits of the word each weight still lacks (SPEC.md, section 4).

    Parameters
    ----------
    fmt : FloatFormat
        The source format.
    n : ndarray of unsigned integers, shape (n,)
        Indices at the last lossy tier.
    step : ndarray of int32, shape (n,)
        ``Kt`` of that tier.
    """
    room = np.clip(step - np.int32(fmt.emin - fmt.mantissa), 0, fmt.mantissa)
    known = np.maximum(log2_floor(n), 0)
    result: NDArray[np.int32] = np.clip(fmt.mantissa - known, 0, room)
    return result


def reconstruction_guard(
    fmt: FloatFormat, n: NDArray[np.unsignedinteger], step: int | NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return how far a bin's reconstruction is capped (SPEC.md, section 4).

    Parameters
    ----------
    fmt : FloatFormat
        The source format.
    n : ndarray of unsigned integers, shape (n,)
        Grid indices.
    step : int or ndarray of int32, shape (n,)
        ``Kt``.

    Returns
    -------
    ndarray of int32
        0: not at all; g: the bin's last source value lies ``2**g / 256`` steps below its end;
        `GUARD_BITS`: the bin holds one source value.
    """
    edge = np.where(n == 0, step - 1, log2_floor(n) + step)
    unit = np.maximum(edge, fmt.emin) - fmt.mantissa
    guard: NDArray[np.int32] = np.clip(unit - (step - GUARD_BITS), 0, GUARD_BITS)
    return guard
