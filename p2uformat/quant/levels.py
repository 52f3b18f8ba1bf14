"""Quantizer `levels`: a norm for each bucket, and codes of a table of levels (SPEC.md, 19.5).

A weight is rebuilt as ``norm * table[code]``: one binary64 product, rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.runs import RunAlphabet, pack_runs, unpack_runs
from p2uformat.errors import InvalidArgument, Malformed
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.limits import MAX_BLOCK_ELEMENTS
from p2uformat.quant.binary64 import add_up_rows, clamped, rounded, source_values
from p2uformat.quant.cuts import Cut, group_cut
from p2uformat.quant.draw import DRAWS
from p2uformat.quant.leveltables import NF4, as_table, exponential, uniform

__all__ = [
    "NORMS",
    "ROUNDINGS",
    "TABLES",
    "Levels",
    "bucket_norms",
    "decode",
    "encode",
    "parse_layer",
    "ratios",
    "sections",
]

Buffer = bytes | memoryview
Words = NDArray[np.unsignedinteger]
Codes = NDArray[np.uint8]
F64 = NDArray[np.float64]
TABLES: Final = ("uniform", "exponential", "nf4", "fitted")
NORMS: Final = ("l2", "max")
ROUNDINGS: Final = ("stochastic", "nearest")
SCALES: Final = ("F64", "F32", "F16", "BF16")
_FEWEST: Final = 2
_MOST: Final = 256
_MOST_SEED: Final = (1 << 64) - 1
_USUAL: Final = 4  # levels above 0 where none are named
_BASE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels between -1 and 1, times the norm of a bucket of consecutive weights.

    Parameters
    ----------
    table : str or sequence of float
        ``uniform`` (QSGD), ``exponential`` (NUQSGD), ``nf4`` (NormalFloat), ``fitted`` to each
        tensor, symmetric and with 0; or 2 to 256 ascending numbers from -1 to 1, which are rounded
        to fp32.
    s : int, optional
        Levels above 0 of a table by name, 1 to 127, 4 by default: it has ``2 s + 1`` in all.
        ``nf4`` has none to choose.
    base : float
        Of ``exponential``: its levels are powers of that number between 0 and 1, in fp32.
    bucket : int
        So many consecutive weights of a block share a norm, 1 to 2**19.
    norm : str
        ``l2``, the root of the sum of squares, or ``max``, the largest magnitude.
    rounding : str
        ``stochastic``, whose mean is the weight (up to the last rounding to its dtype), or
        ``nearest``.
    scale : str
        Dtype that norms are stored in, rounded up: ``F64``, ``F32``, ``F16`` or ``BF16``.
    generator : str
        What stochastic rounding draws from: ``blake3``.
    seed, client, round : int
        What that draws from beside the place, each below ``2**64``.
    entries : tuple of float, optional
        What ``fitted`` was fitted to; None before.

    Raises
    ------
    InvalidArgument
        If a value is out of range, or a table for stochastic rounding does not go from -1 to 1.

    Examples
    --------
    >>> Levels("uniform", 2).levels
    (-1.0, -0.5, 0.0, 0.5, 1.0)
    >>> Levels([-1, 0, 1], norm="max", rounding="nearest").tier
    'levels3'
    """

    table: str | Sequence[float] = "uniform"
    s: int | None = None
    base: float = _BASE
    bucket: int = 512
    norm: str = "l2"
    rounding: str = "stochastic"
    scale: str = "F32"
    generator: str = "blake3"
    seed: int = 0
    client: int = 0
    round: int = 0
    entries: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        self._check_names()
        object.__setattr__(self, "base", float(np.float32(self.base)))
        if not isinstance(self.table, str):
            object.__setattr__(self, "table", _given(self.table))
            if self.s is not None:
                raise InvalidArgument("levels above 0 with a table that has its own")
        elif self.table == "nf4":
            if self.s is not None:
                raise InvalidArgument("levels above 0 with nf4", hint="it has sixteen levels")
        else:
            object.__setattr__(self, "s", _USUAL if self.s is None else self.s)
            if not _whole(self.s, 1, (_MOST - 1) // 2):
                raise InvalidArgument(f"{self.s} levels above 0", hint="give 1 to 127")
        made = self._made()
        if made is not None:
            object.__setattr__(self, "entries", made)
        if self.entries is not None:
            self._check_entries(self.entries)

    def _check_names(self) -> None:
        known = (("norm", NORMS), ("rounding", ROUNDINGS), ("scale", SCALES), ("generator", DRAWS))
        for name, allowed in known:
            value = getattr(self, name)
            if value not in allowed:
                raise InvalidArgument(
                    f"{name} {str(value)[:40]!r} of levels", hint=f"use {', '.join(allowed)}"
                )
        if isinstance(self.table, str) and self.table not in TABLES:
            raise InvalidArgument(
                f"unknown table {self.table[:40]!r}",
                hint=f"use {', '.join(TABLES)}, or give its levels",
            )
        if not _whole(self.bucket, 1, MAX_BLOCK_ELEMENTS):
            raise InvalidArgument(
                f"buckets of {self.bucket} weights", hint=f"give 1 to {MAX_BLOCK_ELEMENTS}"
            )
        if not 0 < self.base < 1:
            raise InvalidArgument(f"powers of {self.base}", hint="give a number between 0 and 1")
        for name in ("seed", "client", "round"):
            if not _whole(getattr(self, name), 0, _MOST_SEED):
                raise InvalidArgument(
                    f"{name} {getattr(self, name)!r}", hint="give a whole number below 2^64"
                )

    def _made(self) -> tuple[float, ...] | None:
        """Return the table that a name stands for; None for one that is to be fitted."""
        if not isinstance(self.table, str):
            return tuple(self.table)
        if self.table == "nf4":
            return NF4
        assert self.s is not None
        if self.table == "uniform":
            return uniform(self.s)
        return exponential(self.s, self.base) if self.table == "exponential" else None

    def _check_entries(self, entries: tuple[float, ...]) -> None:
        if not _FEWEST <= len(entries) <= _MOST:
            raise InvalidArgument(f"a table of {len(entries)} levels", hint="give 2 to 256")
        inside = all(-1.0 <= level <= 1.0 for level in entries)
        if not inside or any(b <= a for a, b in pairwise(entries)):
            raise InvalidArgument(
                "a table that does not ascend from -1 to 1", hint="levels are compared as fp32"
            )
        if self.rounding == "stochastic" and (entries[0], entries[-1]) != (-1.0, 1.0):
            raise InvalidArgument(
                f"stochastic rounding to levels from {entries[0]} to {entries[-1]}",
                hint="between -1 and 1 only is its mean the weight: let the table begin and end so",
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """The table.

        Raises
        ------
        InvalidArgument
            If it is still to be fitted.
        """
        if self.entries is None:
            raise InvalidArgument("a table that is not fitted yet", hint="pack something with it")
        return self.entries

    @property
    def count(self) -> int:
        """How many levels there are."""
        return 2 * (self.s or 0) + 1 if self.entries is None else len(self.entries)

    @property
    def tier(self) -> str:
        """What a tier of it is called."""
        return f"levels{self.count}"

    @property
    def scale_format(self) -> FloatFormat:
        """Format of the norms."""
        return FORMATS[self.scale]

    @property
    def alphabet(self) -> RunAlphabet:
        """How its codes are packed: the level nearest to 0, the lower of two, rests."""
        levels = self.levels
        return RunAlphabet(len(levels), min(range(len(levels)), key=lambda c: abs(levels[c])))

    def cut(self, weights: int) -> Cut:
        """Return the buckets of a block."""
        return group_cut(weights, self.bucket, weights)

    def fitted(self, entries: tuple[float, ...]) -> Levels:
        """Return the same with the table that was fitted."""
        return replace(self, entries=entries)


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _given(table: Sequence[float]) -> tuple[float, ...]:
    if not _FEWEST <= len(table) <= _MOST:
        raise InvalidArgument(f"a table of {len(table)} levels", hint="give 2 to 256")
    try:
        return as_table([float(level) for level in table])
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"a table with a level that is no number: {error}") from error


def bucket_norms(form: Levels, cut: Cut, values: F64) -> Words:
    """Return the norm of each bucket, rounded up to its dtype: nothing in it is larger.

    Parameters
    ----------
    form : Levels
        The quantizer.
    cut : Cut
        The buckets.
    values : ndarray of float64
        Finite numbers.

    Returns
    -------
    ndarray of unsigned integers
        Bit patterns of the norms' dtype; infinity where that does not hold one.

    Examples
    --------
    >>> form = Levels(bucket=2)
    >>> bucket_norms(form, form.cut(3), np.array([3.0, -4.0, 0.5])).view(np.float32)
    array([5. , 0.5], dtype=float32)
    """
    low, high = cut.extremes(values)
    most = np.maximum(-low, high) + 0.0  # no minus zero
    exact = most
    if form.norm == "l2":
        # Powers of two keep squares from leaving the range of binary64, and change no digit.
        exponent = np.frexp(most)[1]
        scaled = np.ldexp(values, -cut.spread(exponent))
        with np.errstate(over="ignore"):
            exact = np.ldexp(np.sqrt(add_up_rows(scaled * scaled, cut.starts)), exponent)
        exact = np.maximum(exact, most)
    return _rounded_up(exact, form.scale_format)


def _rounded_up(numbers: F64, fmt: FloatFormat) -> Words:
    with np.errstate(over="ignore"):
        words = rounded(numbers, fmt)
    held = words <= fmt.word.type(fmt.max_word)
    below = np.zeros(len(words), bool)
    below[held] = source_values(fmt, words[held]) < numbers[held]
    return words + below.astype(fmt.word)


def holds(form: Levels, norms: Words) -> bool:
    """Return whether the dtype of norms holds them."""
    fmt = form.scale_format
    return bool((norms <= fmt.word.type(fmt.max_word)).all())


def ratios(form: Levels, cut: Cut, norms: Words, values: F64) -> F64:
    """Return numbers over the norms of their buckets: from -1 to 1, 0 where that is 0."""
    norm = source_values(form.scale_format, norms)
    found: F64 = values / cut.spread(np.where(norm == 0, 1.0, norm))
    return found


def encode(form: Levels, found: F64, drawn: F64 | None) -> Codes:
    """Return the codes of numbers from -1 to 1.

    Parameters
    ----------
    form : Levels
        The quantizer.
    found : ndarray of float64
        The numbers.
    drawn : ndarray of float64, or None
        For stochastic rounding, a number from 0 to below 1 for each.

    Examples
    --------
    >>> encode(Levels("uniform", 1), np.array([0.5, 0.5, -1.0]), np.array([0.4, 0.6, 0.9])).tolist()
    [2, 1, 0]
    """
    levels = np.array(form.levels)
    below = np.searchsorted(levels, found, "right") - 1
    below = np.clip(below, 0, len(levels) - 2)
    low, high = levels[below], levels[below + 1]
    if drawn is not None:
        upper = drawn < (found - low) / (high - low)
    else:
        down, up = found - low, high - found
        upper = (up < down) | ((up == down) & (below & 1 == 1))
    codes: Codes = (below + upper).astype(np.uint8)
    return codes


def draw(form: Levels, name: str, start: int, count: int) -> F64 | None:
    """Return what stochastic rounding draws for weights of a tensor from an element on."""
    if form.rounding != "stochastic":
        return None
    return DRAWS[form.generator](form.seed, form.client, form.round, name, start, count)


def decode(
    form: Levels, cut: Cut, norms: Words, codes: Codes, source: FloatFormat, target: FloatFormat
) -> Words:
    """Rebuild weights of a format from codes, rounded once to `target`."""
    norm = source_values(form.scale_format, norms)
    levels = np.array(form.levels)
    if cut.count * len(levels) <= cut.weights:
        # Fewer products than weights: each is made and rounded once, and looked up.
        table = _products(norm[:, None] * levels, source, target)
        first = np.arange(cut.count, dtype=np.int64) * len(levels)
        words: Words = table[cut.spread(first) + codes]
        return words
    with np.errstate(over="ignore", under="ignore"):
        return _products(cut.spread(norm) * levels[codes], source, target)


def _products(values: F64, source: FloatFormat, target: FloatFormat) -> Words:
    return rounded(clamped(source, values.reshape(-1)), target)


def sections(form: Levels, norms: Words, codes: Codes) -> list[bytes]:
    """Return the parts of a layer: norms, codes."""
    return [norms.tobytes(), pack_runs(codes, form.alphabet)]


def parse_layer(form: Levels, cut: Cut, payload: Buffer) -> tuple[Words, Codes]:
    """Return the norms and codes of a layer.

    Raises
    ------
    Malformed
        If its length is wrong, a norm is negative or not finite, or the codes are not packed as
        they must be.
    """
    fmt = form.scale_format
    size = cut.count * fmt.itemsize
    if len(payload) <= size:
        raise Malformed(f"levels layer: expected more than {size} bytes, got {len(payload)}")
    norms = np.frombuffer(payload, fmt.word, cut.count)
    if (norms > fmt.word.type(fmt.max_word)).any():
        raise Malformed("levels layer: a norm that is negative or not finite")
    return norms, unpack_runs(memoryview(payload)[size:], cut.weights, form.alphabet)
