"""Layers as differences from the same layers of a parent on the same grid (SPEC.md, 7.4).

At every tier a weight is an integer: its place on the grid, or at the exact tier its place among
all numbers of its format. The integers of parent and child differ by little, and what is known
already of both, the tiers below, says how much is left to tell.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.bits import pack_fixed, pack_variable
from p2uformat.codec.numbers import Scope, decode_numbers, encode_numbers
from p2uformat.errors import Malformed
from p2uformat.quant.bitplane import per_weight
from p2uformat.quant.ladder import Ladder
from p2uformat.quant.layers import BaseLayer, ExactLayer
from p2uformat.quant.split import OUTLIER, remainder_widths

__all__ = [
    "KINDS_OF_BASE",
    "KINDS_OF_DIGITS",
    "KINDS_OF_EXACT",
    "base_difference",
    "base_head",
    "digits_difference",
    "exact_difference",
    "from_base_difference",
    "from_digits_difference",
    "from_exact_difference",
    "from_opaque_difference",
    "opaque_difference",
    "unit_of",
]

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Buffer = bytes | memoryview
Histogram = Callable[[U8], NDArray[np.integer]]

LEVELS: Final = 5
KINDS_OF_BASE: Final = LEVELS
KINDS_OF_DIGITS: Final = LEVELS + 2
KINDS_OF_EXACT: Final = LEVELS + 3
_ABOVE: Final = LEVELS  # the child is above its parent at the tier before
_BELOW: Final = LEVELS + 1
_TINY: Final = LEVELS + 2
_SHARES: Final = (8, 5, 3, 1)  # levels begin where more than 2**-s of the weights have moved
_MOST_LENGTH: Final = 20  # a block has at most 2**19 weights
_LEAST_UNITS: Final = 8
_PER_UNIT: Final = 3 * 8  # about what the activity of a unit costs, in bits
_SMALL: Final = 4096


def unit_of(row: int, weights: int) -> int:
    """Return the unit that a block is cut into to see where it moved; 0 for none.

    Examples
    --------
    >>> unit_of(384, 1 << 19), unit_of(3, 1 << 19), unit_of(384, 1000)
    (384, 0, 0)
    """
    fits = row >= _LEAST_UNITS and weights // row >= _LEAST_UNITS and weights >= _SMALL
    return row if fits else 0


def _counts(moved: NDArray[np.bool_], unit: int) -> tuple[I64, I64]:
    """Return how many weights moved in each unit, and in each place of all units."""
    if not unit:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    grid = moved[: len(moved) // unit * unit].reshape(-1, unit)
    return grid.sum(1, dtype=np.int64), grid.sum(0, dtype=np.int64)


def _levels(rows: I64, columns: I64, weights: int) -> U8:
    """Return how much each weight is expected to move, from its unit and its place there."""
    levels = np.zeros(weights, np.uint8)
    expected = rows[:, None] * columns
    total = int(rows.sum())
    found = np.zeros(expected.shape, np.uint8)
    for share in _SHARES:
        found += (expected << share) > total
    levels[: found.size] = found.reshape(-1)
    return levels


def _signed(values: I64, width: int) -> I64:
    """Return integers modulo ``2**width``, as the ones nearest zero."""
    half = 1 << (width - 1)
    return ((values + half) & ((1 << width) - 1)) - half


# Base layers: symbols in the order of their weights, as integers modulo 256.


def _flip(symbols: U8) -> U8:
    """Return places for symbols, or symbols for places: the map is its own inverse."""
    return np.where(symbols > OUTLIER, np.uint8(127) - symbols, symbols)


def _base_scope(levels: U8) -> Scope:
    weights = len(levels)
    return Scope(
        levels,
        np.full(weights, 8, np.uint8),
        np.ones(weights, np.bool_),
        KINDS_OF_BASE,
    )


def base_head(
    parent: BaseLayer, child: BaseLayer, row: int, histogram: Histogram
) -> tuple[bytes, U8]:
    """Return the first section of a base layer's difference, and each weight's level.

    Parameters
    ----------
    parent, child, row
        As for `base_difference`.
    histogram : callable
        Counts bytes by their values.
    """
    moved = child.symbols != parent.symbols
    unit = unit_of(row, len(moved))
    rows, columns = (_lengths(counts) for counts in _counts(moved, unit))
    levels = _levels(_of_lengths(rows), _of_lengths(columns), len(moved))
    if not _worth(moved, levels, len(rows) + len(columns), histogram):
        unit, rows, columns, levels = 0, rows[:0], columns[:0], np.zeros_like(levels)
    head = struct.pack("<I", unit) + rows.tobytes() + columns.tobytes()
    return head, levels


def base_difference(parent: BaseLayer, child: BaseLayer, row: int) -> list[bytes]:
    """Return the sections of a base layer's difference.

    Parameters
    ----------
    parent, child : BaseLayer
        With the same flags and step exponents.
    row : int
        Weights that belong together, as one output's do.
    """
    head, levels = base_head(parent, child, row, _histogram)
    moved = (_flip(child.symbols) - _flip(parent.symbols)).view(np.int8).astype(np.int64)
    return [head, *encode_numbers(_base_scope(levels), moved), child.outlier_words.tobytes()]


def _lengths(counts: I64) -> U8:
    """Return bit lengths."""
    return np.where(counts > 0, (counts.astype(np.float64).view(np.int64) >> 52) - 1022, 0).astype(
        np.uint8
    )


def _of_lengths(lengths: U8) -> I64:
    return np.where(lengths > 0, np.int64(1) << np.maximum(lengths.astype(np.int64) - 1, 0), 0)


def _histogram(values: U8) -> NDArray[np.integer]:
    return np.bincount(values, minlength=256)


def _worth(moved: NDArray[np.bool_], levels: U8, lengths: int, histogram: Histogram) -> bool:
    """Tell whether it saves anything to say which units moved how much."""
    if not lengths:
        return False
    counts = histogram(levels << np.uint8(1) | moved).astype(np.int64)[: 2 * LEVELS]
    counts = counts.reshape(-1, 2)
    return _entropy(counts) + lengths * _PER_UNIT / 8 < _entropy(counts.sum(0, keepdims=True))


def _entropy(counts: I64) -> float:
    totals = counts.sum(1, keepdims=True)
    share = np.maximum(counts, 1) / np.maximum(totals, 1)
    return float(-(counts * np.log2(share)).sum())


def from_base_difference(
    parent: BaseLayer, parts: Sequence[Buffer], word: np.dtype[np.unsignedinteger]
) -> BaseLayer:
    """Return the child's base layer.

    Raises
    ------
    Malformed
        If the parts are none of such a block.
    """
    weights = len(parent.symbols)
    if len(parts) != 2 * KINDS_OF_BASE + 3:
        raise Malformed(f"a base layer's difference of {len(parts)} parts")
    rows, columns = _head(parts[0], weights)
    scope = _base_scope(_levels(_of_lengths(rows), _of_lengths(columns), weights))
    moved = decode_numbers(scope, parts[1:-1]).astype(np.uint8)
    symbols = _flip(_flip(parent.symbols) + moved)
    where = np.flatnonzero(symbols == OUTLIER).astype(np.uint32)
    if len(parts[-1]) != len(where) * word.itemsize:
        raise Malformed(f"{len(parts[-1])} bytes for {len(where)} outliers")
    return BaseLayer(parent.flags, parent.steps, symbols, where, np.frombuffer(parts[-1], word))


def _head(data: Buffer, weights: int) -> tuple[U8, U8]:
    if len(data) < 4:
        raise Malformed(f"a difference's head of {len(data)} bytes")
    (unit,) = struct.unpack_from("<I", data)
    count = weights // unit if unit else 0
    lengths = np.frombuffer(data, np.uint8, offset=4)
    if unit > weights or len(lengths) != count + unit:
        raise Malformed(f"units of {unit} weights and {len(lengths)} lengths")
    if len(lengths) and int(lengths.max()) > _MOST_LENGTH:
        raise Malformed("a unit moved more than it holds")
    return lengths[:count], lengths[count:]


# Refinement and exact layers: what moved below the tier before.


def _kinds(parent: Ladder, child: Ladder, tier: int, unit: int) -> U8:
    """Return each weight's kind, by how the two moved apart up to a tier."""
    both = parent.plain & child.plain
    apart = np.where(both, child.place(tier) - parent.place(tier), 0)
    kinds = _levels(*_counts(apart != 0, unit), len(apart))
    kinds[(apart > 0) | ~parent.plain] = _ABOVE
    kinds[apart < 0] = _BELOW
    return kinds


def _head_unit(parts: Sequence[Buffer], count: int, weights: int) -> int:
    if len(parts) != count:
        raise Malformed(f"a layer's difference of {len(parts)} parts")
    if len(parts[0]) != 4:
        raise Malformed(f"a difference's head of {len(parts[0])} bytes")
    unit = int.from_bytes(parts[0], "little")
    if unit > weights:
        raise Malformed(f"units of {unit} weights in a block of {weights}")
    return unit


def _digits_scope(parent: Ladder, child: Ladder, tier: int, unit: int) -> tuple[Scope, I64]:
    """Return what is known of a refinement's numbers, and the weights they belong to."""
    where = np.flatnonzero(child.plain)
    kinds = _kinds(parent, child, tier - 1, unit)[where]
    width = child.spec.digits[tier] - child.spec.digits[tier - 1]
    widths = np.full(len(where), width, np.uint8)
    return Scope(kinds, widths, kinds < LEVELS, KINDS_OF_DIGITS), where


def _apart(scope: Scope, values: I64) -> I64:
    """Bring differences into the ranges of a scope."""
    width = scope.width.astype(np.int64)
    mask = np.where(width < 64, (np.int64(1) << np.minimum(width, 62)) - 1, -1)
    mask = np.where(width == 63, (1 << 63) - 1, mask)
    values = np.where(scope.kind == _BELOW, -values, values)
    low = values & mask
    half = np.where(width > 0, np.int64(1) << np.clip(width - 1, 0, 62), 1)
    over = scope.signed & (low >= half) & (width < 64)
    return np.where(over, low - mask - 1, low)


def digits_difference(parent: Ladder, child: Ladder, tier: int, row: int) -> list[bytes]:
    """Return the sections of a refinement layer's difference; both ladders reach the tier."""
    unit = unit_of(row, child.spec.weights)
    scope, where = _digits_scope(parent, child, tier, unit)
    old = np.where(parent.plain, parent.place(tier), 0)
    moved = _apart(scope, child.place(tier)[where] - old[where])
    return [struct.pack("<I", unit), *encode_numbers(scope, moved)]


def from_digits_difference(
    parent: Ladder, child: Ladder, tier: int, parts: Sequence[Buffer]
) -> bytes:
    """Return the child's refinement layer; its ladder reaches the tier before."""
    unit = _head_unit(parts, 2 * KINDS_OF_DIGITS + 2, child.spec.weights)
    scope, where = _digits_scope(parent, child, tier, unit)
    moved = decode_numbers(scope, parts[1:])
    moved = np.where(scope.kind == _BELOW, -moved, moved)
    old = np.where(parent.plain, parent.place(tier), 0)[where]
    width = child.spec.digits[tier] - child.spec.digits[tier - 1]
    made = np.where(child.negative[where], ~(old + moved), old + moved) & ((1 << width) - 1)
    digits = np.zeros(child.spec.weights, np.uint32)
    digits[where] = made
    return pack_fixed(digits[child.live], width)


def _exact_scope(parent: Ladder, child: Ladder, unit: int) -> tuple[Scope, I64]:
    spec = child.spec
    last = len(spec.digits) - 1
    index = child.index(last)
    step = per_weight(child.base.steps, spec.segment, spec.weights) - np.int32(spec.digits[-1])
    width = remainder_widths(spec.format, index.view(np.uint64), step)
    tiny = child.plain & (index == 0)
    width = np.where(tiny, 8 * spec.format.itemsize, width)
    where = np.flatnonzero(child.plain & (width > 0))
    kinds = _kinds(parent, child, last, unit)
    kinds[tiny] = _TINY
    kinds = kinds[where]
    signed = (kinds < LEVELS) | (kinds == _TINY)
    return Scope(kinds, width[where].astype(np.uint8), signed, KINDS_OF_EXACT), where


def exact_difference(parent: Ladder, child: Ladder, row: int) -> list[bytes]:
    """Return the sections of an exact layer's difference; both ladders reach the exact tier."""
    unit = unit_of(row, child.spec.weights)
    scope, where = _exact_scope(parent, child, unit)
    moved = _apart(scope, child.codes()[where] - parent.codes()[where])
    return [struct.pack("<I", unit), *encode_numbers(scope, moved)]


def from_exact_difference(parent: Ladder, child: Ladder, parts: Sequence[Buffer]) -> ExactLayer:
    """Return the child's exact layer; its ladder reaches the last lossy tier."""
    spec = child.spec
    unit = _head_unit(parts, 2 * KINDS_OF_EXACT + 2, spec.weights)
    scope, where = _exact_scope(parent, child, unit)
    moved = decode_numbers(scope, parts[1:])
    moved = np.where(scope.kind == _BELOW, -moved, moved)
    made = parent.codes()[where] + moved
    made = np.where(child.negative[where], ~made, made)
    words = np.zeros(spec.weights, np.int64)
    words[where] = made & ((1 << spec.format.sign_bit) - 1)
    return _exact_layer(child, words.view(np.uint64))


def _exact_layer(child: Ladder, words: NDArray[np.uint64]) -> ExactLayer:
    """Return the exact layer of words whose bits above the remainder do not matter."""
    spec = child.spec
    fmt = spec.format
    live = np.flatnonzero(child.live)
    index = child.index(len(spec.digits) - 1)[live]
    steps = per_weight(child.base.steps, spec.segment, spec.weights)[live]
    fine = steps - np.int32(spec.digits[-1])
    plain = child.plain[live]
    width = np.where(plain, remainder_widths(fmt, index.view(np.uint64), fine), 0)
    rest = words[live] & ((np.uint64(1) << width.astype(np.uint64)) - np.uint64(1))
    tiny = np.flatnonzero(plain & (index == 0))
    field = (words[live[tiny]] >> np.uint64(fmt.mantissa)).astype(np.int64)
    top = np.clip(fine[tiny] - np.int32(fmt.emin), 0, fmt.max_field)
    exponents = (top - field).astype(f"<u{fmt.exponent_bytes}").tobytes()
    planes = tuple(
        (rest >> np.uint64(8 * j)).astype(np.uint8).tobytes() for j in range(spec.planes)
    )
    bits = np.maximum(width - 8 * spec.planes, 0).astype(np.uint8)
    return ExactLayer(exponents, planes, pack_variable(rest >> np.uint64(8 * spec.planes), bits))


# What travels as bytes: its elements as integers.


def _opaque_scope(count: int, size: int) -> Scope:
    return Scope(
        np.zeros(count, np.uint8), np.full(count, 8 * size, np.uint8), np.ones(count, np.bool_), 1
    )


def _elements(data: Buffer, size: int) -> I64:
    return np.frombuffer(data, f"<u{size}").astype(np.uint64).view(np.int64)


def opaque_difference(parent: Buffer, child: Buffer, size: int) -> list[bytes]:
    """Return the sections of the difference of blocks of elements of 1, 2, 4 or 8 bytes."""
    with np.errstate(over="ignore"):
        moved = _elements(child, size) - _elements(parent, size)
    scope = _opaque_scope(len(moved), size)
    return encode_numbers(scope, _signed(moved, 8 * size) if size < 8 else moved)


def from_opaque_difference(parent: Buffer, parts: Sequence[Buffer], size: int) -> bytes:
    """Return the child's block."""
    old = _elements(parent, size)
    moved = decode_numbers(_opaque_scope(len(old), size), parts)
    return (old + moved).astype(f"<u{size}").tobytes()
