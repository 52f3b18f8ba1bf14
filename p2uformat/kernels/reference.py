"""The kernels in numpy: the readable truth, and what runs where nothing is compiled."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec import classes as scale_classes
from p2uformat.codec import estimate
from p2uformat.codec.classes import Classes, Member, Pool
from p2uformat.floats import FloatFormat
from p2uformat.kernels.interface import Buffer
from p2uformat.quant import bitplane, difference, histogram, pricing
from p2uformat.quant.bitplane import BlockDecoder, BlockLayers, BlockSpec
from p2uformat.quant.histogram import SegmentStats
from p2uformat.quant.ladder import Ladder
from p2uformat.quant.layers import BaseLayer, ExactLayer
from p2uformat.quant.split import Split, base_symbols

__all__ = ["NumpyKernels"]

_ROW: Final = struct.Struct("<IIIIBBH")  # SPEC.md, 7.3
Words = NDArray[np.unsignedinteger]


class NumpyKernels:
    """`Kernels` in numpy; methods are documented there."""

    name = "numpy"
    takes_chunks = False

    def block(  # noqa: D102
        self,
        spec: BlockSpec,  # noqa: ARG002 - layer by layer is all that numpy can do
        layers: Sequence[tuple[int, Buffer]],  # noqa: ARG002
        target: FloatFormat | None,  # noqa: ARG002
        out: Words,  # noqa: ARG002
        *,
        warm: bool = False,  # noqa: ARG002
    ) -> bool:
        return False

    def join(  # noqa: D102
        self, streams: tuple[Buffer, ...], classes: Buffer, table: Buffer, out: NDArray[np.uint8]
    ) -> None:
        cuts = [(row[0], row[3], bool(row[6])) for row in _ROW.iter_unpack(table)]
        scale_classes.join_members(streams, classes, cuts, out)

    def values(  # noqa: D102
        self,
        spec: BlockSpec,
        base: BaseLayer,
        digits: Sequence[Buffer],
        target: FloatFormat,
        out: Words,
    ) -> None:
        out[:] = _fed(spec, base, digits).values(target)

    def exact(  # noqa: D102
        self,
        spec: BlockSpec,
        base: BaseLayer,
        digits: Sequence[Buffer],
        rest: Sequence[Buffer],
        out: Words,
    ) -> None:
        out[:] = _fed(spec, base, digits).exact(b"".join(rest))

    def encode_block(  # noqa: D102
        self,
        spec: BlockSpec,
        words: Words,
        steps: NDArray[np.int16],
        *,
        sparse: bool,
        sums: bool = True,
    ) -> BlockLayers:
        return bitplane.encode_block(spec, words, steps, sparse=sparse, sums=sums)

    def segment_stats(self, fmt: FloatFormat, words: Words, segment: int) -> SegmentStats:  # noqa: D102
        return histogram.segment_stats(fmt, words, segment)

    def zeros(self, fmt: FloatFormat, words: Words) -> int:  # noqa: D102
        return len(words) - int(np.count_nonzero(words << fmt.word.type(1)))

    def base_symbols(  # noqa: D102
        self,
        fmt: FloatFormat,
        words: Words,
        steps: NDArray[np.int16],
        segment: int,
        *,
        sparse: bool,
    ) -> NDArray[np.uint8]:
        step = bitplane.per_weight(steps, segment, len(words))
        return base_symbols(Split.of(fmt, words), step, sparse=sparse)

    def pool(self, member: Member, *, sparse: bool) -> Pool:  # noqa: D102
        return scale_classes.pool(member, sparse=sparse)

    def merge(self, tables: NDArray[np.int64]) -> Classes:  # noqa: D102
        return scale_classes.merge(tables)

    def sort_units(  # noqa: D102
        self, member: Member, classes: NDArray[np.uint8]
    ) -> list[NDArray[np.uint8]]:
        return scale_classes.sort_units(member, classes)

    def stream_bytes(self, histogram: NDArray[np.int64]) -> int:  # noqa: D102
        return estimate.stream_bytes(histogram)

    def base_difference(self, parent: BaseLayer, child: BaseLayer, row: int) -> list[bytes]:  # noqa: D102
        return difference.base_difference(parent, child, row)

    def digits_difference(self, parent: Ladder, child: Ladder, tier: int, row: int) -> list[bytes]:  # noqa: D102
        return difference.digits_difference(parent, child, tier, row)

    def exact_difference(self, parent: Ladder, child: Ladder, row: int) -> list[bytes]:  # noqa: D102
        return difference.exact_difference(parent, child, row)

    def from_base_difference(  # noqa: D102
        self, parent: BaseLayer, parts: Sequence[Buffer], word: np.dtype[np.unsignedinteger]
    ) -> BaseLayer:
        return difference.from_base_difference(parent, parts, word)

    def from_digits_difference(  # noqa: D102
        self, parent: Ladder, child: Ladder, tier: int, parts: Sequence[Buffer]
    ) -> bytes:
        return difference.from_digits_difference(parent, child, tier, parts)

    def from_exact_difference(  # noqa: D102
        self, parent: Ladder, child: Ladder, parts: Sequence[Buffer]
    ) -> ExactLayer:
        return difference.from_exact_difference(parent, child, parts)

    def pool_counts(  # noqa: D102
        self, counts: NDArray[np.unsignedinteger], keys: NDArray[np.uint16], total: int
    ) -> NDArray[np.float64]:
        return pricing.pool_counts(counts, keys, total)

    def products(  # noqa: D102
        self, counts: NDArray[np.unsignedinteger], matrix: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        return pricing.products(counts, matrix)

    def spread_tables(self, pooled: NDArray[np.float64]) -> NDArray[np.int64]:  # noqa: D102
        return pricing.spread_tables(pooled)

    def spread_costs(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: D102
        return pricing.spread_costs(lengths)

    def rates(  # noqa: D102
        self,
        counts: NDArray[np.unsignedinteger],
        classes: NDArray[np.uint8],
        costs: NDArray[np.float64],
        fixed: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        return pricing.rates(counts, classes, costs, fixed)

    def search(  # noqa: D102
        self, distortion: NDArray[np.float64], rate: NDArray[np.float64], budget: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return pricing.search(distortion, rate, budget)


def _fed(spec: BlockSpec, base: BaseLayer, digits: Sequence[Buffer]) -> BlockDecoder:
    decoder = BlockDecoder(spec, base)
    for payload in digits:
        decoder.refine(payload)
    return decoder
