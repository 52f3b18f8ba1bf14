"""What the planner knows of a segment: a histogram of magnitudes, eight bins an octave.

A bin is an eighth of an octave, so for a power-of-two step the grid index of a bin is known exactly
up to 15 and to within the bin above; rates and distortions of every candidate step follow from one
pass over the weights, in integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from p2uformat.floats import FloatFormat
from p2uformat.quant.split import OUTLIER, Split

__all__ = [
    "BINS",
    "CANDIDATES",
    "EMPTY",
    "SegmentStats",
    "distortions",
    "magnitudes",
    "remainders",
    "segment_stats",
]

_BELOW, _ABOVE, _SUB = 11, 10, 8
BINS = (_BELOW + _ABOVE) * _SUB + 1  # bin 0: zero, or too small to matter
CANDIDATES = tuple(range(-8, 4))  # K relative to a segment's anchor
EMPTY = -(1 << 14)  # anchor of a segment without a nonzero finite weight
SPREAD = 8  # magnitudes() are in eighths
_DELTA = 120  # assumed reconstruction byte, of 256
_FAR = 1 << 20


@dataclass(frozen=True, slots=True)
class SegmentStats:
    """Histograms of a block's segments.

    Parameters
    ----------
    counts : ndarray of uint16 or uint32, shape (segments, BINS)
        Weights per bin; zeros and the tiny are in bin 0, what is not finite in the last.
    anchor : ndarray of int16, shape (segments,)
        Octave that the bins are relative to, about the RMS of the segment.
    """

    counts: NDArray[np.unsignedinteger]
    anchor: NDArray[np.int16]


def segment_stats(
    fmt: FloatFormat, words: NDArray[np.unsignedinteger], segment: int
) -> SegmentStats:
    """Collect the statistics of one block.

    Parameters
    ----------
    fmt : FloatFormat
        Source format.
    words : ndarray of uint, shape (n,)
        Bit patterns.
    segment : int
        Weights per segment.
    """
    split = Split.of(fmt, words)
    finite = split.magnitude <= fmt.max_word
    usable = finite & (split.magnitude != 0)
    # The exponent and three leading bits of a float64 are the eighth of the octave.
    code = (split.sig.astype(np.float64).view(np.int64) >> 49).astype(np.int32)
    code += _SUB * (split.unit - np.int32(1023))
    heads = np.arange(0, len(words), segment)
    number = np.maximum(np.add.reduceat(usable.astype(np.int64), heads), 1)
    total = np.add.reduceat(np.where(usable, code, 0).astype(np.int64), heads)
    # The mean logarithm of a normal distribution is 0.9 octaves below its RMS.
    anchor = (total // number + 7) // _SUB
    anchor[np.add.reduceat(usable.astype(np.int64), heads) == 0] = EMPTY
    code[split.magnitude == 0] = -_FAR
    code[~finite] = _FAR
    which = np.repeat(np.arange(len(heads), dtype=np.int32), segment)[: len(words)]
    relative = code - (anchor.astype(np.int32) * _SUB)[which] + (_BELOW * _SUB + 1)
    place = np.clip(relative, 0, BINS - 1) + which * np.int32(BINS)
    counts = np.bincount(place, minlength=len(heads) * BINS).reshape(-1, BINS)
    kind = np.uint16 if segment < 1 << 16 else np.uint32
    return SegmentStats(counts.astype(kind), anchor.astype(np.int16))


@cache
def magnitudes() -> NDArray[np.int64]:
    """Return how a bin spreads over grid indices, in eighths; shape (candidates, BINS, 128)."""
    table = np.zeros((len(CANDIDATES), BINS, OUTLIER + 1), np.int64)
    for row, offset in enumerate(CANDIDATES):
        table[row, 0, 0] = SPREAD
        for place in range(1, BINS):
            octave, sub = divmod(place - 1, _SUB)
            height = octave - _BELOW - offset
            for eighth in range(SPREAD):  # each eighth of the bin by its middle
                fine = (_SUB + sub) * 2 * SPREAD + 2 * eighth + 1  # in 1/128 of the octave's start
                index = (fine << height >> 7) if height >= 0 else fine >> (7 - height)
                table[row, place, min(index, OUTLIER)] += 1
    return table


@cache
def distortions() -> NDArray[np.int64]:
    """Return a bin's squared error in 2**-16 squared steps; shape (candidates, BINS)."""
    table = np.zeros((len(CANDIDATES), BINS), np.int64)
    for row, offset in enumerate(CANDIDATES):
        for place in range(1, BINS):
            octave, sub = divmod(place - 1, _SUB)
            height = octave - _BELOW - offset
            table[row, place] = _bin_distortion(height, sub)
    return table


def _bin_distortion(height: int, sub: int) -> int:
    """Mean squared error inside one bin whose octave starts at 2**height steps."""
    if height >= 7:
        return 0  # outliers are exact
    if height > 3:
        return (256 * 256 // 12) + (128 - _DELTA) ** 2  # whole steps, evenly filled
    total = 0
    for eighth in range(SPREAD):
        fine = (_SUB + sub) * 2 * SPREAD + 2 * eighth + 1
        value = fine << (height + 1) if height >= -1 else fine >> -(height + 1)  # in 1/256 steps
        total += ((value & 255) - _DELTA) ** 2
    return total // SPREAD


def remainders(mantissa: int, digits: int) -> NDArray[np.int64]:
    """Return the bits of the exact layer that a weight of a bin needs, shape (candidates, BINS)."""
    table = np.full((len(CANDIDATES), BINS), mantissa + 3, np.int64)  # an exponent is about 3 bits
    for row, offset in enumerate(CANDIDATES):
        for place in range(1, BINS):
            known = (place - 1) // _SUB - _BELOW - offset + digits
            if known >= 0:
                table[row, place] = max(0, mantissa - known)
    return table
