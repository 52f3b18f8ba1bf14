"""Symbols sorted by scale class (SPEC.md, 7.3).

Rows of a weight matrix differ in scale. Units of like mean magnitude share a Huffman table, which
is worth 0.5 % of a 16-bit model, and costs a gather when read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.rates import ONE_BIT, entropy, quarter_octaves
from p2uformat.errors import Malformed

__all__ = ["Member", "assign", "choose_cut", "join_members", "magnitude_histograms", "split"]

U8 = NDArray[np.uint8]
Buffer = bytes | memoryview
Take = Callable[[int, int], U8]
_TABLE_COST = 90 * 8 * ONE_BIT  # what one more class costs: a Huffman table and two headers
_MAGNITUDES = 128
# The two zeros of a sparse block have symbols, and columns, of their own.
_COLUMNS = _MAGNITUDES + 2
_WEIGHTS = np.concatenate((np.arange(_MAGNITUDES, dtype=np.int64), np.zeros(2, np.int64)))
_UNIT_RANGE = (64, 2048)
_DEFAULT_UNIT = 256
_LIMITS = (-20, 28)  # mean magnitudes from 1/32 to 127, in quarter octaves


@dataclass(frozen=True, slots=True)
class Member:
    """One layer's symbols as cut into units.

    Parameters
    ----------
    symbols : ndarray of uint8, shape (n,)
        In C order.
    unit : int
        Symbols per unit.
    transposed : bool
        Whether the symbols are read column by column from a matrix of `unit` rows.
    """

    symbols: U8
    unit: int
    transposed: bool

    @property
    def units(self) -> int:
        """Number of units."""
        return -(-len(self.symbols) // self.unit)

    def ordered(self) -> U8:
        """Return the symbols in the order that units are cut from."""
        if not self.transposed:
            return self.symbols
        return np.ascontiguousarray(self.symbols.reshape(self.unit, -1).T).reshape(-1)


def _magnitudes(symbols: U8, *, sparse: bool) -> U8:
    m = symbols & np.uint8(127)
    if sparse:
        m[symbols == 255] = _MAGNITUDES
        m[symbols == 254] = _MAGNITUDES + 1
    return m


def magnitude_histograms(ordered: U8, unit: int, *, sparse: bool) -> NDArray[np.int64]:
    """Return a histogram of magnitudes, then +0 and -0 of sparse blocks; shape (units, 130)."""
    units = -(-len(ordered) // unit)
    place = _magnitudes(ordered, sparse=sparse).astype(np.int32)
    base = np.arange(units, dtype=np.int32) * _COLUMNS
    whole = len(ordered) // unit * unit
    place[:whole].reshape(-1, unit)[:] += base[: whole // unit, None]
    place[whole:] += base[-1] if whole < len(ordered) else 0
    return np.bincount(place, minlength=units * _COLUMNS).reshape(units, _COLUMNS)


def assign(histograms: NDArray[np.int64]) -> tuple[U8, int]:
    """Give each unit a class, and return the classes and the estimated bits of their magnitudes.

    Units are sorted into quarter octaves of their mean magnitude, and neighbours are merged while
    that saves bits, tables counted.
    """
    sums = histograms @ _WEIGHTS
    sizes = np.maximum(histograms.sum(1), 1)
    octave = np.searchsorted(quarter_octaves(*_LIMITS), (sums << 16) // sizes, side="right")
    present, inverse = np.unique(octave, return_inverse=True)
    tables = np.zeros((len(present), _COLUMNS), np.int64)
    np.add.at(tables, inverse, histograms)
    names = list(range(len(present)))
    costs = [int(c) for c in entropy(tables)]
    parts = [tables[i] for i in names]
    groups = [[i] for i in names]
    while len(parts) > 1:
        merged = [parts[i] + parts[i + 1] for i in range(len(parts) - 1)]
        prices = entropy(np.array(merged))
        gains = [costs[i] + costs[i + 1] + _TABLE_COST - int(p) for i, p in enumerate(prices)]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        parts[best : best + 2] = [merged[best]]
        costs[best : best + 2] = [int(prices[best])]
        groups[best : best + 2] = [groups[best] + groups[best + 1]]
    renamed = np.zeros(len(present), np.uint8)
    for name, group in enumerate(groups):
        renamed[group] = name
    return renamed[inverse.reshape(-1)], sum(costs) + len(costs) * _TABLE_COST


def row_unit(row: int, weights: int) -> int:
    """Return the unit length for rows of `row` weights."""
    low, high = _UNIT_RANGE
    if row < low:
        row *= -(-low // max(row, 1))
    if row > high:
        row = _DEFAULT_UNIT * 2
    return min(row, max(weights, 1))


def choose_cut(symbols: U8, row: int, *, sparse: bool) -> Member:
    """Choose between units of rows and units of columns, by the estimated size."""
    by_row = Member(symbols, row_unit(row, len(symbols)), transposed=False)
    rows = len(symbols) // max(row, 1)
    if rows * row != len(symbols) or row < _UNIT_RANGE[0] or rows < _UNIT_RANGE[0]:
        return by_row
    by_column = Member(symbols, rows, transposed=True)
    prices = [
        assign(magnitude_histograms(member.ordered(), member.unit, sparse=sparse))[1]
        + member.units * 2 * ONE_BIT
        for member in (by_row, by_column)
    ]
    return by_column if prices[1] < prices[0] else by_row


def _order(classes: U8, whole: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stable order of whole units by class, and how many each class has."""
    order = np.argsort(classes[:whole], kind="stable")
    return order, np.bincount(classes[:whole], minlength=256)


def split(member: Member, classes: U8) -> dict[int, list[U8]]:
    """Return the member's pieces of each class stream."""
    ordered = member.ordered()
    whole = len(ordered) // member.unit
    order, counts = _order(classes, whole)
    rows = ordered[: whole * member.unit].reshape(whole, member.unit)[order]
    pieces: dict[int, list[U8]] = {}
    start = 0
    for name in np.flatnonzero(counts).tolist():
        stop = start + int(counts[name])
        pieces[name] = [rows[start:stop].reshape(-1)]
        start = stop
    if whole < len(classes):
        pieces.setdefault(int(classes[-1]), []).append(ordered[whole * member.unit :])
    return pieces


class _Streams:
    """The class streams of a chunk, each used up exactly."""

    def __init__(self, streams: Sequence[Buffer]) -> None:
        self._left = [np.frombuffer(stream, np.uint8) for stream in streams]

    def take(self, name: int, count: int) -> U8:
        if name >= len(self._left):
            raise Malformed(f"class {name} of a chunk with {len(self._left)} classes")
        left = self._left[name]
        if len(left) < count:
            raise Malformed("a class stream is too short")
        self._left[name] = left[count:]
        return left[:count]

    def finish(self) -> None:
        if any(len(left) for left in self._left):
            raise Malformed("a class stream is too long")


def join_members(
    streams: Sequence[Buffer], classes: Buffer, cuts: Sequence[tuple[int, int, bool]], out: U8
) -> None:
    """Put the symbols of all members of a chunk back into C order.

    Parameters
    ----------
    streams : sequence of bytes-like
        The symbols of each class.
    classes : bytes-like
        Class of each unit, all members.
    cuts : sequence of (int, int, bool)
        Of each member weights, symbols per unit, and whether units are columns.
    out : ndarray of uint8, shape (weights of all members,)
        Receives the symbols.

    Raises
    ------
    Malformed
        If a class does not exist, or its stream is not used up exactly.
    """
    numbers = np.frombuffer(classes, np.uint8)
    source = _Streams(streams)
    start = unit_at = 0
    for weights, unit, transposed in cuts:
        units = -(-weights // unit)
        part = numbers[unit_at : unit_at + units]
        out[start : start + weights] = join(unit, weights, part, source.take, transposed=transposed)
        start += weights
        unit_at += units
    source.finish()


def join(unit: int, weights: int, classes: U8, take: Take, *, transposed: bool) -> U8:
    """Put a member's symbols back into C order.

    Parameters
    ----------
    unit, weights
        Symbols per unit, and in all.
    classes : ndarray of uint8, shape (units,)
        Class of each unit.
    take : callable
        ``take(name, count)`` returns the next `count` symbols of a class stream.
    transposed : bool
        As in `Member`.
    """
    whole = weights // unit
    order, counts = _order(classes, whole)
    out = np.empty(weights, np.uint8)
    rows = out[: whole * unit].reshape(whole, unit)
    start = 0
    for name in np.flatnonzero(counts).tolist():
        stop = start + int(counts[name])
        rows[order[start:stop]] = take(name, (stop - start) * unit).reshape(-1, unit)
        start = stop
    if whole < len(classes):
        out[whole * unit :] = take(int(classes[-1]), weights - whole * unit)
    if transposed:
        out = np.ascontiguousarray(out.reshape(-1, unit).T).reshape(-1)
    return out
