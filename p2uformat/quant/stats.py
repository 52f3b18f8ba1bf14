"""Integer statistics of a block: what deltas and errors are computed from (SPEC.md, 8.2 and 11).

All sums are of integers below 2**53, so that float64 accumulators are exact and the manifest does
not depend on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.quant.split import GUARD_BITS, Split, reconstruction_guard

__all__ = ["TierSums", "energy_sums", "scaled", "tier_sums"]

_ENERGY_BITS = 11


@dataclass(frozen=True, slots=True)
class TierSums:
    """Sums over the weights of one block at one tier.

    `cells` maps (step, zero, guard) to (count, sum of r, sum of r squared), r being
    ``floor(256 * (|w| / 2**Kt - n))`` and `guard` how far the reconstruction is capped.
    """

    cells: dict[tuple[int, bool, int], tuple[int, int, int]]


def tier_sums(
    split: Split,
    index: NDArray[np.unsignedinteger],
    step: NDArray[np.int32],
    inside: NDArray[np.bool_],
) -> TierSums:
    """Sum a tier of a block up, without weights whose bin holds one value: they have no error."""
    if not len(index):
        return TierSums({})
    zero = index == 0
    guard = reconstruction_guard(split.fmt, index, step)
    counted = inside & (guard < GUARD_BITS)
    lowest = int(step.min())
    below = split.index(step - np.int32(GUARD_BITS), 31) & split.sig.dtype.type(255)
    rest = below.astype(np.float64)
    key = ((step - lowest) * 2 + zero) * GUARD_BITS + guard
    key = key[counted]
    rest = rest[counted]
    counts = np.bincount(key)
    first = np.bincount(key, rest)
    second = np.bincount(key, rest * rest)
    cells = {}
    for cell in np.flatnonzero(counts).tolist():
        offset, guards = divmod(cell, GUARD_BITS)
        place = (lowest + offset // 2, bool(offset % 2), guards)
        cells[place] = (int(counts[cell]), int(first[cell]), int(second[cell]))
    return TierSums(cells)


def energy_sums(split: Split) -> dict[int, int]:
    """Return, per exponent of the unit, the sum of squares of the 12 leading significand bits."""
    fmt = split.fmt
    drop = max(0, fmt.mantissa - _ENERGY_BITS)
    finite = split.magnitude <= fmt.max_word
    sig = (split.sig[finite] >> split.sig.dtype.type(drop)).astype(np.float64)
    unit = split.unit[finite]
    if not len(unit):
        return {}
    lowest = int(unit.min())
    sums = np.bincount(unit - lowest, sig * sig)
    return {
        2 * (lowest + drop + place): int(sums[place]) for place in np.flatnonzero(sums).tolist()
    }


def scaled(total: dict[int, int]) -> tuple[int, int]:
    """Return a sum of ``integer * 2**exponent`` terms as (mantissa, exponent), 32 bits kept.

    Examples
    --------
    >>> scaled({0: 12, 2: 1})
    (1, 4)
    """
    terms = {exponent: value for exponent, value in total.items() if value}
    if not terms:
        return 0, 0
    exponent = min(terms)
    mantissa = sum(value << (place - exponent) for place, value in terms.items())
    drop = max(0, mantissa.bit_length() - 32)
    mantissa >>= drop
    trailing = (mantissa & -mantissa).bit_length() - 1
    return mantissa >> trailing, exponent + drop + trailing
