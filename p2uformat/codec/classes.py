"""Symbols sorted by scale class (SPEC.md, 7.3).

Rows of a weight matrix differ in scale. Units of like mean magnitude share a Huffman table, which
is worth 0.5 % of a 16-bit model, and costs a gather when read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.rates import ONE_BIT, entropy, quarter_octaves
from p2uformat.errors import Malformed

__all__ = [
    "COLUMNS",
    "OCTAVES",
    "Classes",
    "Member",
    "Pool",
    "cuts_of",
    "join_members",
    "limits",
    "merge",
    "pool",
    "sort_units",
]

U8 = NDArray[np.uint8]
Buffer = bytes | memoryview
Take = Callable[[int, int], U8]
_TABLE_COST = 90 * 8 * ONE_BIT  # what one more class costs: a Huffman table and two headers
_MAGNITUDES = 128
# The two zeros of a sparse block have symbols, and columns, of their own.
COLUMNS = _MAGNITUDES + 2
_WEIGHTS = np.concatenate((np.arange(_MAGNITUDES, dtype=np.int64), np.zeros(2, np.int64)))
_UNIT_RANGE = (64, 2048)
_DEFAULT_UNIT = 256
_LIMITS = (-20, 28)  # mean magnitudes from 1/32 to 127, in quarter octaves
OCTAVES = _LIMITS[1] - _LIMITS[0] + 1


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
    base = np.arange(units, dtype=np.int32) * COLUMNS
    whole = len(ordered) // unit * unit
    place[:whole].reshape(-1, unit)[:] += base[: whole // unit, None]
    place[whole:] += base[-1] if whole < len(ordered) else 0
    return np.bincount(place, minlength=units * COLUMNS).reshape(units, COLUMNS)


def limits() -> NDArray[np.int64]:
    """Return where quarter octaves of the mean magnitude begin, in units of 2**-16."""
    return quarter_octaves(*_LIMITS)


@dataclass(frozen=True, slots=True)
class Pool:
    """What a member's units hold, by the quarter octave of their mean magnitude.

    Parameters
    ----------
    octaves : ndarray of uint8, shape (units,)
        Quarter octave of each unit.
    tables : ndarray of int64, shape (OCTAVES, COLUMNS)
        Histogram of the magnitudes of all units of a quarter octave.
    """

    octaves: U8
    tables: NDArray[np.int64]


def pool(member: Member, *, sparse: bool) -> Pool:
    """Sort a member's units into quarter octaves."""
    histograms = magnitude_histograms(member.ordered(), member.unit, sparse=sparse)
    sums = histograms @ _WEIGHTS
    sizes = np.maximum(histograms.sum(1), 1)
    octaves = np.searchsorted(limits(), (sums << 16) // sizes, side="right")
    tables = np.zeros((OCTAVES, COLUMNS), np.int64)
    np.add.at(tables, octaves, histograms)
    return Pool(octaves.astype(np.uint8), tables)


@dataclass(frozen=True, slots=True)
class Classes:
    """Quarter octaves merged to classes.

    Parameters
    ----------
    names : ndarray of uint8, shape (OCTAVES,)
        Class of each quarter octave in use; classes are numbered without gaps.
    bits : int
        Estimated bits of the magnitudes and tables, in units of 1 / ONE_BIT.
    """

    names: U8
    bits: int


def merge(tables: NDArray[np.int64]) -> Classes:
    """Merge neighbouring quarter octaves while that saves bits, tables counted."""
    present = np.flatnonzero(tables.any(1))
    parts = [tables[i] for i in present]
    costs = [int(cost) for cost in entropy(tables[present])]
    pairs = [int(entropy(a + b)) for a, b in pairwise(parts)]
    ends = present.tolist()
    while pairs:
        gains = [costs[i] + costs[i + 1] + _TABLE_COST - pair for i, pair in enumerate(pairs)]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
        costs[best : best + 2] = [pairs.pop(best)]
        del ends[best]
        for i in range(max(best - 1, 0), min(best + 1, len(pairs))):
            pairs[i] = int(entropy(parts[i] + parts[i + 1]))
    names = np.searchsorted(ends, np.arange(OCTAVES))
    names[names == len(ends)] = 0  # above all that are in use
    return Classes(names.astype(np.uint8), sum(costs) + len(costs) * _TABLE_COST)


def row_unit(row: int, weights: int) -> int:
    """Return the unit length for rows of `row` weights."""
    low, high = _UNIT_RANGE
    if row < low:
        row *= -(-low // max(row, 1))
    if row > high:
        row = _DEFAULT_UNIT * 2
    return min(row, max(weights, 1))


def cuts_of(symbols: U8, row: int) -> list[Member]:
    """Return the ways to cut symbols that are worth a look: by rows, and by columns if any."""
    by_row = Member(symbols, row_unit(row, len(symbols)), transposed=False)
    rows = len(symbols) // max(row, 1)
    if rows * row != len(symbols) or row < _UNIT_RANGE[0] or rows < _UNIT_RANGE[0]:
        return [by_row]
    return [by_row, Member(symbols, rows, transposed=True)]


def _order(classes: U8, whole: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stable order of whole units by class, and how many each class has."""
    order = np.argsort(classes[:whole], kind="stable")
    return order, np.bincount(classes[:whole], minlength=256)


def sort_units(member: Member, classes: U8) -> list[U8]:
    """Return a member's symbols of each class that it has, classes ascending."""
    ordered = member.ordered()
    whole = len(ordered) // member.unit
    order, counts = _order(classes, whole)
    rows = ordered[: whole * member.unit].reshape(whole, member.unit)[order]
    ends = np.cumsum(counts)
    pieces = [rows[end - n : end].reshape(-1) for end, n in zip(ends, counts, strict=True)]
    if whole < len(classes):
        last = int(classes[-1])
        pieces[last] = np.concatenate((pieces[last], ordered[whole * member.unit :]))
    return [piece for piece in pieces if len(piece)]


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
