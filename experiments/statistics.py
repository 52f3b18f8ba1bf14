"""Error bars: what two models do on the same items, and what differs from seed to seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Mean", "Paired", "mean_of", "paired"]

Values = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and its standard error.

    Parameters
    ----------
    value
        The mean.
    error
        Standard deviation of the sample (n - 1) over the root of n; None of a single value.
    count
        How many values there were.
    """

    value: float
    error: float | None
    count: int

    def __str__(self) -> str:
        shown = f"{self.value:.2f}"
        return shown if self.error is None else f"{shown} ± {self.error:.2f}"


@dataclass(frozen=True, slots=True)
class Paired:
    """What is lost from one model to another, on the same items.

    Parameters
    ----------
    lost
        Mean of the differences, first minus second, with its standard error.
    worse, better
        Items on which the second has the lower score, or the higher.
    """

    lost: Mean
    worse: int
    better: int

    @property
    def chance(self) -> float:
        """How probable so uneven a split is if both were alike: McNemar's exact test, two-sided.

        Examples
        --------
        >>> round(Paired(Mean(0, 0, 9), 8, 1).chance, 4)
        0.0391
        """
        count, least = self.worse + self.better, min(self.worse, self.better)
        tail = sum(math.comb(count, k) for k in range(least + 1))
        return float(min(1.0, 2 * tail / 2**count))


def mean_of(values: Sequence[float] | Values) -> Mean:
    """Return the mean of values with its standard error.

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> str(mean_of([1.0, 2.0, 3.0])), str(mean_of([4.0]))
    ('2.00 ± 0.58', '4.00')
    """
    found = np.asarray(values, np.float64)
    if not found.size:
        raise ValueError("a mean of no values")
    error = float(found.std(ddof=1)) / math.sqrt(found.size) if found.size > 1 else None
    return Mean(float(found.mean()), error, int(found.size))


def paired(first: Values, second: Values) -> Paired:
    """Compare two models by their scores on the same items.

    The standard error is that of the differences: items that both find easy, or hard, add nothing
    to it. So it is far smaller than that of either accuracy.

    Parameters
    ----------
    first, second
        Scores, one for each item, in the same order; more is better.

    Raises
    ------
    ValueError
        If they are not of the same items.

    Examples
    --------
    >>> found = paired(np.array([1, 1, 0, 1]), np.array([1, 0, 0, 1]))
    >>> str(found.lost), found.worse, found.better
    ('0.25 ± 0.25', 1, 0)
    """
    if first.shape != second.shape:
        raise ValueError(f"scores of {first.shape} and of {second.shape} items")
    lost = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return Paired(mean_of(lost), int(np.sum(lost > 0)), int(np.sum(lost < 0)))
