"""How a variable of small floats is brought near its source: scale and offset (SPEC.md, 19.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.quant.binary64 import add_up

__all__ = ["FitSums", "Transform", "fit_sums"]

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Transform:
    """How a variable is rebuilt: ``scale * value + offset``.

    Parameters
    ----------
    scale, offset : float
        Both finite.
    """

    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class FitSums:
    """Sums of weights v and of their values q in the format, for least squares.

    Parameters
    ----------
    v, q, vq, qq : float
        Sums of v, q, v times q, and q squared.
    """

    v: float
    q: float
    vq: float
    qq: float

    def solve(self, count: int) -> Transform | None:
        """Return the best transform of `count` weights; None where there is none (19.2)."""
        n = float(count)
        below = n * self.qq - self.q * self.q
        above = n * self.vq - self.v * self.q
        if not (np.isfinite([below, above]).all() and below > 0 and n > 0):
            return None
        scale = above / below
        offset = (self.v - scale * self.q) / n
        return Transform(scale, offset) if np.isfinite([scale, offset]).all() else None


def fit_sums(values: F64, quantized: F64) -> FitSums:
    """Return the sums of one block."""
    with np.errstate(over="ignore", invalid="ignore"):
        products = values * quantized, quantized * quantized
    return FitSums(add_up(values), add_up(quantized), add_up(products[0]), add_up(products[1]))
