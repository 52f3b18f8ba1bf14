"""Numbers that stochastic rounding draws: from a named generator, the same everywhere (SPEC.md, 19.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.digest import stream
from p2uformat.wire import encode

__all__ = ["DRAWS", "Draw"]

F64 = NDArray[np.float64]
Draw = Callable[[int, int, int, str, int, int], F64]
_BITS: Final = 32


def _blake3_numbers(seed: int, client: int, round_: int, name: str, start: int, count: int) -> F64:
    message = encode(["p2u levels", seed, client, round_, name, start])
    drawn = np.frombuffer(stream(message, 4 * count), "<u4").astype(np.float64)
    return np.ldexp(drawn, -_BITS)


DRAWS: Final[Mapping[str, Draw]] = {"blake3": _blake3_numbers}
"""What turns (seed, client, round, name, first element, count) into numbers from 0 to below 1."""
