"""What is known of a block, tier by tier, as integers (SPEC.md, sections 4 and 7.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.bits import unpack_fixed
from p2uformat.errors import Malformed
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.layers import BaseLayer, ExactLayer
from p2uformat.quant.split import MINUS_ZERO, OUTLIER

__all__ = ["Ladder"]

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Words = NDArray[np.unsignedinteger]
Buffer = bytes | memoryview


@dataclass(frozen=True)
class Ladder:
    """The layers of a block from the base upward, as far as they are known.

    Parameters
    ----------
    spec : BlockSpec
        The block.
    base : BaseLayer
        Its base layer.
    digits : sequence of bytes-like
        Its refinement layers, in order.
    words : ndarray of uint, optional
        Its bit patterns, if its exact layer is known.
    """

    spec: BlockSpec
    base: BaseLayer
    digits: Sequence[Buffer] = ()
    words: Words | None = None

    @cached_property
    def symbols(self) -> U8:
        """Base symbols."""
        return self.base.symbols

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Weights that are no zero of a sparse block."""
        if not self.base.sparse:
            return np.ones(len(self.symbols), np.bool_)
        return self.symbols < MINUS_ZERO

    @cached_property
    def plain(self) -> NDArray[np.bool_]:
        """Live weights that are not outliers."""
        found: NDArray[np.bool_] = self.live & (self.symbols != OUTLIER)
        return found

    @cached_property
    def negative(self) -> NDArray[np.bool_]:
        """Weights with a sign, by their symbols."""
        return self.symbols > OUTLIER

    @cached_property
    def _indices(self) -> list[I64]:
        found = [(self.symbols & np.uint8(OUTLIER)).astype(np.int64)]
        where = np.flatnonzero(self.live)
        for tier, payload in enumerate(self.digits, 1):
            width = self.spec.digits[tier] - self.spec.digits[tier - 1]
            data = np.frombuffer(payload, np.uint8)
            if len(data) != (len(where) * width + 7) >> 3:
                raise Malformed(f"a refinement layer of {len(data)} bytes")
            index = found[-1] << width
            index[where] |= unpack_fixed(data, len(where), width)
            found.append(index)
        return found

    def index(self, tier: int) -> I64:
        """Return each weight's n of a lossy tier (SPEC.md, section 4)."""
        return self._indices[tier]

    def place(self, tier: int) -> I64:
        """Return n for positive weights and -1 - n for negative ones."""
        return np.where(self.negative, ~self.index(tier), self.index(tier))

    def exact_sections(self, payload: Buffer) -> ExactLayer:
        """Cut the payload of this block's exact layer into its parts.

        Raises
        ------
        Malformed
            If it is too short.
        """
        spec = self.spec
        tiny = int(np.count_nonzero(self.plain & (self.index(len(spec.digits) - 1) == 0)))
        live = int(np.count_nonzero(self.live))
        head = tiny * spec.format.exponent_bytes
        ends = [head + plane * live for plane in range(spec.planes + 1)]
        if len(payload) < ends[-1]:
            raise Malformed(f"an exact layer of {len(payload)} bytes")
        data = bytes(payload)
        planes = tuple(data[a:b] for a, b in pairwise(ends))
        return ExactLayer(data[:head], planes, data[ends[-1] :])

    def codes(self) -> I64:
        """Return the weights' places among all numbers of their format."""
        assert self.words is not None
        return _codes(self.words, self.spec.format.sign_bit)


def _codes(words: Words, sign_bit: int) -> I64:
    wide = words.astype(np.uint64)
    magnitude = (wide & np.uint64((1 << sign_bit) - 1)).view(np.int64)
    return np.where((wide >> np.uint64(sign_bit)) > 0, ~magnitude, magnitude)
