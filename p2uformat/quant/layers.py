"""The canonical payloads of a bitplane block's layers (SPEC.md, section 6)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.errors import LimitExceeded, Malformed
from p2uformat.floats import FloatFormat
from p2uformat.limits import MAX_STEP_EXPONENT
from p2uformat.quant.split import OUTLIER, PLUS_ZERO

__all__ = ["SPARSE", "BaseLayer", "ExactLayer"]

SPARSE = 1
Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """Tier 0 of a block.

    Parameters
    ----------
    flags : int
        Bit 0: sparse.
    steps : ndarray of int16, shape (segments,)
        K of each segment.
    symbols : ndarray of uint8, shape (n,)
        One symbol per weight.
    outlier_index : ndarray of uint32, shape (c,)
        Ascending positions of the outliers.
    outlier_words : ndarray of uint, shape (c,)
        Their bit patterns.
    """

    flags: int
    steps: NDArray[np.int16]
    symbols: NDArray[np.uint8]
    outlier_index: NDArray[np.uint32]
    outlier_words: NDArray[np.unsignedinteger]

    @property
    def sparse(self) -> bool:
        """Whether zeros have symbols of their own."""
        return bool(self.flags & SPARSE)

    def sections(self) -> tuple[bytes | memoryview, ...]:
        """Return the canonical bytes in pieces, the symbols as they lie in memory."""
        return (
            bytes((self.flags,)),
            self.steps.astype("<i2").tobytes(),
            np.ascontiguousarray(self.symbols).data,
            struct.pack("<I", len(self.outlier_index)),
            self.outlier_index.astype("<u4").tobytes(),
            self.outlier_words.tobytes(),
        )

    def payload(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(self.sections())

    @classmethod
    def parse(cls, fmt: FloatFormat, weights: int, segments: int, payload: Buffer) -> BaseLayer:
        """Take canonical bytes apart; their values are checked by who uses them."""
        fixed = 1 + 2 * segments + weights + 4
        if len(payload) < fixed:
            raise Malformed(f"expected a base layer of at least {fixed} bytes, got {len(payload)}")
        (count,) = struct.unpack_from("<I", payload, fixed - 4)
        if len(payload) != fixed + count * (4 + fmt.itemsize):
            raise Malformed(f"a base layer of {len(payload)} bytes cannot hold {count} outliers")
        return cls(
            payload[0],
            np.frombuffer(payload, "<i2", segments, 1).copy(),  # to where integers may lie
            np.frombuffer(payload, np.uint8, weights, 1 + 2 * segments),
            np.frombuffer(payload, "<u4", count, fixed),
            np.frombuffer(payload, fmt.word, count, fixed + 4 * count),
        )

    def check(self) -> None:
        """Refuse what no encoder writes (SPEC.md, 6.1)."""
        if self.flags & ~SPARSE:
            raise Malformed(f"unknown base layer flags {self.flags:#x}")
        if len(self.steps) and int(np.abs(self.steps.astype(np.int32)).max()) > MAX_STEP_EXPONENT:
            raise LimitExceeded("a step exponent is above the limit")
        if not np.array_equal(np.flatnonzero(self.symbols == OUTLIER), self.outlier_index):
            raise Malformed("the outlier list does not name the outlier symbols")
        if not self.sparse and bool((self.symbols == PLUS_ZERO).any()):
            raise Malformed("symbol 255 in a block that is not sparse")


@dataclass(frozen=True, slots=True)
class ExactLayer:
    """The exact tier of a block: exponents of tiny weights, byte planes, a bit string."""

    exponents: bytes
    planes: tuple[bytes, ...]
    bits: bytes

    def sections(self) -> tuple[bytes, ...]:
        """Return the parts in their order."""
        return (self.exponents, *self.planes, self.bits)

    def payload(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(self.sections())
