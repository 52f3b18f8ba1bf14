"""Skewed codes as bytes near their entropy: runs of one code, and what ends them (SPEC.md, 19.5).

A byte says how many resting codes there are before the next other one, and which that is. What a
Huffman coder of bytes then makes of it is near the entropy even far below one bit a code, where one
byte, or a few digits, for each code would not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.errors import Malformed

__all__ = ["RunAlphabet", "pack_runs", "unpack_runs"]

Buffer = bytes | memoryview
Codes = NDArray[np.uint8]
Places = NDArray[np.int64]
_SHORT: Final = 240  # bytes for a short run with the code that ends it, as far as codes allow
_LONG: Final = 16  # bytes for long runs, at most


@dataclass(frozen=True, slots=True)
class RunAlphabet:
    """What bytes mean for codes of a table.

    Parameters
    ----------
    codes : int
        How many there are, 2 to 256.
    rest : int
        The resting code: the one that is most frequent, as a rule.

    Examples
    --------
    >>> RunAlphabet(5, 2).others, RunAlphabet(5, 2).short, RunAlphabet(5, 2).long
    (4, 60, 16)
    """

    codes: int
    rest: int

    @property
    def others(self) -> int:
        """How many other codes there are."""
        return self.codes - 1

    @property
    def short(self) -> int:
        """Runs below this length are in one byte with the code behind them."""
        return max(1, _SHORT // self.others)

    @property
    def long(self) -> int:
        """How many bytes stand for long runs: `short` times a power of two, without a code."""
        return min(_LONG, 256 - self.short * self.others)


@lru_cache(maxsize=64)
def _tables(alphabet: RunAlphabet) -> tuple[Places, NDArray[np.bool_], Codes]:
    """Return for each byte the codes that it stands for, whether it ends a run, and with what."""
    symbols = alphabet.short * alphabet.others
    byte = np.arange(256)
    ends = byte < symbols
    places = np.zeros(256, np.int64)
    places[ends] = byte[ends] // alphabet.others + 1
    for power in range(alphabet.long):
        places[symbols + power] = alphabet.short << power
    number = byte % alphabet.others
    code = (number + (number >= alphabet.rest)).astype(np.uint8)
    return places, ends, code


def pack_runs(codes: Codes, alphabet: RunAlphabet) -> bytes:
    """Pack codes.

    Examples
    --------
    >>> pack_runs(np.array([1, 1, 0, 2, 1], np.uint8), RunAlphabet(3, 1)).hex()
    '040102'
    """
    others, short, long = alphabet.others, alphabet.short, alphabet.long
    found = np.flatnonzero(codes != alphabet.rest)
    number = codes[found].astype(np.int64)
    number -= number > alphabet.rest
    # Behind the last code one more is thought, so that every run ends with a code.
    runs = np.diff(found, prepend=-1, append=len(codes)) - 1
    times, rest = np.divmod(runs, short)
    low = times & ((1 << (long - 1)) - 1)
    most = times >> (long - 1)
    lengths = most + 1
    for power in range(long - 1):
        lengths += low >> power & 1
    ends = np.cumsum(lengths)
    out = np.empty(int(ends[-1]), np.uint8)
    out[ends - 1] = rest * others + np.append(number, 0)
    if len(out) > len(runs):
        _fill_long(out, ends - lengths, most, low, alphabet)
    return out.tobytes()


def _fill_long(
    out: NDArray[np.uint8], at: Places, most: Places, low: Places, alphabet: RunAlphabet
) -> None:
    """Write the bytes of long runs, the longest first."""
    first, top = alphabet.short * alphabet.others, alphabet.long - 1
    busy = np.flatnonzero(most | low)
    at, most, low = at[busy], most[busy], low[busy]
    total = np.cumsum(most)
    out[np.repeat(at - total + most, most) + np.arange(total[-1])] = first + top
    at = at + most
    for power in reversed(range(top)):
        more = (low >> power & 1) > 0
        out[at[more]] = first + power
        at = at + more


def unpack_runs(data: Buffer, count: int, alphabet: RunAlphabet) -> Codes:
    """Unpack `count` codes.

    Returns
    -------
    ndarray of uint8, shape (count,)

    Raises
    ------
    Malformed
        If the bytes stand for another number of codes, or are not what `pack_runs` makes.
    """
    if not 1 <= len(data) <= count + 1:
        raise Malformed(f"codes: {len(data)} bytes cannot stand for {count} codes")
    places, ends, code = _tables(alphabet)
    packed = np.frombuffer(data, np.uint8)
    symbols = alphabet.short * alphabet.others
    top = symbols + alphabet.long - 1
    if int(packed.max()) > top:
        raise Malformed("codes: a byte that stands for nothing")
    last = int(packed[-1])
    if last >= symbols or last % alphabet.others:
        raise Malformed("codes: the last run does not end as it must")
    before, after = packed[:-1], packed[1:]
    if ((before >= symbols) & (after >= before) & ((after > before) | (before < top))).any():
        raise Malformed("codes: a long run in another way than the shortest")
    stops = np.cumsum(places[packed])
    if int(stops[-1]) != count + 1:
        raise Malformed(f"codes: expected {count}, got {int(stops[-1]) - 1}")
    out = np.full(count + 1, alphabet.rest, np.uint8)
    ending = ends[packed]
    out[stops[ending] - 1] = code[packed[ending]]
    return out[:count]
