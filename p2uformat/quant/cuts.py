"""Which weights of a block share a scale: all, those of a channel, a group (SPEC.md, 19.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cut", "channel_cut", "group_cut", "tensor_cut"]

Places = NDArray[np.int64]
F64 = NDArray[np.float64]
Number = TypeVar("Number", bound=np.number)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Runs of consecutive weights of a block, and the number of each one's parameters.

    Parameters
    ----------
    starts : ndarray of int64
        Where each run starts.
    slots : ndarray of int64
        Number of its parameters among those of the block.
    count : int
        How many parameters the block has.
    weights : int
        Weights of the block.
    first : int
        Which of the tensor's parameters slot 0 is, where a tensor has some for all blocks.
    """

    starts: Places
    slots: Places
    count: int
    weights: int
    first: int = 0

    def spread(self, values: NDArray[Number]) -> NDArray[Number]:
        """Return for each weight the value of its slot."""
        if self.count == 1:
            return np.broadcast_to(values[:1], self.weights)
        lengths = np.diff(self.starts, append=self.weights)
        spread: NDArray[Number] = np.repeat(values[self.slots], lengths)
        return spread

    def extremes(self, values: F64) -> tuple[F64, F64]:
        """Return the least and the largest number of each slot."""
        low = np.minimum.reduceat(values, self.starts)
        high = np.maximum.reduceat(values, self.starts)
        if len(self.starts) == self.count:
            return low, high
        least, most = np.full(self.count, np.inf), np.full(self.count, -np.inf)
        np.minimum.at(least, self.slots, low)
        np.maximum.at(most, self.slots, high)
        return least, most


def tensor_cut(weights: int) -> Cut:
    """Return the cut of a block whose weights all share one scale."""
    zero = np.zeros(1, np.int64)
    return Cut(zero, zero, 1, weights)


def channel_cut(shape: tuple[int, ...], axis: int, start: int, stop: int) -> Cut:
    """Return the cut of a block by the coordinate along an axis.

    Parameters
    ----------
    shape : tuple of int
        Shape of the tensor, which has elements.
    axis : int
        The axis.
    start, stop : int
        Element range of the block.

    Examples
    --------
    >>> cut = channel_cut((4, 3), 1, 6, 12)
    >>> cut.count, cut.slots.tolist()
    (3, [0, 1, 2, 0, 1, 2])
    """
    inner, channels = math.prod(shape[axis + 1 :]), shape[axis]
    first, last = start // inner, (stop - 1) // inner
    runs = np.arange(first, last + 1, dtype=np.int64)
    starts = np.maximum(runs * inner - start, 0)
    slots = (runs - first) % channels
    return Cut(starts, slots, min(channels, len(runs)), stop - start, first % channels)


def group_cut(row: int, group: int, weights: int) -> Cut:
    """Return the cut of a block into groups, which start anew with each row.

    Parameters
    ----------
    row : int
        Elements of the last axis.
    group : int
        Weights of a group; the last of a row, or of the block, may have fewer.
    weights : int
        Weights of the block: whole rows, or a part of one.

    Examples
    --------
    >>> group_cut(5, 3, 10).starts.tolist()
    [0, 3, 5, 8]
    """
    length = min(row, weights)
    inside = np.arange(0, length, group, dtype=np.int64)
    starts = (np.arange(0, weights, length, dtype=np.int64)[:, None] + inside).reshape(-1)
    return Cut(starts, np.arange(len(starts)), len(starts), weights)
