"""Exact rounding of scaled integers to a float format (SPEC.md, section 4, reconstruction).

numpy's casts cannot be used for this: a cast from float64 to an ml_dtypes type rounds twice, by way
of float32, and reconstruction has to be the same bits in every reader.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2uformat.floats import FORMATS, FloatFormat

__all__ = ["cast_words", "format_of", "log2_floor", "round_scaled", "significands"]

Words = NDArray[np.unsignedinteger]
_EXACT_NUMPY_CASTS = {
    (source, target)
    for source, targets in {
        "F16": ("F32", "F64"),
        "BF16": ("F32", "F64"),
        "F8_E4M3": ("F32", "F64"),
        "F8_E5M2": ("F16", "F32", "F64"),
        "F32": ("F64",),
    }.items()
    for target in targets
}


def format_of(dtype: np.dtype[np.generic]) -> FloatFormat | None:
    """Return the format of a numpy dtype, None if the ladder does not know it."""
    return next((fmt for fmt in FORMATS.values() if fmt.numpy == dtype), None)


def log2_floor(values: NDArray[np.unsignedinteger]) -> NDArray[np.int32]:
    """Return ``floor(log2(v))`` of integers below 2**53; of 0, a large negative number.

    Examples
    --------
    >>> log2_floor(np.array([1, 7, 8], np.uint32)).tolist()
    [0, 2, 3]
    """
    exponent = values.astype(np.float64).view(np.int64) >> 52
    result: NDArray[np.int32] = exponent.astype(np.int32) - np.int32(1023)
    return result


def significands(
    fmt: FloatFormat, magnitude: Words
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int32]]:
    """Return the integer significands and the exponents of their units, of magnitude words."""
    wide: np.dtype[np.unsignedinteger] = np.dtype(np.uint64 if fmt.itemsize == 8 else np.uint32)
    field = (magnitude >> fmt.mantissa).astype(np.int32)
    fraction = magnitude.astype(wide) & wide.type((1 << fmt.mantissa) - 1)
    sig = fraction | ((field > 0).astype(wide) << wide.type(fmt.mantissa))
    unit = np.maximum(field, 1) + np.int32(fmt.emin - fmt.mantissa - 1)
    return sig, unit


def round_scaled(
    fmt: FloatFormat, integer: NDArray[np.uint64], exponent: int | NDArray[np.int32]
) -> Words:
    """Round ``integer * 2**exponent`` to a format, to nearest, ties to even.

    Parameters
    ----------
    fmt : FloatFormat
        The output format.
    integer : ndarray of uint64
        Below 2**53.
    exponent : int or ndarray of int32
        Exponent of the unit.

    Returns
    -------
    ndarray
        Magnitude words of the format. What is too large becomes infinity (NaN in F8_E4M3).

    Examples
    --------
    >>> round_scaled(FORMATS["F32"], np.array([3], np.uint64), -1).view(np.float32)
    array([1.5], dtype=float32)
    """
    lowest = fmt.emin - fmt.mantissa
    unit = np.maximum(log2_floor(integer) + exponent - fmt.mantissa, lowest)
    shift = unit - exponent
    left = np.clip(-shift, 0, 63).astype(np.uint64)
    right = np.clip(shift, 0, 62).astype(np.uint64)
    one = np.uint64(1)
    # Adding half a unit less one, and the last bit kept, is "to nearest, ties to even".
    bias = np.where(right > 0, (one << right) >> one, one) - one + ((integer >> right) & one)
    bias = np.where(right > 0, bias, np.uint64(0))
    sig = ((integer + bias) >> right) << left
    scale = np.clip(unit - lowest, 0, fmt.max_field + 1).astype(np.uint64)
    word = np.where(integer == 0, np.uint64(0), sig + (scale << np.uint64(fmt.mantissa)))
    overflow = np.uint64(_infinity(fmt))
    limited = np.where(word > np.uint64(fmt.max_word), overflow, word)
    return limited.astype(fmt.word)


def _infinity(fmt: FloatFormat) -> int:
    return fmt.max_word + 1  # the word behind the largest finite one: infinity, or NaN in F8_E4M3


def cast_words(source: FloatFormat, words: Words, target: FloatFormat) -> Words:
    """Convert bit patterns from one format to another, each rounded once."""
    if source is target:
        return words
    if (source.name, target.name) in _EXACT_NUMPY_CASTS:
        with np.errstate(invalid="ignore"):  # signalling NaNs are not an error here
            return words.view(source.numpy).astype(target.numpy).view(target.word)
    sign = (words >> source.sign_bit).astype(target.word)
    magnitude = words & source.word.type((1 << source.sign_bit) - 1)
    sig, unit = significands(source, np.minimum(magnitude, source.word.type(source.max_word)))
    result = round_scaled(target, sig.astype(np.uint64), unit)
    special = magnitude > source.max_word
    if special.any():
        infinite = (magnitude == _infinity(source)) & (source.name != "F8_E4M3")
        nan = (1 << target.sign_bit) - 1
        result[special] = np.where(infinite[special], _infinity(target), nan).astype(target.word)
    signed: Words = result | (sign << target.word.type(target.sign_bit))
    return signed
