"""The planner's inner loops in numpy, and what whoever does them instead has to do.

All values are integers below 2**53, held exactly in float64, or single IEEE operations: results do
not depend on who computes them, or in which order.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2uformat.quant.histogram import BINS, SPREAD, magnitudes
from p2uformat.quant.split import OUTLIER

__all__ = [
    "BISECTIONS",
    "NUMPY",
    "Arithmetic",
    "pool_counts",
    "products",
    "rates",
    "search",
    "spread_costs",
    "spread_tables",
]

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
F64 = NDArray[np.float64]
Counts = NDArray[np.unsignedinteger]

BISECTIONS = 48
_SLICE = 1 << 12
_SLOPES = (2.0**-200, 2.0**200)


class Arithmetic(Protocol):
    """The planner's inner loops."""

    def pool_counts(self, counts: Counts, keys: U16, total: int) -> F64:
        """Sum histograms of segments by key.

        Parameters
        ----------
        counts : ndarray of uint16 or uint32, shape (n, BINS)
            Histograms.
        keys : ndarray of uint16, shape (n,)
            Row of the result that each is added to.
        total : int
            Rows of the result.
        """

    def products(self, counts: Counts, matrix: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weigh the bins of every segment.

        Parameters
        ----------
        counts : ndarray of uint16 or uint32, shape (n, BINS)
            Histograms.
        matrix : ndarray of int64, shape (k, BINS)
            Weights of the bins; sums stay below 2**53.

        Returns
        -------
        ndarray of int64, shape (k, n)
            Sums.
        """

    def spread_tables(self, pooled: F64) -> NDArray[np.int64]:
        """Spread pooled bins over grid indices (`quant.histogram.magnitudes`).

        Parameters
        ----------
        pooled : ndarray of float64, shape (classes, candidates * BINS)
            Weights.

        Returns
        -------
        ndarray of int64, shape (classes, 128)
            Eighths of weights.
        """

    def spread_costs(self, lengths: NDArray[np.int64]) -> F64:
        """Return what a weight of a bin costs.

        Parameters
        ----------
        lengths : ndarray of int64, shape (classes, 128)
            Lengths of the codes of grid indices.

        Returns
        -------
        ndarray of float64, shape (classes, candidates * BINS)
            Integers.
        """

    def rates(self, counts: Counts, classes: U8, costs: F64, fixed: NDArray[np.int64]) -> F64:
        """Price every candidate of every segment.

        Parameters
        ----------
        counts : ndarray of uint16 or uint32, shape (n, BINS)
            Histograms.
        classes : ndarray of uint8, shape (candidates, n)
            Scale class of each segment with each candidate.
        costs : ndarray of float64, shape (classes, candidates, BINS)
            Bits of a weight of a bin, in units of 1 / (SPREAD * ONE_BIT).
        fixed : ndarray of int64, shape (candidates, n)
            What is added, in units of 1 / ONE_BIT.

        Returns
        -------
        ndarray of float64, shape (candidates, n)
            Bits, in units of 1 / ONE_BIT; integers.
        """

    def search(self, distortion: F64, rate: F64, budget: int) -> tuple[U8, U8]:
        """Bisect the slope of distortion over rate.

        Parameters
        ----------
        distortion : ndarray of float64, shape (candidates, n)
            Infinite where a candidate is barred.
        rate : ndarray of float64, shape (candidates, n)
            Integers.
        budget : int
            Sum of rates that may be spent.

        Returns
        -------
        tuple of ndarray of uint8, shape (n,)
            The best choice inside the budget, and the next one outside.
        """


def pool_counts(counts: Counts, keys: U16, total: int) -> F64:
    """See `Arithmetic`."""
    pooled = np.zeros((total, BINS), np.float64)
    for key in np.unique(keys).tolist():
        pooled[key] = counts[keys == key].sum(0, dtype=np.int64)
    return pooled


def products(counts: Counts, matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """See `Arithmetic`."""
    out = np.empty((len(matrix), len(counts)), np.int64)
    factor = matrix.T.astype(np.float64)
    for start in range(0, len(counts), _SLICE):  # the counts of a large model are kept in 16 bits
        part = slice(start, start + _SLICE)
        out[:, part] = (counts[part].astype(np.float64) @ factor).T
    return out


@cache
def _spread() -> F64:
    return magnitudes().reshape(-1, OUTLIER + 1).astype(np.float64)


def spread_tables(pooled: F64) -> NDArray[np.int64]:
    """See `Arithmetic`."""
    tables: NDArray[np.int64] = (pooled @ _spread()).astype(np.int64)
    return tables


def spread_costs(lengths: NDArray[np.int64]) -> F64:
    """See `Arithmetic`."""
    costs: F64 = lengths.astype(np.float64) @ _spread().T
    return costs


def rates(counts: Counts, classes: U8, costs: F64, fixed: NDArray[np.int64]) -> F64:
    """See `Arithmetic`."""
    out = fixed.astype(np.float64)
    for j, row in enumerate(classes):
        for name in np.unique(row).tolist():
            where = np.flatnonzero(row == name)
            out[j, where] += np.floor(counts[where].astype(np.float64) @ costs[name, j] / SPREAD)
    return out


def search(distortion: F64, rate: F64, budget: int) -> tuple[U8, U8]:
    """See `Arithmetic`."""
    low, high = _SLOPES
    inside, outside = _choose(distortion, rate, high), _choose(distortion, rate, low)
    if _bits(rate, outside) <= budget:
        return outside, outside
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        choice = _choose(distortion, rate, middle)
        if _bits(rate, choice) <= budget:
            high, inside = middle, choice
        else:
            low, outside = middle, choice
    return inside, outside


def _choose(distortion: F64, rate: F64, slope: float) -> U8:
    cost = distortion + rate * slope
    # Where every candidate is barred, the cheapest is the answer.
    hopeless = np.isinf(cost).all(0)
    best = np.argmin(cost, axis=0)
    best[hopeless] = np.argmin(rate[:, hopeless], axis=0)
    choice: U8 = best.astype(np.uint8)
    return choice


def _bits(rate: F64, choice: U8) -> int:
    return int(rate[choice, np.arange(len(choice))].sum())


class _Numpy:
    """`Arithmetic` by the functions above."""

    pool_counts = staticmethod(pool_counts)
    products = staticmethod(products)
    spread_tables = staticmethod(spread_tables)
    spread_costs = staticmethod(spread_costs)
    rates = staticmethod(rates)
    search = staticmethod(search)


NUMPY: Arithmetic = _Numpy()
