"""What the inner loops of the format are, whoever runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.classes import Classes, Member, Pool
from p2uformat.floats import FloatFormat
from p2uformat.quant.bitplane import BlockLayers, BlockSpec
from p2uformat.quant.histogram import SegmentStats
from p2uformat.quant.ladder import Ladder
from p2uformat.quant.layers import BaseLayer, ExactLayer
from p2uformat.quant.pricing import Arithmetic

__all__ = ["Buffer", "Kernels"]

Buffer = bytes | memoryview
Words = NDArray[np.unsignedinteger]


class Differences(Protocol):
    """Layers as differences from a parent's (SPEC.md, 7.4; `p2uformat.quant.difference`)."""

    def base_difference(self, parent: BaseLayer, child: BaseLayer, row: int) -> list[bytes]:
        """Return the sections of a base layer's difference."""

    def digits_difference(self, parent: Ladder, child: Ladder, tier: int, row: int) -> list[bytes]:
        """Return the sections of a refinement layer's difference."""

    def exact_difference(self, parent: Ladder, child: Ladder, row: int) -> list[bytes]:
        """Return the sections of an exact layer's difference."""

    def from_base_difference(
        self, parent: BaseLayer, parts: Sequence[Buffer], word: np.dtype[np.unsignedinteger]
    ) -> BaseLayer:
        """Return the child's base layer.

        Raises
        ------
        Malformed
            If the parts are none of such a block; so do the two below.
        """

    def from_digits_difference(
        self, parent: Ladder, child: Ladder, tier: int, parts: Sequence[Buffer]
    ) -> bytes:
        """Return the child's refinement layer."""

    def from_exact_difference(
        self, parent: Ladder, child: Ladder, parts: Sequence[Buffer]
    ) -> ExactLayer:
        """Return the child's exact layer."""


class Kernels(Arithmetic, Differences, Protocol):
    """The inner loops. Every implementation gives the same bytes and refuses the same input."""

    @property
    def name(self) -> str:
        """What runs, for people."""

    @property
    def takes_chunks(self) -> bool:
        """Whether `block` can do anything at all."""

    def block(
        self,
        spec: BlockSpec,
        layers: Sequence[tuple[int, Buffer]],
        target: FloatFormat | None,
        out: Words,
        *,
        warm: bool = False,
    ) -> bool:
        """Rebuild a block straight from its chunks, if there is a way to do that at once.

        Parameters
        ----------
        spec : BlockSpec
            The block.
        layers : sequence of (int, bytes-like)
            Codec and bytes of the chunk of each layer, base first; ids have been checked.
        target : FloatFormat, optional
            Output format of a lossy tier; None where the exact layer is the last.
        out : ndarray of uint, shape (weights,)
            Receives the bit patterns.
        warm : bool
            Whether that is memory that was used before, though not lately: large results then go
            past the caches.

        Returns
        -------
        bool
            False if the block has to be taken apart layer by layer, sound or not.
        """

    def join(
        self, streams: tuple[Buffer, ...], classes: Buffer, table: Buffer, out: NDArray[np.uint8]
    ) -> None:
        """Put the symbols of a chunk of base layers back into C order (SPEC.md, 7.3).

        Parameters
        ----------
        streams : tuple of bytes-like
            The class streams, raw.
        classes : bytes-like
            Stream 2: a class for each unit.
        table : bytes-like
            Stream 0: a row for each member, checked.
        out : ndarray of uint8, shape (weights of all members,)
            Receives the symbols.

        Raises
        ------
        Malformed
            If a class does not exist, or a stream is not used up exactly.
        """

    def values(
        self,
        spec: BlockSpec,
        base: BaseLayer,
        digits: Sequence[Buffer],
        target: FloatFormat,
        out: Words,
    ) -> None:
        """Rebuild a block at a lossy tier, rounded once to a format (SPEC.md, section 4).

        Parameters
        ----------
        spec : BlockSpec
            The block.
        base : BaseLayer
            Its base layer.
        digits : sequence of bytes-like
            Payloads of its refinement layers, up to the tier wanted.
        target : FloatFormat
            Output format.
        out : ndarray of uint, shape (weights,)
            Receives the bit patterns in the output format.

        Raises
        ------
        Malformed
            If a layer breaks a rule of SPEC.md, section 6.
        """

    def exact(
        self,
        spec: BlockSpec,
        base: BaseLayer,
        digits: Sequence[Buffer],
        rest: Sequence[Buffer],
        out: Words,
    ) -> None:
        """Rebuild the original bit patterns of a block.

        Parameters
        ----------
        spec, base
            As for `values`.
        digits : sequence of bytes-like
            Payloads of all its refinement layers.
        rest : sequence of bytes-like
            The payload of its exact layer, in any number of pieces.
        out : ndarray of uint, shape (weights,)
            Receives the bit patterns in the source format.

        Raises
        ------
        Malformed
            If a layer breaks a rule of SPEC.md, section 6.
        """

    def encode_block(
        self,
        spec: BlockSpec,
        words: Words,
        steps: NDArray[np.int16],
        *,
        sparse: bool,
        sums: bool = True,
    ) -> BlockLayers:
        """Split a block into its layers; see `p2uformat.quant.bitplane.encode_block`."""

    def segment_stats(self, fmt: FloatFormat, words: Words, segment: int) -> SegmentStats:
        """Return histograms of segments; see `p2uformat.quant.histogram.segment_stats`."""

    def zeros(self, fmt: FloatFormat, words: Words) -> int:
        """Count zeros of either sign."""

    def base_symbols(
        self,
        fmt: FloatFormat,
        words: Words,
        steps: NDArray[np.int16],
        segment: int,
        *,
        sparse: bool,
    ) -> NDArray[np.uint8]:
        """Return a block's base symbols alone; see `encode_block`.

        Parameters
        ----------
        fmt : FloatFormat
            Source format.
        words : ndarray of uint, shape (n,)
            Bit patterns.
        steps : ndarray of int16, shape (segments,)
            K of each segment.
        segment : int
            Weights per segment.
        sparse : bool
            Whether zeros get symbols of their own.
        """

    def pool(self, member: Member, *, sparse: bool) -> Pool:
        """Sort units into quarter octaves; see `p2uformat.codec.classes.pool`."""

    def merge(self, tables: NDArray[np.int64]) -> Classes:
        """Merge quarter octaves to classes; see `p2uformat.codec.classes.merge`."""

    def sort_units(self, member: Member, classes: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Sort units by class; see `p2uformat.codec.classes.sort_units`."""

    def stream_bytes(self, histogram: NDArray[np.int64]) -> int:
        """Estimate a class stream; see `p2uformat.codec.estimate.stream_bytes`."""
