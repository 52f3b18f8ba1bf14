"""The exact tier behind a quantizer: how many floats lie between (SPEC.md, section 19.3).

Source and reconstruction are numbered in order of their values, with a number for every bit
pattern, so the difference of two numbers always leads from one to the other: -0, infinities and
NaN payloads too, which no difference of floats would bring back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2uformat.errors import Malformed
from p2uformat.floats import FloatFormat

__all__ = ["from_residual", "residual"]

Buffer = bytes | memoryview
Words = NDArray[np.unsignedinteger]


def residual(fmt: FloatFormat, words: Words, near: Words) -> bytes:
    """Return what turns a reconstruction into the source.

    Parameters
    ----------
    fmt : FloatFormat
        Format of both.
    words, near : ndarray of unsigned integers, shape (n,)
        Bit patterns of the source, and of its reconstruction.

    Returns
    -------
    bytes
        For each weight the difference d of the two codes, modulo the word, as ``2 d`` where it is
        not negative, else ``-1 - 2 d``: small differences of either sign have leading zeros.

    Examples
    --------
    >>> from p2uformat.floats import FORMATS
    >>> a, b = np.array([1.0, 1.0], np.float16), np.array([1.0, 1.001], np.float16)
    >>> residual(FORMATS["F16"], b.view(np.uint16), a.view(np.uint16)).hex()
    '00000200'
    """
    difference = (_codes(fmt, words) - _codes(fmt, near)).astype(fmt.word)
    negative = difference >> fmt.word.type(fmt.sign_bit)
    folded = (difference << fmt.word.type(1)) ^ -negative
    return bytes(folded.astype(fmt.word).data)


def from_residual(fmt: FloatFormat, data: Buffer, near: Words) -> Words:
    """Return the source, bit for bit.

    Raises
    ------
    Malformed
        If the residual is of another number of weights.
    """
    if len(data) != len(near) * fmt.itemsize:
        raise Malformed(f"residual: expected {len(near) * fmt.itemsize} bytes, got {len(data)}")
    folded = np.frombuffer(data, fmt.word)
    difference = (folded >> fmt.word.type(1)) ^ -(folded & fmt.word.type(1))
    codes = (_codes(fmt, near) + difference).astype(fmt.word)
    return _codes(fmt, codes)


def _codes(fmt: FloatFormat, words: Words) -> Words:
    """Return the place of each word in the order of values, as two's complement.

    It is its own inverse: with the sign all other bits are flipped, and back.
    """
    negative = words >> fmt.word.type(fmt.sign_bit)
    codes: Words = words ^ (-negative & fmt.word.type((1 << fmt.sign_bit) - 1))
    return codes
