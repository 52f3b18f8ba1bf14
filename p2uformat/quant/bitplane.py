"""The bitplane ladder: a block of floats to its layers and back (SPEC.md, sections 4 and 6)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.bits import pack_fixed, pack_variable, unpack_fixed, unpack_variable
from p2uformat.errors import Malformed
from p2uformat.floats import FloatFormat
from p2uformat.quant.layers import SPARSE, BaseLayer, ExactLayer
from p2uformat.quant.rounding import cast_words
from p2uformat.quant.split import MINUS_ZERO, OUTLIER, Split, base_symbols, remainder_widths
from p2uformat.quant.stats import TierSums, energy_sums, tier_sums
from p2uformat.quant.tables import OFF_GRID, Lookup

__all__ = ["BlockDecoder", "BlockLayers", "BlockSpec", "encode_block", "is_sparse"]

Words = NDArray[np.unsignedinteger]
_SPARSE_SHARE = 64


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """What is known of a block before its layers are read.

    Parameters
    ----------
    format : FloatFormat
        The source format.
    weights : int
        Weights in the block.
    segment : int
        Weights per segment.
    planes : int
        Low bytes of the word that are planes of the exact layer.
    digits : tuple of int
        Cumulative digits of the lossy tiers, the first 0.
    deltas : tuple of (int, int)
        Reconstruction bytes of the lossy tiers.
    """

    format: FloatFormat
    weights: int
    segment: int
    planes: int
    digits: tuple[int, ...]
    deltas: tuple[tuple[int, int], ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Digits that each refinement adds."""
        return tuple(b - a for a, b in pairwise(self.digits))

    @property
    def segments(self) -> int:
        """Number of segments."""
        return -(-self.weights // self.segment)


@dataclass(frozen=True, slots=True)
class BlockLayers:
    """All layers of one block, with the sums that the tensor's statistics are made of."""

    base: BaseLayer
    refinements: tuple[bytes, ...]
    exact: ExactLayer
    sums: tuple[TierSums, ...]
    energy: dict[int, int]


def is_sparse(zeros: int, weights: int) -> bool:
    """Tell whether a block's zeros get symbols of their own (SPEC.md, section 11)."""
    return zeros * _SPARSE_SHARE >= weights > 0


def per_weight(steps: NDArray[np.int16], segment: int, weights: int) -> NDArray[np.int32]:
    """Spread the segments' exponents over their weights."""
    return np.repeat(steps.astype(np.int32), segment)[:weights]


def encode_block(
    spec: BlockSpec, words: Words, steps: NDArray[np.int16], *, sparse: bool, sums: bool = True
) -> BlockLayers:
    """Split a block into its layers.

    Parameters
    ----------
    spec : BlockSpec
        The block; `deltas` are not used.
    words : ndarray of uint, shape (n,)
        Its bit patterns.
    steps : ndarray of int16, shape (segments,)
        K of each segment.
    sparse : bool
        Whether its zeros get symbols of their own.
    sums : bool
        Whether the statistics are wanted, which take a third of the time.

    Returns
    -------
    BlockLayers
        Canonical layers and integer statistics.
    """
    split = Split.of(spec.format, words)
    step = per_weight(steps, spec.segment, spec.weights)
    symbols = base_symbols(split, step, sparse=sparse)
    where = np.flatnonzero(symbols == OUTLIER)
    base = BaseLayer(SPARSE if sparse else 0, steps, symbols, where.astype(np.uint32), words[where])
    live = np.flatnonzero(symbols < MINUS_ZERO) if sparse else slice(None)
    kept = Split(split.fmt, words[live], split.magnitude[live], split.sig[live], split.unit[live])
    inside = symbols[live] != OUTLIER
    refinements, indices = _refinements(spec, kept, step[live], inside)
    exact = _exact_layer(spec, kept, indices[-1], step[live], inside)
    if not sums:
        return BlockLayers(base, refinements, exact, (), {})
    totals = tuple(
        tier_sums(kept, index, step[live] - np.int32(d), inside)
        for d, index in zip(spec.digits, indices, strict=True)
    )
    return BlockLayers(base, refinements, exact, totals, energy_sums(split))


def _refinements(
    spec: BlockSpec, split: Split, step: NDArray[np.int32], inside: NDArray[np.bool_]
) -> tuple[tuple[bytes, ...], list[NDArray[np.unsignedinteger]]]:
    payloads = []
    indices = []
    for tier, d in enumerate(spec.digits):
        index = split.index(step - np.int32(d), 31)
        index[~inside] = 0
        indices.append(index)
        if tier:
            width = d - spec.digits[tier - 1]
            digit = index & index.dtype.type((1 << width) - 1)
            payloads.append(pack_fixed(digit, width))
    return tuple(payloads), indices


def _exact_layer(
    spec: BlockSpec,
    split: Split,
    index: NDArray[np.unsignedinteger],
    step: NDArray[np.int32],
    inside: NDArray[np.bool_],
) -> ExactLayer:
    fmt = spec.format
    fine = step - np.int32(spec.digits[-1])
    width = np.where(inside, remainder_widths(fmt, index, fine), 0)
    one = fmt.word.type(1)
    rest = split.magnitude & ((one << width.astype(fmt.word)) - one)
    tiny = np.flatnonzero((index == 0) & inside)
    field = (split.magnitude[tiny] >> fmt.mantissa).astype(np.int32)
    symbols = _top_field(fmt, fine[tiny]) - field
    low = 8 * spec.planes
    planes = tuple(
        (rest >> fmt.word.type(8 * j)).astype(np.uint8).tobytes() for j in range(spec.planes)
    )
    bits = np.maximum(width - low, 0).astype(np.uint8)
    high = rest >> fmt.word.type(low) if low else rest
    exponents = symbols.astype(f"<u{fmt.exponent_bytes}").tobytes()
    return ExactLayer(exponents, planes, pack_variable(high, bits))


def _top_field(fmt: FloatFormat, fine: NDArray[np.int32]) -> NDArray[np.int32]:
    # The largest exponent field below the first step of the finest lossy tier.
    top: NDArray[np.int32] = np.clip(fine - np.int32(fmt.emin), 0, fmt.max_field)
    return top


class BlockDecoder:
    """Rebuilds one block, fed with its layers from the base upward.

    Parameters
    ----------
    spec : BlockSpec
        The block.
    base : BaseLayer
        Its base layer, which is checked here.

    Raises
    ------
    Malformed
        If a payload breaks a rule of SPEC.md, section 6.
    """

    def __init__(self, spec: BlockSpec, base: BaseLayer) -> None:
        base.check()
        self.spec = spec
        self._base = base
        symbols = self._base.symbols
        self._live: NDArray[np.int64] | None = (
            np.flatnonzero(symbols < MINUS_ZERO) if self._base.sparse else None
        )
        self._check_outliers()
        self._tier = 0
        self._low: NDArray[np.uint32] | None = None  # digits so far, of live weights

    def _check_outliers(self) -> None:
        """Refuse outliers that have a symbol of their own: each value has one encoding."""
        base = self._base
        if not len(base.outlier_index):
            return
        step = base.steps[base.outlier_index // np.uint32(self.spec.segment)].astype(np.int32)
        split = Split.of(self.spec.format, base.outlier_words)
        if (base_symbols(split, step, sparse=base.sparse) != OUTLIER).any():
            raise Malformed("an outlier has a symbol of its own")

    @property
    def _count(self) -> int:
        return self.spec.weights if self._live is None else len(self._live)

    @property
    def _outliers(self) -> NDArray[np.integer]:
        """Positions of the outliers among the live weights."""
        if self._live is None:
            return self._base.outlier_index
        return np.searchsorted(self._live, self._base.outlier_index)

    def refine(self, payload: bytes | memoryview) -> None:
        """Add the next lossy tier."""
        width = self.spec.digits[self._tier + 1] - self.spec.digits[self._tier]
        data = np.frombuffer(payload, np.uint8)
        count = self._count
        if len(data) != (count * width + 7) >> 3:
            raise Malformed(f"expected {(count * width + 7) >> 3} bytes of digits, got {len(data)}")
        _check_padding(data, count * width)
        digits = unpack_fixed(data, count, width)
        if digits[self._outliers].any():
            raise Malformed("an outlier has a digit")
        low = self._low
        self._low = digits if low is None else (low << np.uint32(width)) | digits
        self._tier += 1

    def values(self, target: FloatFormat) -> Words:
        """Return the bit patterns of the block at the tier reached, rounded once to a format."""
        live = self._live
        made = self._lookup(self._tier).reconstruct(self.spec.deltas[self._tier], target)
        out = made
        if live is not None:
            sign = (self._base.symbols == MINUS_ZERO).astype(target.word)
            out = sign << target.word.type(target.sign_bit)
            out[live] = made
        words = cast_words(self.spec.format, self._base.outlier_words, target)
        out[self._base.outlier_index] = words
        return out

    def _lookup(self, tier: int) -> Lookup:
        spec = self.spec
        return Lookup(spec.format, spec.digits[tier], self._symbols, self._low, self._runs())

    @property
    def _symbols(self) -> NDArray[np.uint8]:
        """Symbols of the live weights."""
        return self._base.symbols if self._live is None else self._base.symbols[self._live]

    def _runs(self) -> list[tuple[int, int, int]]:
        """Return (start, stop, K) runs of equal K among the live weights."""
        steps = self._base.steps
        if not len(steps):
            return []
        heads = np.flatnonzero(np.diff(steps, prepend=steps[:1] - np.int16(1)))
        starts = heads * self.spec.segment
        stops = np.append(starts[1:], self.spec.weights)
        if self._live is not None:
            starts = np.searchsorted(self._live, starts)
            stops = np.searchsorted(self._live, stops)
        return list(zip(starts.tolist(), stops.tolist(), steps[heads].tolist(), strict=True))

    def _check_words(self, words: Words) -> None:
        """Refuse what is no finite number, or a zero without a zero's symbol."""
        fmt = self.spec.format
        magnitude = words & fmt.word.type((1 << fmt.sign_bit) - 1)
        wrong = np.zeros(len(words), bool)
        if fmt.max_word & 1 == 0:  # elsewhere the widths leave no room for it
            wrong |= magnitude > fmt.max_word
        if self._live is not None:
            wrong |= magnitude == 0
        if wrong.any() and wrong[self._symbols != OUTLIER].any():
            raise Malformed("a weight's remainder makes it no number of its bin")

    def exact(self, payload: bytes | memoryview) -> Words:
        """Return the original bit patterns; all lossy tiers have been fed before.

        Returns
        -------
        ndarray of uint, shape (weights,)
            Bit patterns in the source format.
        """
        spec = self.spec
        fmt = spec.format
        live = self._live
        made = self._lookup(-1).truncated()
        made.width[self._outliers] = 0
        if (made.width == OFF_GRID).any():
            raise Malformed("a weight's digits are off the source grid")
        data = np.frombuffer(payload, np.uint8)
        fields, words = _exact_parts(spec, data, made.width, len(made.tiny))
        top = _top_field(fmt, made.fine)
        if (fields > top).any():
            raise Malformed("an exponent is above its step")
        words |= made.words
        words[made.tiny] |= (top - fields).astype(fmt.word) << fmt.word.type(fmt.mantissa)
        self._check_words(words)
        if live is not None:
            sign = (self._base.symbols == MINUS_ZERO).astype(fmt.word)
            full = sign << fmt.word.type(fmt.sign_bit)
            full[live] = words
            words = full
        words[self._base.outlier_index] = self._base.outlier_words
        return words


def _exact_parts(
    spec: BlockSpec, data: NDArray[np.uint8], width: NDArray[np.uint8], tiny: int
) -> tuple[NDArray[np.int32], Words]:
    """Cut an exact layer into exponent symbols and remainders."""
    fmt = spec.format
    count = len(width)
    low = 8 * spec.planes
    bits = width if not low else np.maximum(width, low) - np.uint8(low)
    total = int(bits.sum(dtype=np.int64))
    head = tiny * fmt.exponent_bytes
    start = head + spec.planes * count
    if len(data) != start + ((total + 7) >> 3):
        raise Malformed(f"expected {start + ((total + 7) >> 3)} bytes, got {len(data)}")
    _check_padding(data[start:], total)
    rest = unpack_variable(data[start:], bits).astype(fmt.word)
    if low:
        rest <<= fmt.word.type(low)
    for j in range(spec.planes):
        plane = data[head + j * count : head + (j + 1) * count]
        rest |= plane.astype(fmt.word) << fmt.word.type(8 * j)
    if low and bool((rest >> np.minimum(width, fmt.sign_bit).astype(fmt.word)).any()):
        raise Malformed("a byte plane has bits that are known already")
    fields = np.frombuffer(data[:head].tobytes(), f"<u{fmt.exponent_bytes}").astype(np.int32)
    return fields, rest


def _check_padding(data: NDArray[np.uint8], bits: int) -> None:
    if bits & 7 and int(data[-1]) >> (bits & 7):
        raise Malformed("the padding of a bit string is not zero")
