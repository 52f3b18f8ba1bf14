"""How far two versions of a tensor are apart, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.ahead import expecting
from p2uformat.artifact.catalog import StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.difftypes import Distance
from p2uformat.artifact.types import Progress
from p2uformat.errors import StoreUnavailable
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.parallel import ordered_map

__all__ = ["Pair", "distances"]

# Elements that are held as fp64 at a time: a block's worth would be several times its bytes.
_PIECE: Final = 1 << 16
_NOTHING: Final = (0.0, 0)

Scaled = tuple[float, int]
"""``value * 4**exponent``: squares of large and of tiny fp64 are outside what a float can hold."""

Callback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor of two artifacts, of one dtype and shape."""

    a: StoredTensor
    b: StoredTensor


@dataclass(frozen=True, slots=True)
class _Part:
    """What is known of some elements."""

    elements: int = 0
    changed: int = 0
    not_finite: int = 0
    difference: Scaled = _NOTHING
    energy: Scaled = _NOTHING
    largest: float = 0.0

    def __add__(self, other: _Part) -> _Part:
        return _Part(
            self.elements + other.elements,
            self.changed + other.changed,
            self.not_finite + other.not_finite,
            _sum(self.difference, other.difference),
            _sum(self.energy, other.energy),
            max(self.largest, other.largest),
        )


def distances(
    a: Contents,
    b: Contents,
    tiers: tuple[int, int],
    pairs: Sequence[Pair],
    threads: int,
    progress: Callback | None,
) -> dict[str, Distance]:
    """Decode pairs of tensors at a tier each, and compare their values.

    Parameters
    ----------
    a, b : Contents
        What they lie in.
    tiers : tuple of int
        Numbers of the tier in `a` and in `b`.
    pairs : sequence of Pair
        The tensors.
    threads : int
        How many threads to decode on; two blocks for each are in memory.
    progress : callable, optional
        Called after each block.
    """
    sums: dict[str, _Part] = {pair.b.record.name: _Part() for pair in pairs}
    done, total = 0, sum(_bytes(pair.b, 0, pair.b.geometry.elements) for pair in pairs)

    def run(job: tuple[Pair, int]) -> tuple[Pair, int, _Part]:
        pair, block = job
        left = _decoded(a, pair.a, block, tiers[0])
        right = _decoded(b, pair.b, block, tiers[1])
        return pair, len(left), _compare(pair.b, left, right)

    with ExitStack() as stack:
        old = ((pair.a, block, tiers[0]) for pair, block in _jobs(pairs))
        new = ((pair.b, block, tiers[1]) for pair, block in _jobs(pairs))
        stack.enter_context(expecting(a.reader, old))
        stack.enter_context(expecting(b.reader, new))
        for pair, size, part in ordered_map(run, _jobs(pairs), threads):
            sums[pair.b.record.name] += part
            done += size
            if progress is not None:
                progress(Progress("compare", done, total))
    return {pair.b.record.name: _distance(pair, sums[pair.b.record.name]) for pair in pairs}


def _jobs(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, int]]:
    return ((pair, block) for pair in pairs for block in range(pair.b.blocks))


def _bytes(stored: StoredTensor, start: int, stop: int) -> int:
    return (stop - start) * stored.geometry.element_size


def _decoded(contents: Contents, stored: StoredTensor, block: int, tier: int) -> NDArray[np.uint8]:
    size = _bytes(stored, *stored.geometry.block_range(block))
    try:
        out = np.empty(size, np.uint8)
    except MemoryError as error:
        raise StoreUnavailable("not enough memory", hint="use fewer threads") from error
    contents.reader.fill(stored, block, tier, None, out)
    return out


def _compare(stored: StoredTensor, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> _Part:
    """Compare the bytes of one block."""
    fmt = FORMATS.get(stored.record.dtype)
    size = stored.geometry.element_size
    total = _Part()
    for start in range(0, len(a), _PIECE * size):
        left, right = a[start : start + _PIECE * size], b[start : start + _PIECE * size]
        differs = (left != right).reshape(-1, size).any(axis=1)
        part = _Part(len(differs), int(differs.sum()))
        total += part if fmt is None else _measured(fmt, part, left, right)
    return total


def _measured(
    fmt: FloatFormat, counted: _Part, left: NDArray[np.uint8], right: NDArray[np.uint8]
) -> _Part:
    """Add to what was counted how far finite values are apart."""
    # The bytes of ml_dtypes' small floats may be signalling NaNs, about which casts would warn.
    with np.errstate(all="ignore"):
        a, b = (side.view(fmt.numpy).astype(np.float64) for side in (left, right))
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[finite], b[finite]
    # One more, for a difference may be twice as large as what it is of.
    exponent = max(_exponent(a), _exponent(b)) + 1
    difference = np.ldexp(a, -exponent) - np.ldexp(b, -exponent)
    squares, own = _squares(difference)
    return _Part(
        counted.elements,
        counted.changed,
        counted.elements - len(a),
        (squares, own + exponent),
        _squares(a),
        _ldexp(float(np.abs(difference).max(initial=0.0)), exponent),
    )


def _exponent(values: NDArray[np.float64]) -> int:
    """Return the least exponent such that all values are below ``2**exponent``."""
    return math.frexp(float(np.abs(values).max(initial=0.0)))[1]


def _squares(values: NDArray[np.float64]) -> Scaled:
    exponent = _exponent(values)
    # Not a dot product: how BLAS adds up depends on its threads.
    return float(np.square(np.ldexp(values, -exponent)).sum()), exponent


def _ldexp(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.inf


def _sum(a: Scaled, b: Scaled) -> Scaled:
    if not a[0] or not b[0]:
        return a if a[0] else b
    top = max(a[1], b[1])
    return math.ldexp(a[0], 2 * (a[1] - top)) + math.ldexp(b[0], 2 * (b[1] - top)), top


def _distance(pair: Pair, part: _Part) -> Distance:
    measured = pair.b.record.dtype in FORMATS
    return Distance(
        part.elements,
        part.changed,
        part.not_finite,
        _relative(part.difference, part.energy) if measured else None,
        part.largest if measured else None,
    )


def _relative(difference: Scaled, energy: Scaled) -> float:
    if not difference[0]:
        return 0.0
    if not energy[0]:
        return math.inf
    return _ldexp(math.sqrt(difference[0] / energy[0]), difference[1] - energy[1])
