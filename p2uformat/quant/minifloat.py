"""Quantizer `minifloat`: small floats SxEyMz of any width up to 32 bits (SPEC.md, section 19.2).

A code is sign, exponent field and fraction, as in IEEE formats, with subnormals. Every code's value
is a binary64 number exactly, so encoding rounds once and decoding not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.errors import InvalidArgument
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.quant.binary64 import (
    clamped,
    magnitude_of,
    nan_word,
    rounded,
    source_values,
)
from p2uformat.quant.rounding import cast_words
from p2uformat.quant.transform import Transform

__all__ = [
    "SPECIALS",
    "Minifloat",
    "encode",
    "holds",
    "values_of",
    "words_of",
]

Words = NDArray[np.unsignedinteger]
Codes = NDArray[np.uint32]
F64 = NDArray[np.float64]
SPECIALS: Final = ("ieee", "nan", "finite")
_MAX_EXPONENT: Final = 11
_MAX_BITS: Final = 32
_TABLE_BITS: Final = 16  # up to here all values are looked up
_TILE: Final = 1 << 15  # weights at a time: temporaries stay in the second-level cache
_LOWEST: Final = -1074  # exponents of the smallest and the largest power of two of binary64
_HIGHEST: Final = 1023
_FORMAT: Final = re.compile(r"S([01])E([0-9]{1,2})M([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class Minifloat:
    """A small float format, and how variables are brought to it.

    Parameters
    ----------
    exponent : int
        Bits of the exponent field, 1 to 11.
    mantissa : int
        Bits of the fraction.
    sign : int
        1 with a sign bit, 0 without: then what is negative cannot be held.
    bias : int, optional
        What is subtracted from the exponent field; ``2**(exponent - 1) - 1`` by default. All
        values have to be binary64 numbers.
    specials : str
        ``ieee``: the largest exponent field is that of infinity and NaN, and what is too large
        becomes infinity. ``nan``: the magnitude of all ones is NaN, and so is what is too large.
        ``finite``: every code is a number, what is too large becomes the largest; NaN cannot be
        held.
    fit : bool
        Whether each variable is rebuilt as ``scale * value + offset``, by least squares (OMC,
        arXiv 2205.03494).

    Raises
    ------
    InvalidArgument
        If there is no such format.

    Examples
    --------
    >>> half = Minifloat(5, 10)
    >>> half.name, half.width, Minifloat.parse("S1E5M10") == half
    ('S1E5M10', 16, True)
    """

    exponent: int
    mantissa: int
    sign: int = 1
    bias: int | None = None
    specials: str = "ieee"
    fit: bool = False

    def __post_init__(self) -> None:
        usual = (1 << max(self.exponent - 1, 0)) - 1
        if self.bias is None:
            object.__setattr__(self, "bias", usual)
        problem = self._problem()
        if problem:
            raise InvalidArgument(
                f"a minifloat {self.name} with {problem}",
                hint="1 to 11 exponent bits, at most 32 bits in all, specials ieee, nan or finite",
            )

    def _problem(self) -> str:
        """Return what is wrong with the numbers."""
        if not (1 <= self.exponent <= _MAX_EXPONENT and self.mantissa >= 0 and self.sign in (0, 1)):
            return "fields out of range"
        if self.width > _MAX_BITS:
            return f"{self.width} bits"
        if self.specials not in SPECIALS:
            return f"specials {str(self.specials)[:40]!r}"
        if self.specials == "ieee" and not self.mantissa:
            return "no fraction to tell NaN from infinity"
        if self.lowest < _LOWEST or self.emin + (1 << self.exponent) - 2 > _HIGHEST:
            return f"a bias of {self.bias}, which binary64 does not hold"
        return ""

    @classmethod
    def parse(
        cls, text: str, *, bias: int | None = None, specials: str = "ieee", fit: bool = False
    ) -> Minifloat:
        """Return the format of a name such as ``S1E3M7``.

        Parameters
        ----------
        text : str
            The name.
        bias, specials, fit
            What it does not say.

        Raises
        ------
        InvalidArgument
            If it is no such name, or there is no such format.
        """
        found = _FORMAT.fullmatch(text.upper())
        if found is None:
            raise InvalidArgument(
                f"{text[:40]!r} is no small float", hint="name sign, exponent and mantissa: S1E3M7"
            )
        sign, exponent, mantissa = map(int, found.groups())
        return cls(exponent, mantissa, sign, bias, specials, fit=fit)

    @property
    def name(self) -> str:
        """The format's name, e.g. ``S1E3M7``."""
        return f"S{self.sign}E{self.exponent}M{self.mantissa}"

    @property
    def tier(self) -> str:
        """What a tier of it is called."""
        return self.name.lower()

    @property
    def width(self) -> int:
        """Bits of a code."""
        return self.sign + self.exponent + self.mantissa

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal number."""
        assert self.bias is not None
        return 1 - self.bias

    @property
    def lowest(self) -> int:
        """Exponent of the unit of subnormals."""
        return self.emin - self.mantissa

    @property
    def largest_code(self) -> int:
        """Magnitude of the code of the largest finite number."""
        ones = (1 << (self.exponent + self.mantissa)) - 1
        if self.specials == "ieee":
            return ones - (1 << self.mantissa)
        return ones - (self.specials == "nan")

    @property
    def overflow_code(self) -> int:
        """Magnitude of the code of what is too large."""
        return self.largest_code + (self.specials != "finite")


def encode(form: Minifloat, source: FloatFormat, words: Words) -> Codes:
    """Return the codes of source words, each rounded once, to nearest, ties to even.

    Parameters
    ----------
    form : Minifloat
        The format to round to.
    source : FloatFormat
        The format of the words.
    words : ndarray of unsigned integers, shape (n,)
        Bit patterns.

    Returns
    -------
    ndarray of uint32, shape (n,)
        What the format cannot hold is what `specials` says; of an unsigned format, what is
        negative is 0.

    Examples
    --------
    >>> words = np.array([1.0, -0.1, 1e6], np.float32).view(np.uint32)
    >>> [hex(code) for code in encode(Minifloat(5, 10), FORMATS["F32"], words)]
    ['0x3c00', '0xae66', '0x7c00']
    """
    if source.itemsize <= 2:
        return _code_table(form, source.name)[words]
    out = np.empty(len(words), np.uint32)
    for start in range(0, len(words), _TILE):
        part = slice(start, start + _TILE)
        out[part] = _encode_tile(form, source, words[part])
    return out


@lru_cache(maxsize=16)
def _code_table(form: Minifloat, source: str) -> Codes:
    fmt = FORMATS[source]
    return _encode_tile(form, fmt, np.arange(1 << (8 * fmt.itemsize)).astype(fmt.word))


def _encode_tile(form: Minifloat, source: FloatFormat, words: Words) -> Codes:
    magnitude = magnitude_of(source, words)
    special = magnitude > source.word.type(source.max_word)
    if source.name == "F32" and form.mantissa <= source.mantissa and form.lowest >= source.emin:
        codes = _magnitudes_single(form, source, magnitude)
    else:
        kept = np.where(special, source.word.type(0), magnitude)
        codes = _magnitudes(form, source_values(source, kept))
    if special.any():
        codes[special] = _special_codes(form, source, magnitude[special])
    negative = (words >> source.word.type(source.sign_bit)).astype(np.uint32)
    if form.sign:
        return codes | (negative << np.uint32(form.width - 1))
    # NaN has no sign to lose.
    codes[(negative == 1) & ~_is_nan(source, magnitude)] = 0
    return codes


def _is_nan(source: FloatFormat, magnitude: Words) -> NDArray[np.bool_]:
    # The word behind the largest number is infinity, where there is one.
    numbers = source.max_word + (source.name != "F8_E4M3")
    found: NDArray[np.bool_] = magnitude > source.word.type(numbers)
    return found


def _magnitudes_single(form: Minifloat, source: FloatFormat, magnitude: Words) -> Codes:
    """Return the codes of F32 magnitudes, by integers: several times as fast; NaNs come to nothing.

    Where the result is normal, the word is rounded in place and its exponent moved; below, the
    multiple of the unit is found by one exact multiplication.
    """
    shift = source.mantissa - form.mantissa
    normal = magnitude.astype(np.int64) if shift == 0 else _halved(magnitude, shift)
    normal -= (form.emin - source.emin) << form.mantissa
    numbers = np.minimum(magnitude, np.uint32(source.max_word)).view(np.float32)
    smallest = np.float32(2.0**form.emin)
    below = np.rint(np.minimum(numbers, smallest) * np.float32(2.0**-form.lowest))
    codes = np.where(numbers < smallest, below.astype(np.int64), normal)
    codes[codes > form.largest_code] = form.overflow_code
    return codes.astype(np.uint32)


def _halved(magnitude: Words, shift: int) -> NDArray[np.int64]:
    """Return words without their low bits, rounded to nearest, ties to even."""
    odd = (magnitude >> np.uint32(shift)) & np.uint32(1)
    carried = magnitude + np.uint32((1 << (shift - 1)) - 1) + odd
    return (carried >> np.uint32(shift)).astype(np.int64)


def _magnitudes(form: Minifloat, values: F64) -> Codes:
    """Return the codes of finite numbers that are not negative."""
    # frexp's significands lie in [1/2, 1); below the normal numbers the unit stays as it is.
    exponent = np.where(values > 0, np.frexp(values)[1] - 1, form.emin)
    exponent = np.maximum(exponent, form.emin).astype(np.int64)
    # Exact, save for what is far below half a unit.
    units = np.rint(np.ldexp(values, (form.mantissa - exponent).astype(np.int32))).astype(np.int64)
    codes = ((exponent - form.emin) << form.mantissa) + units
    codes[codes > form.largest_code] = form.overflow_code
    return codes.astype(np.uint32)


def _special_codes(form: Minifloat, source: FloatFormat, magnitude: Words) -> Codes:
    """Return the codes of infinities and NaNs."""
    infinite = (magnitude == source.max_word + 1) & (source.name != "F8_E4M3")
    if form.specials != "ieee":
        return np.full(len(magnitude), form.overflow_code, np.uint32)
    wide = magnitude.astype(np.uint64) & np.uint64((1 << source.mantissa) - 1)
    shift = form.mantissa - source.mantissa
    fraction = wide << np.uint64(shift) if shift >= 0 else wide >> np.uint64(-shift)
    fraction[fraction == 0] = 1 << (form.mantissa - 1)
    fraction[infinite] = 0
    return (fraction + np.uint64(form.overflow_code)).astype(np.uint32)


def values_of(form: Minifloat, codes: NDArray[np.unsignedinteger]) -> F64:
    """Return the numbers of codes; infinities and NaN where they are."""
    wide = codes.astype(np.int64)
    magnitude = wide & ((1 << (form.exponent + form.mantissa)) - 1)
    field = magnitude >> form.mantissa
    fraction = magnitude & ((1 << form.mantissa) - 1)
    units = fraction + ((field > 0).astype(np.int64) << form.mantissa)
    # The product is a number of the format, hence exact.
    values = units * _powers(form.exponent, form.lowest)[field]
    if form.specials != "finite":
        above = magnitude > form.largest_code
        infinite = (magnitude == form.overflow_code) & (form.specials == "ieee")
        values[above] = np.where(infinite[above], np.inf, np.nan)
    signed: F64 = np.where(wide >> (form.width - form.sign) & form.sign, -values, values)
    return signed


@lru_cache(maxsize=16)
def _powers(exponent: int, lowest: int) -> F64:
    """Return the unit of each exponent field."""
    fields = np.maximum(np.arange(1 << exponent), 1) - 1
    return np.ldexp(1.0, (fields + lowest).astype(np.int32))


def holds(form: Minifloat, source: FloatFormat, words: Words, codes: Codes) -> bool:
    """Return whether a format holds weights: none becomes infinite, NaN or 0 for want of a code."""
    magnitude = magnitude_of(source, words)
    special = magnitude > source.word.type(source.max_word)
    negative = (magnitude > 0) & (words != magnitude)
    if not form.sign and (negative & ~_is_nan(source, magnitude)).any():
        return False
    above = (codes & np.uint32((1 << (form.exponent + form.mantissa)) - 1)) > form.largest_code
    if not np.array_equal(above, special):
        return False
    # Other specials have no infinity: NaN would stand for it.
    return form.specials == "ieee" or bool((special == _is_nan(source, magnitude)).all())


def words_of(
    form: Minifloat,
    transform: Transform | None,
    source: FloatFormat,
    target: FloatFormat,
    codes: NDArray[np.unsignedinteger],
) -> Words:
    """Rebuild weights from codes.

    Parameters
    ----------
    form : Minifloat
        Their format.
    transform : Transform, optional
        That of the variable.
    source : FloatFormat
        The format of the weights; finite ones stay inside of it.
    target : FloatFormat
        What to round to, once.
    codes : ndarray of unsigned integers
        The codes.

    Examples
    --------
    >>> f32 = FORMATS["F32"]
    >>> words_of(Minifloat(5, 10), None, f32, f32, np.array([0x3C00])).view(np.float32)
    array([1.], dtype=float32)
    """
    if form.width <= _TABLE_BITS and 2 * len(codes) >= 1 << form.width:
        found: Words = word_table(form, transform, source.name, target.name)[codes]
        return found
    out = np.empty(len(codes), target.word)
    for start in range(0, len(codes), _TILE):
        part = slice(start, start + _TILE)
        out[part] = _words_tile(form, transform, source, target, codes[part])
    return out


@lru_cache(maxsize=64)
def word_table(form: Minifloat, transform: Transform | None, source: str, target: str) -> Words:
    """Return the words of all codes of a format of at most 16 bits."""
    codes = np.arange(1 << form.width, dtype=np.uint32)
    table = _words_tile(form, transform, FORMATS[source], FORMATS[target], codes)
    table.setflags(write=False)
    return table


def _words_tile(
    form: Minifloat,
    transform: Transform | None,
    source: FloatFormat,
    target: FloatFormat,
    codes: NDArray[np.unsignedinteger],
) -> Words:
    values = values_of(form, codes)
    special = ~np.isfinite(values)
    if transform is not None:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            values = values * transform.scale + transform.offset
    words = rounded(clamped(source, np.where(special, 0.0, values)), target)
    if special.any():
        made = _special_words(form, source, codes[special], values[special])
        words[special] = cast_words(source, made, target)
    return words


def _special_words(
    form: Minifloat, source: FloatFormat, codes: NDArray[np.unsignedinteger], values: F64
) -> Words:
    """Return infinities and NaNs in the format of the weights."""
    wide = codes.astype(np.uint64)
    fraction = wide & np.uint64((1 << form.mantissa) - 1)
    if form.specials == "nan":
        fraction = np.zeros_like(fraction)  # what fills the word says nothing of its own
    infinite = np.isinf(values)
    sign = ((wide >> np.uint64(form.width - form.sign)) & np.uint64(form.sign)).astype(source.word)
    sign = np.where(infinite, np.signbit(values), sign).astype(source.word)
    word = nan_word(source, fraction, form.mantissa)
    word[infinite] = source.max_word + 1
    signed: Words = word | (sign << source.word.type(source.sign_bit))
    return signed
