"""Small numbers in known ranges: lengths and signs as symbols of a few kinds, the rest as bits.

The symbols of a kind become one byte each, or runs of zeros with what stands between them, and zstd
does the entropy coding (SPEC.md, 7.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.bits import pack_variable, unpack_variable
from p2uformat.codec.rates import huffman_bits
from p2uformat.errors import Malformed

__all__ = ["Scope", "decode_numbers", "encode_numbers", "few_zeros", "is_dense", "runs_of"]

U8 = NDArray[np.uint8]
Buffer = bytes | memoryview
_FEW_ZEROS = 4  # with fewer than one in so many there are no runs worth a look
_TABLE_BITS = 4  # of a symbol that occurs
_RUN = 255  # so many zeros and no number behind them
_PIECE = 24  # bits that the bit strings of `codec.bits` take at once


@dataclass(frozen=True, slots=True)
class Scope:
    """What both sides know of numbers before they are read.

    Parameters
    ----------
    kind : ndarray of uint8, shape (n,)
        Which symbols go together.
    width : ndarray of uint8, shape (n,)
        Bits of the range, at most 64: a number is in ``[0, 2**width)``, or, where it is signed, in
        ``[-2**(width - 1), 2**(width - 1))``.
    signed : ndarray of bool, shape (n,)
        Whether it may be negative.
    kinds : int
        Number of kinds.
    """

    kind: U8
    width: U8
    signed: NDArray[np.bool_]
    kinds: int


def encode_numbers(scope: Scope, values: NDArray[np.int64]) -> list[bytes]:
    """Encode numbers that are in their ranges.

    Returns
    -------
    list of bytes
        For each kind its runs and its symbols, then the bit string.

    Examples
    --------
    >>> three = np.full(3, 4, np.uint8)
    >>> scope = Scope(np.zeros(3, np.uint8), three, np.ones(3, np.bool_), 1)
    >>> parts = encode_numbers(scope, np.array([0, -3, 1]))
    >>> [part.hex() for part in parts]
    ['', '000607', '01']
    >>> decode_numbers(scope, parts).tolist()
    [0, -3, 1]
    """
    negative = values < 0
    # The one value whose magnitude int64 cannot hold, -2**63, is its own two's complement.
    magnitude = np.where(negative, -values, values).view(np.uint64)
    length = _bit_lengths(magnitude)
    room = scope.width - length
    symbols = np.where(scope.signed, 2 * room + 1 + negative, room + 1)
    symbols = np.where(length > 0, symbols, 0).astype(np.uint8)
    parts: list[bytes] = []
    for kind in range(scope.kinds):
        parts += runs_of(symbols[scope.kind == kind])
    rest = np.flatnonzero(length)
    low = length[rest] - np.uint8(1)
    one = np.uint64(1)
    bits = magnitude[rest] & ((one << low.astype(np.uint64)) - one)
    return [*parts, _pack_wide(bits, low)]


def decode_numbers(scope: Scope, parts: Sequence[Buffer]) -> NDArray[np.int64]:
    """Return the numbers that `encode_numbers` was given.

    Raises
    ------
    Malformed
        If a part has another length than the numbers ask for, or a symbol is out of range.
    """
    if len(parts) != 2 * scope.kinds + 1:
        raise Malformed(f"expected {2 * scope.kinds + 1} parts of numbers, got {len(parts)}")
    symbols = np.zeros(len(scope.kind), np.uint8)
    for kind in range(scope.kinds):
        where = np.flatnonzero(scope.kind == kind)
        symbols[where] = _from_runs(parts[2 * kind], parts[2 * kind + 1], len(where))
    if (symbols > np.where(scope.signed, 2 * scope.width, scope.width)).any():
        raise Malformed("a number is longer than its range")
    rest = np.flatnonzero(symbols)
    signed = scope.signed[rest]
    negative = signed & (symbols[rest] & 1 == 0)
    low = scope.width[rest] - np.where(signed, (symbols[rest] + 1) >> 1, symbols[rest])
    bits = _unpack_wide(parts[-1], low)
    magnitude = (bits | (np.uint64(1) << low.astype(np.uint64))).view(np.int64)
    values = np.zeros(len(symbols), np.int64)
    values[rest] = np.where(negative, -magnitude, magnitude)
    return values


def _bit_lengths(values: NDArray[np.uint64]) -> U8:
    """Return the bit lengths of integers, 0 for 0."""
    high = (values >> np.uint64(32)).astype(np.uint32)
    low = values.astype(np.uint32)
    # Integers below 2**53 are exact as float64, and the exponent is the place of their top bit.
    wide = np.where(high > 0, high, low).astype(np.float64)
    length = np.where(wide > 0, (wide.view(np.int64) >> 52) - 1022, 0)
    result: U8 = (length + 32 * (high > 0)).astype(np.uint8)
    return result


def runs_of(symbols: U8) -> tuple[bytes, bytes]:
    """Return runs of zeros and the other symbols; no runs and all symbols where that is smaller."""
    counts = np.bincount(symbols, minlength=256)
    if few_zeros(counts, len(symbols)):
        return b"", symbols.tobytes()
    where = np.flatnonzero(symbols)
    found = symbols[where]
    zeros = np.diff(where, prepend=-1) - 1
    skips = zeros // _RUN
    ends = np.cumsum(skips + 1)
    runs = np.full(int(ends[-1]) if len(ends) else 0, _RUN, np.uint8)
    runs[ends - 1] = zeros % _RUN
    if is_dense(counts, np.bincount(runs, minlength=256)):
        return b"", symbols.tobytes()
    return runs.tobytes(), found.tobytes()


def few_zeros(counts: NDArray[np.integer], total: int) -> bool:
    """Tell whether symbols have so few zeros that runs of them are not worth a look."""
    return int(counts[0]) * _FEW_ZEROS < total


def is_dense(counts: NDArray[np.integer], runs: NDArray[np.integer]) -> bool:
    """Tell by histograms whether symbols take less as they are than as runs and what is left."""
    rest = counts.copy()
    rest[0] = 0
    return _cost(counts) < _cost(runs) + _cost(rest)


def _cost(counts: NDArray[np.integer]) -> int:
    """Return the bits of a Huffman code, its table as zstd writes it counted roughly."""
    return huffman_bits(counts.astype(np.int64)) + _TABLE_BITS * int(np.count_nonzero(counts))


def _from_runs(runs: Buffer, found: Buffer, count: int) -> U8:
    given = np.frombuffer(found, np.uint8)
    if not len(runs) and len(given) == count:
        return given
    steps = np.frombuffer(runs, np.uint8)
    ends = np.flatnonzero(steps != _RUN)
    if len(ends) != len(given) or (len(steps) and steps[-1] == _RUN):
        raise Malformed(f"{len(given)} numbers with {len(ends)} runs between them")
    if (given == 0).any():
        raise Malformed("a run of zeros ends in a zero")
    places = np.cumsum(np.where(steps == _RUN, _RUN, steps + np.int64(1)))[ends] - 1
    if len(places) and places[-1] >= count:
        raise Malformed(f"a run of zeros ends behind {count} numbers")
    symbols = np.zeros(count, np.uint8)
    symbols[places] = given
    return symbols


def _pack_wide(bits: NDArray[np.uint64], low: U8) -> bytes:
    """Pack each number's low bits."""
    widths = _columns(low)
    pieces = np.zeros(widths.shape, np.uint32)
    for place in range(widths.shape[1]):
        shifted = bits >> np.uint64(_PIECE * place)
        pieces[:, place] = shifted & np.uint64((1 << _PIECE) - 1)
    return pack_variable(pieces.reshape(-1), widths.reshape(-1))


def _unpack_wide(data: Buffer, low: U8) -> NDArray[np.uint64]:
    widths = _columns(low)
    total = int(widths.sum(dtype=np.int64))
    found = np.frombuffer(data, np.uint8)
    if len(found) != (total + 7) >> 3:
        raise Malformed(f"expected {(total + 7) >> 3} bytes of bits, got {len(found)}")
    if total & 7 and int(found[-1]) >> (total & 7):
        raise Malformed("the padding of a bit string is not zero")
    pieces = unpack_variable(found, widths.reshape(-1)).reshape(widths.shape)
    bits = np.zeros(len(low), np.uint64)
    for place in range(widths.shape[1]):
        bits |= pieces[:, place].astype(np.uint64) << np.uint64(_PIECE * place)
    return bits


def _columns(low: U8) -> U8:
    """Cut widths into pieces, the lowest first, as many as the widest one needs."""
    count = max(1, -(-int(low.max(initial=0)) // _PIECE))
    left = low.astype(np.int32)[:, None] - _PIECE * np.arange(count, dtype=np.int32)
    widths: U8 = np.clip(left, 0, _PIECE).astype(np.uint8)
    return widths
