"""The average of differences, by weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2uformat import Artifact

__all__ = ["Sums"]

Arrays = Mapping[str, NDArray[Any]]


class Sums:
    """Sums of differences to a model.

    In binary64 and one after the other: the same updates in the same order give the same bits.

    Parameters
    ----------
    model : Artifact
        What the differences are to; its tensors of floats take part.
    """

    def __init__(self, model: Artifact) -> None:
        self._model = model.load(tier=model.tiers[-1])
        self._sums = {
            name: np.zeros(array.shape) for name, array in self._model.items() if is_float(array)
        }
        self._weight = 0.0

    def add(self, difference: Arrays, weight: float) -> None:
        """Count a difference."""
        for name, total in self._sums.items():
            total += weight * difference[name].astype(np.float64)
        self._weight += weight

    def model(self, rate: float) -> dict[str, NDArray[Any]]:
        """Return the model with `rate` times the average added; as it is without any difference."""
        made = dict(self._model)
        if not self._weight:
            return made
        for name, total in self._sums.items():
            moved = made[name].astype(np.float64) + rate * (total / self._weight)
            made[name] = moved.astype(made[name].dtype)
        return made


def is_float(array: NDArray[Any]) -> bool:
    """Tell whether an array holds floats, those of ml_dtypes too."""
    return array.dtype.kind == "f" or "float" in array.dtype.name
