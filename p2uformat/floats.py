"""The float formats that the bitplane ladder splits (SPEC.md, section 3).

A format is described by a few integers, and everything else in the library is written against
those, so that no code below knows about a particular dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

__all__ = ["FORMATS", "FloatFormat"]


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """One IEEE-like binary float format.

    Parameters
    ----------
    name : str
        The safetensors name of the dtype, e.g. ``"BF16"``.
    itemsize : int
        Bytes per element.
    mantissa : int
        Stored mantissa bits, M in SPEC.md.
    exponent_bits : int
        Bits of the exponent field.
    emin : int
        Exponent of the smallest normal number.
    max_word : int
        Magnitude word (bit pattern without the sign) of the largest finite value.
    numpy : numpy.dtype
        The numpy (or ml_dtypes) dtype.
    word : numpy.dtype
        The unsigned integer dtype of the same size, little-endian.

    Examples
    --------
    >>> FORMATS["BF16"].mantissa, FORMATS["BF16"].emin
    (7, -126)
    """

    name: str
    itemsize: int
    mantissa: int
    exponent_bits: int
    emin: int
    max_word: int
    numpy: np.dtype[np.generic]
    word: np.dtype[np.unsignedinteger]

    @property
    def sign_bit(self) -> int:
        """Position of the sign bit."""
        return 8 * self.itemsize - 1

    @property
    def max_field(self) -> int:
        """Exponent field of the largest finite value."""
        return self.max_word >> self.mantissa

    @property
    def exponent_bytes(self) -> int:
        """Bytes that hold an exponent symbol of the exact layer (SPEC.md, 6.3)."""
        return 2 if self.exponent_bits > 8 else 1


def _format(
    name: str, dtype: type[np.generic], mantissa: int, exponent_bits: int, emin: int, max_word: int
) -> FloatFormat:
    numpy = np.dtype(dtype)
    word = np.dtype(f"<u{numpy.itemsize}")
    return FloatFormat(name, numpy.itemsize, mantissa, exponent_bits, emin, max_word, numpy, word)


FORMATS: dict[str, FloatFormat] = {
    fmt.name: fmt
    for fmt in (
        _format("F64", np.float64, 52, 11, -1022, 0x7FEF_FFFF_FFFF_FFFF),
        _format("F32", np.float32, 23, 8, -126, 0x7F7F_FFFF),
        _format("F16", np.float16, 10, 5, -14, 0x7BFF),
        _format("BF16", ml_dtypes.bfloat16, 7, 8, -126, 0x7F7F),
        _format("F8_E4M3", ml_dtypes.float8_e4m3fn, 3, 4, -6, 0x7E),
        _format("F8_E5M2", ml_dtypes.float8_e5m2, 2, 5, -14, 0x7B),
    )
}
