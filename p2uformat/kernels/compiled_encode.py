"""The kernels that write, in C."""

from __future__ import annotations

import threading
from functools import cache
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec import classes as scale_classes
from p2uformat.codec.classes import COLUMNS, OCTAVES, Classes, Member, Pool
from p2uformat.codec.rates import log2_table
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels.compiled_difference import DifferenceKernels
from p2uformat.limits import MAX_BLOCK_ELEMENTS
from p2uformat.quant.bitplane import BlockLayers, BlockSpec
from p2uformat.quant.histogram import BINS, CANDIDATES, SegmentStats, magnitudes
from p2uformat.quant.layers import SPARSE, BaseLayer, ExactLayer
from p2uformat.quant.pricing import BISECTIONS
from p2uformat.quant.split import OUTLIER
from p2uformat.quant.stats import TierSums

__all__ = ["EncodeKernels"]

Words = NDArray[np.unsignedinteger]
Steps = NDArray[np.int16]
U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]

_NUMBERS: Final = {name: number for number, name in enumerate(FORMATS)}
_SLACK: Final = 64  # bytes behind an output that a kernel may scribble on
_FIELDS: Final = 2048  # exponent fields of the widest format
_GUARDS: Final = 8
_PAD: Final = 8  # segments that a kernel may read behind the last


class _Scratch(threading.local):
    """Buffers of a thread. Untouched parts of them take no memory."""

    def __init__(self) -> None:
        most = MAX_BLOCK_ELEMENTS + _SLACK
        self.counts = np.zeros(1 << 15, np.uint32)  # zero between calls
        self.index = np.empty(most, np.uint32)
        self.values = np.empty(8 * most, np.uint8)
        self.exponents = np.empty(2 * most, np.uint8)
        self.digits = np.empty(4 * most, np.uint8)
        self.planes = np.empty(7 * most, np.uint8)
        self.bits = np.empty(2 * most, np.uint8)


class EncodeKernels(DifferenceKernels):
    """The part of `CompiledKernels` that writes.

    Parameters
    ----------
    native : module
        ``p2uformat._native``.
    """

    def __init__(self, native: ModuleType) -> None:
        super().__init__(native)
        self._encode = native
        self._scratch = _Scratch()

    def zeros(self, fmt: FloatFormat, words: Words) -> int:  # noqa: D102
        found: int = self._encode.zeros(_NUMBERS[fmt.name], words)
        return found

    def segment_stats(self, fmt: FloatFormat, words: Words, segment: int) -> SegmentStats:  # noqa: D102
        segments = -(-len(words) // segment)
        counts = np.zeros((segments, BINS), np.uint32)
        anchor = np.empty(segments, np.int16)
        self._encode.survey(
            _NUMBERS[fmt.name], words, segment, counts, anchor, self._scratch.counts
        )
        kind = np.uint16 if segment < 1 << 16 else np.uint32
        return SegmentStats(counts.astype(kind), anchor)

    def base_symbols(  # noqa: D102
        self, fmt: FloatFormat, words: Words, steps: Steps, segment: int, *, sparse: bool
    ) -> U8:
        out = np.empty(len(words), np.uint8)
        self._encode.symbols(_NUMBERS[fmt.name], words, segment, _aligned(steps), sparse, out)
        return out

    def encode_block(  # noqa: D102
        self, spec: BlockSpec, words: Words, steps: Steps, *, sparse: bool, sums: bool = True
    ) -> BlockLayers:
        base, refinements, exact = self._split(spec, words, steps, sparse=sparse)
        if not sums:
            return BlockLayers(base, refinements, exact, (), {})
        return BlockLayers(base, refinements, exact, *self._sums(spec, words, steps, sparse=sparse))

    def _split(
        self, spec: BlockSpec, words: Words, steps: Steps, *, sparse: bool
    ) -> tuple[BaseLayer, tuple[bytes, ...], ExactLayer]:
        fmt, n, room = spec.format, len(words), self._scratch
        symbols = np.empty(n + _SLACK, np.uint8)
        digits = _places(room.digits, spec)
        planes = room.planes[: spec.planes * (n + _SLACK)].reshape(spec.planes, n + _SLACK)
        outliers, live, tiny, rest = self._encode.split(
            _NUMBERS[fmt.name],
            words,
            spec.segment,
            _aligned(steps),
            sparse,
            spec.digits,
            spec.planes,
            symbols,
            room.index,
            room.values,
            digits,
            room.exponents,
            planes,
            room.bits,
        )
        base = BaseLayer(
            SPARSE if sparse else 0,
            steps,
            symbols[:n],
            room.index[:outliers].copy(),
            room.values[: outliers * fmt.itemsize].copy().view(fmt.word),
        )
        refinements = tuple(
            part[: (live * width + 7) >> 3].tobytes()
            for part, width in zip(digits, _widths(spec), strict=True)
        )
        exact = ExactLayer(
            room.exponents[: tiny * fmt.exponent_bytes].tobytes(),
            tuple(plane[:live].tobytes() for plane in planes),
            room.bits[:rest].tobytes(),
        )
        return base, refinements, exact

    def _sums(
        self, spec: BlockSpec, words: Words, steps: Steps, *, sparse: bool
    ) -> tuple[tuple[TierSums, ...], dict[int, int]]:
        fmt = spec.format
        lowest = int(steps.min(initial=1 << 14)) if len(steps) else 0
        span = int(steps.max()) - lowest + 1 if len(steps) else 1
        cells = np.zeros((len(spec.digits), span, 2, _GUARDS, 3), np.uint64)
        energy = np.zeros(_FIELDS, np.uint64)
        self._encode.sums(
            _NUMBERS[fmt.name], words, spec.segment, _aligned(steps), sparse, spec.digits,
            lowest, span, cells, energy, self._scratch.counts,
        )  # fmt: skip
        tiers = tuple(_tier(part, lowest - d) for part, d in zip(cells, spec.digits, strict=True))
        unit = fmt.emin - fmt.mantissa - 1 + max(0, fmt.mantissa - 11)
        fields = np.flatnonzero(energy).tolist()
        return tiers, {2 * (unit + field): int(energy[field]) for field in fields}

    def pool(self, member: Member, *, sparse: bool) -> Pool:  # noqa: D102
        octaves = np.empty(member.units, np.uint8)
        sums = np.empty(member.units, np.uint32)
        tables = np.zeros((OCTAVES, COLUMNS), np.int64)
        self._encode.pool(
            member.symbols, member.unit, member.transposed, sparse,
            scale_classes.limits(), octaves, sums, tables,
        )  # fmt: skip
        return Pool(octaves, tables)

    def merge(self, tables: NDArray[np.int64]) -> Classes:  # noqa: D102
        names = np.empty(OCTAVES, np.uint8)
        return Classes(names, self._encode.merge_classes(log2_table(), tables, names))

    def sort_units(self, member: Member, classes: U8) -> list[U8]:  # noqa: D102
        lengths = np.empty(256, np.uint32)
        out = np.empty(len(member.symbols), np.uint8)
        self._encode.sort_units(
            member.symbols, member.unit, member.transposed, classes, lengths, out
        )
        ends = np.cumsum(lengths).tolist()
        pairs = zip([0, *ends], ends, strict=False)
        return [out[start:end] for start, end in pairs if start < end]

    def stream_bytes(self, histogram: NDArray[np.int64]) -> int:  # noqa: D102
        estimated: int = self._encode.stream_bytes(histogram)
        return estimated

    def pool_counts(  # noqa: D102
        self, counts: NDArray[np.unsignedinteger], keys: NDArray[np.uint16], total: int
    ) -> F64:
        pooled = np.zeros((total, BINS), np.float64)
        self._encode.pool_counts(counts, len(counts), keys, pooled)
        return pooled

    def products(  # noqa: D102
        self, counts: NDArray[np.unsignedinteger], matrix: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        out = np.empty((len(matrix), len(counts)), np.int64)
        factor = np.ascontiguousarray(matrix, np.float64)
        self._encode.products(counts, len(counts), factor, len(matrix), out)
        return out

    def spread_tables(self, pooled: F64) -> NDArray[np.int64]:  # noqa: D102
        tables = np.zeros((len(pooled), OUTLIER + 1), np.int64)
        self._encode.spread_tables(*_spread(), len(pooled), pooled, tables)
        return tables

    def spread_costs(self, lengths: NDArray[np.int64]) -> F64:  # noqa: D102
        costs = np.empty((len(lengths), len(CANDIDATES) * BINS), np.float64)
        self._encode.spread_costs(*_spread(), len(lengths), lengths, costs)
        return costs

    def rates(  # noqa: D102
        self,
        counts: NDArray[np.unsignedinteger],
        classes: U8,
        costs: F64,
        fixed: NDArray[np.int64],
    ) -> F64:
        out = np.empty(classes.shape, np.float64)
        self._encode.rates(counts, len(counts), classes, costs, fixed, out)
        return out

    def search(self, distortion: F64, rate: F64, budget: int) -> tuple[U8, U8]:  # noqa: D102
        cheapest = np.zeros(rate.shape[1], np.uint8)
        barred = np.flatnonzero(np.isinf(distortion.min(0)))
        cheapest[barred] = np.argmin(rate[:, barred], axis=0)
        inside, outside = np.empty((2, rate.shape[1]), np.uint8)
        scratch = np.empty((len(rate) * 2 + 1) * (rate.shape[1] + _PAD), np.float64)
        self._encode.search(
            distortion, rate, cheapest, budget, BISECTIONS, inside, outside, scratch
        )
        return inside, outside


def _aligned(steps: Steps) -> Steps:
    # Those of a parsed layer lie behind a byte of flags.
    return steps if steps.flags.aligned and steps.flags.c_contiguous else steps.copy()


@cache
def _spread() -> tuple[NDArray[np.uint32], U8, U8]:
    """Return `magnitudes` without its zeros: where each cell starts, indices, weights."""
    matrix = magnitudes().reshape(-1, OUTLIER + 1)
    cells, indices = np.nonzero(matrix)
    starts = np.searchsorted(cells, np.arange(len(matrix) + 1)).astype(np.uint32)
    return starts, indices.astype(np.uint8), matrix[cells, indices].astype(np.uint8)


def _widths(spec: BlockSpec) -> list[int]:
    return [b - a for a, b in zip(spec.digits, spec.digits[1:], strict=False)]


def _places(room: U8, spec: BlockSpec) -> tuple[U8, ...]:
    """Cut a buffer into one for each refinement layer."""
    sizes = [((spec.weights * width + 7) >> 3) + _SLACK for width in _widths(spec)]
    if sum(sizes) > len(room):
        room = np.empty(sum(sizes), np.uint8)
    ends = np.cumsum(sizes, dtype=np.int64).tolist()
    return tuple(room[end - size : end] for end, size in zip(ends, sizes, strict=True))


def _tier(cells: NDArray[np.uint64], lowest: int) -> TierSums:
    places = np.argwhere(cells[..., 0])
    values = cells[tuple(places.T)].tolist()
    return TierSums(
        {
            (lowest + step, bool(zero), guard): (count, first, second)
            for (step, zero, guard), (count, first, second) in zip(
                places.tolist(), values, strict=True
            )
        }
    )
