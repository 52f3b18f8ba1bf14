"""Section 4 by its definitions: every number is a `Fraction`, nothing is clever, nothing is shared.

The reader works on integers and words; this module works on values, so that a mistake in one of
them shows up as a vector that fails.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


@dataclass(frozen=True)
class Dtype:
    """A row of the table in section 3."""

    name: str
    size: int
    mantissa: int
    emin: int
    largest: int

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (8 * self.size - 1)

    @property
    def top_exponent(self) -> int:
        """The exponent field of the largest finite value."""
        return self.largest >> self.mantissa

    def split(self, bits: int) -> tuple[bool, int]:
        """Return sign and magnitude word."""
        return bits >= self.sign, bits % self.sign

    def value(self, word: int) -> Fraction:
        """Return the value of a finite magnitude word."""
        exponent, fraction = divmod(word, 2**self.mantissa)
        if exponent == 0:
            return Fraction(fraction) * step(self.emin - self.mantissa)
        significand = 1 + Fraction(fraction, 2**self.mantissa)
        return significand * step(self.emin + exponent - 1)

    def finite(self, bits: int) -> bool:
        """Tell whether bits are neither infinite nor NaN."""
        return self.split(bits)[1] <= self.largest

    def magnitude(self, bits: int) -> Fraction:
        """Return the magnitude of finite bits."""
        return self.value(self.split(bits)[1])

    def nearest(self, value: Fraction) -> int:
        """Return the magnitude word nearest to a value up to F, ties to the even word.

        Magnitude words ascend with their values, so a search by halves needs no exponent at all.
        """
        low, high = 0, self.largest
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.value(middle) <= value else (low, middle - 1)
        if low == self.largest:
            return low
        below, above = value - self.value(low), self.value(low + 1) - value
        return low if below < above or (below == above and low % 2 == 0) else low + 1


DTYPES = {
    row.name: row
    for row in (
        Dtype("F64", 8, 52, -1022, 0x7FEFFFFFFFFFFFFF),
        Dtype("F32", 4, 23, -126, 0x7F7FFFFF),
        Dtype("F16", 2, 10, -14, 0x7BFF),
        Dtype("BF16", 2, 7, -126, 0x7F7F),
        Dtype("F8_E4M3", 1, 3, -6, 0x7E),
        Dtype("F8_E5M2", 1, 2, -14, 0x7B),
    )
}
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4}
SIZES |= {"U64": 8, "I64": 8, "C64": 8} | {name: dtype.size for name, dtype in DTYPES.items()}


def step(exponent: int) -> Fraction:
    """Return 2 ** exponent."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def floor_log2(value: Fraction) -> int:
    """Return floor(log2(value)) by trying, from below."""
    guess = value.numerator.bit_length() - value.denominator.bit_length() - 2
    while step(guess + 1) <= value:
        guess += 1
    return guess


@lru_cache(1 << 16)
def bin_number(dtype: Dtype, bits: int, k: int) -> int:
    """Return n = floor(|w| / 2^k)."""
    return dtype.magnitude(bits) // step(k)


def symbol(dtype: Dtype, bits: int, k: int, *, sparse: bool) -> int:
    """Return the base symbol of a weight."""
    negative, word = dtype.split(bits)
    if not dtype.finite(bits):
        return 127
    if sparse and word == 0:
        return 254 if negative else 255
    m = bin_number(dtype, bits, k)
    if m >= 127 or (sparse and negative and m == 126):
        return 127
    return negative << 7 | m


def ulp(dtype: Dtype, n: int, k: int) -> Fraction:
    """Return the distance of source values in a bin; for bin 0 in its upper half."""
    log2 = floor_log2(n * step(k)) if n else k - 1
    return step(max(log2, dtype.emin) - dtype.mantissa)


def bin_is_wide(dtype: Dtype, n: int, k: int) -> bool:
    """Tell whether a bin holds more than one source value."""
    return ulp(dtype, n, k) < step(k)


@lru_cache(1 << 16)
def representative(dtype: Dtype, n: int, k: int, delta0: int, delta1: int) -> Fraction:
    """Return the exact magnitude that stands for bin n, before any rounding."""
    if not bin_is_wide(dtype, n, k):
        return n * step(k)
    inside = Fraction(delta1 if n else delta0, 256)
    most = (n + 1) * step(k) - ulp(dtype, n, k)
    return min((n + inside) * step(k), most, dtype.value(dtype.largest))


@lru_cache(1 << 16)
def remainder_bits(dtype: Dtype, n: int, k: int) -> int:
    """Return how many low bits of the magnitude word the bin number leaves open."""
    if n == 0:
        return min(dtype.mantissa, max(0, k - (dtype.emin - dtype.mantissa)))
    return max(0, min(dtype.mantissa - floor_log2(Fraction(n)), k - (dtype.emin - dtype.mantissa)))


def top_exponent(dtype: Dtype, k: int) -> int:
    """Return the `top` that stored exponents count down from."""
    return min(max(k - dtype.emin, 0), dtype.top_exponent)


def delta_byte(parts: list[tuple[Fraction, int]]) -> int:
    """Return a reconstruction byte from the counted places of weights in their bins (11)."""
    count = sum(times for _, times in parts)
    if count == 0:
        return 128
    total = sum(int(256 * place) * times for place, times in parts)
    return min(255, (2 * total + count) // (2 * count))


def figure(value: Fraction) -> list[int]:
    """Return the `[mantissa, exponent]` form of a sum of squares (8.2), rounded down to 32 bits."""
    if value == 0:
        return [0, 0]
    exponent = floor_log2(value) - 31
    mantissa = value // step(exponent)
    while mantissa % 2 == 0:
        mantissa, exponent = mantissa // 2, exponent + 1
    return [mantissa, exponent]


def leading(value: Fraction, bits: int) -> Fraction:
    """Return a value with its significand cut to so many leading bits."""
    if value == 0:
        return value
    unit = step(floor_log2(value) - bits + 1)
    return value // unit * unit
