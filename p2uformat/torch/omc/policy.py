"""Which tensors are compressed, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

import p2uformat

__all__ = ["Choice", "Matrices"]


class Choice(Protocol):
    """A policy: any object that chooses."""

    def choose(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, str]:
        """Return the format of each parameter that is to be compressed, by name."""


@dataclass(frozen=True, slots=True)
class Matrices:
    """Matrices only, and a share of them kept as they are.

    Parameters
    ----------
    format : str
        Of the others.
    keep : float
        Share of the matrices' elements that is kept, at most.
    seed, client, round : int
        What the draw of those that are kept depends on: numpy's Philox over these three.
    exclude : sequence of str
        Names that are never compressed.

    Examples
    --------
    >>> Matrices("S1E2M3", keep=0).choose({"w": (4, 4), "b": (4,)})
    {'w': 'S1E2M3'}
    """

    format: str = "S1E3M7"
    keep: float = 0.1
    seed: int = 0
    client: int = 0
    round: int = 0
    exclude: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.keep <= 1:
            raise p2uformat.InvalidArgument(f"keep: expected 0 to 1, got {self.keep}")

    def choose(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, str]:
        """Return the format of each parameter that is to be compressed, by name."""
        names = [n for n, shape in shapes.items() if len(shape) > 1 and n not in self.exclude]
        sizes = {name: math.prod(shapes[name]) for name in names}
        left = self.keep * sum(sizes.values())
        draw = np.random.Generator(np.random.Philox([self.seed, self.client, self.round, 0]))
        kept = set()
        for number in draw.permutation(len(names)):
            if sizes[names[number]] <= left:
                left -= sizes[names[number]]
                kept.add(names[number])
        return {name: self.format for name in names if name not in kept}
