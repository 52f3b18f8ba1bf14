"""The kernels in numpy: the readable truth, and what runs where nothing is compiled."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.classes import join_members
from p2uformat.floats import FloatFormat
from p2uformat.kernels.interface import Buffer
from p2uformat.quant import bitplane, histogram
from p2uformat.quant.bitplane import BlockDecoder, BlockLayers, BlockSpec
from p2uformat.quant.histogram import SegmentStats
from p2uformat.quant.layers import BaseLayer

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
    ) -> bool:
        return False

    def join(  # noqa: D102
        self, streams: tuple[Buffer, ...], classes: Buffer, table: Buffer, out: NDArray[np.uint8]
    ) -> None:
        cuts = [(row[0], row[3], bool(row[6])) for row in _ROW.iter_unpack(table)]
        join_members(streams, classes, cuts, out)

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


def _fed(spec: BlockSpec, base: BaseLayer, digits: Sequence[Buffer]) -> BlockDecoder:
    decoder = BlockDecoder(spec, base)
    for payload in digits:
        decoder.refine(payload)
    return decoder
