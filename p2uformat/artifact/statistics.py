"""A tensor's sums over its blocks, and the parameters that follow (SPEC.md, 8.2 and 11)."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from p2uformat.manifest import BitplaneParameters, BitplaneTier
from p2uformat.quant.bitplane import BlockLayers
from p2uformat.quant.split import GUARD_BITS
from p2uformat.quant.stats import scaled

__all__ = ["TensorSums"]

_HALF = 128
Cells = dict[tuple[int, bool, int], tuple[int, int, int]]


class TensorSums:
    """Integer sums of one tensor.

    Parameters
    ----------
    tiers : int
        Number of lossy tiers.
    """

    def __init__(self, tiers: int) -> None:
        self._cells: list[Cells] = [{} for _ in range(tiers)]
        self._energy: dict[int, int] = {}
        self._highest = -(1 << 15)

    @classmethod
    def of_block(cls, layers: BlockLayers, steps: NDArray[np.int16]) -> Self:
        """Return the sums of one block, to be added to others."""
        made = cls(0)
        made._cells = [tier.cells for tier in layers.sums]
        made._energy = layers.energy
        made._highest = int(steps.max())
        return made

    def add(self, other: TensorSums) -> None:
        """Add another tensor part's sums."""
        for mine, theirs in zip(self._cells, other._cells, strict=True):
            _merge(mine, theirs)
        for exponent, value in other._energy.items():
            self._energy[exponent] = self._energy.get(exponent, 0) + value
        self._highest = max(self._highest, other._highest)

    def parameters(self, segment: int, planes: int, digits: tuple[int, ...]) -> BitplaneParameters:
        """Return what the tensor's record says."""
        tiers = tuple(
            _tier(cells, self._highest - d) for cells, d in zip(self._cells, digits, strict=True)
        )
        return BitplaneParameters(segment, planes, tiers, scaled(self._energy))


def _merge(mine: Cells, theirs: Cells) -> None:
    for key, (count, first, second) in theirs.items():
        a, b, c = mine.get(key, (0, 0, 0))
        mine[key] = (a + count, b + first, c + second)


def _tier(cells: Cells, bound: int) -> BitplaneTier:
    deltas = (_delta(cells, zero=True), _delta(cells, zero=False))
    error: dict[int, int] = {}
    for (step, zero, guard), (count, first, second) in cells.items():
        offset = deltas[0 if zero else 1]
        if guard:
            offset = min(offset, 256 - (1 << guard))
        place = 2 * (step - GUARD_BITS)
        spent = second - 2 * offset * first + offset * offset * count
        error[place] = error.get(place, 0) + spent
    return BitplaneTier(*deltas, bound, scaled(error))


def _delta(cells: Cells, *, zero: bool) -> int:
    chosen = [sums for key, sums in cells.items() if key[1] is zero]
    count = sum(sums[0] for sums in chosen)
    if not count:
        return _HALF
    return min(255, (2 * sum(sums[1] for sums in chosen) + count) // (2 * count))
