"""Tensors of one layer of codes (19), by definition: numbers are `Fraction`s, rounded by hand.

Codes, scales and zero points are given, not searched for: a vector says what stands in a layer, and
this says what that stands for. Such tensors are of a single block.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ladder import DTYPES, Dtype, figure, step
from wire import bit_string

INFINITE, NAN = "infinite", "nan"
BINARY64 = DTYPES["F64"]


@dataclass
class Codes:
    """How a tensor is coded: ``form`` has its parameters without the figures."""

    kind: str
    form: Sequence[Any]
    codes: Sequence[int]
    scales: Sequence[int] = ()
    zeros: Sequence[int] = ()
    figures: list[list[int]] = field(default_factory=list)  # computed, if there are none


def binary64(value: Fraction) -> Fraction:
    """Round a number to binary64; what is too large stays as it is, to be cut."""
    word = BINARY64.nearest(min(abs(value), BINARY64.value(BINARY64.largest)))
    near = BINARY64.value(word)
    if abs(value) >= BINARY64.value(BINARY64.largest) + step(969):
        near = abs(value)
    return -near if value < 0 else near


def halves(numbers: list[Fraction]) -> Fraction:
    """Return the sum in the order of 19."""
    while len(numbers) > 1:
        half = math.ceil(len(numbers) / 2)
        upper = numbers[half:] + [Fraction(0)] * (2 * half - len(numbers))
        numbers = [binary64(a + b) for a, b in zip(numbers[:half], upper, strict=True)]
    return numbers[0] if numbers else Fraction(0)


def bound_figure(value: Fraction) -> list[int]:
    """Return a figure that is rounded up."""
    down = figure(value)
    if down[0] * step(down[1]) == value:
        return down
    mantissa, exponent = down
    while mantissa < 1 << 31:
        mantissa, exponent = 2 * mantissa, exponent - 1
    return figure((mantissa + 1) * step(exponent))


class Coded:
    """A coded tensor: its layers, what they stand for, and its parameters."""

    def __init__(self, dtype: str, shape: Sequence[int], words: list[int], codes: Codes) -> None:
        self.dtype, self.shape, self.words, self.codes = DTYPES[dtype], shape, words, codes
        self.near: list[int] = getattr(self, codes.kind)()

    def word(self, negative: bool, value: Fraction | str, fraction: int = 0) -> int:  # noqa: FBT001
        """Return the word of a number cut to F, of infinity, or of NaN with a fraction."""
        dtype = self.dtype
        if isinstance(value, Fraction):
            magnitude = dtype.nearest(min(value, dtype.value(dtype.largest)))
        elif dtype.name == "F8_E4M3" or value == INFINITE:
            magnitude = dtype.largest + 1
        else:
            magnitude = dtype.largest + 1 + (fraction or 1 << dtype.mantissa - 1)
        return magnitude + dtype.sign * negative

    def slots(self) -> list[int]:
        """Return the number of each weight's scale, by its coordinates."""
        _, _, cut, size, _ = self.codes.form
        places = [[]]
        for dimension in self.shape:
            places = [[*place, i] for place in places for i in range(dimension)]
        if cut == "channel":
            return [place[size] for place in places]
        keys = [(*place[:-1], place[-1] // size) if cut == "group" else () for place in places]
        return [list(dict.fromkeys(keys)).index(key) for key in keys]

    def affine(self) -> list[int]:
        """19.1."""
        bits, symmetric, _, _, scales = self.codes.form
        kind, made = DTYPES[scales], []
        for slot, code in zip(self.slots(), self.codes.codes, strict=True):
            zero = 2 ** (bits - 1) if symmetric else self.codes.zeros[slot]
            value = binary64(kind.magnitude(self.codes.scales[slot]) * (code - zero))
            zero_below = value == 0 and code < zero
            made.append(self.word(value < 0 or zero_below, abs(value)))
        return made

    def minifloat(self) -> list[int]:
        """19.2."""
        _, exponent, mantissa, bias, specials, transform = self.codes.form
        return [
            self.small(code, exponent, mantissa, bias, specials, transform)
            for code in self.codes.codes
        ]

    def small(
        self,
        code: int,
        exponent: int,
        mantissa: int,
        bias: int,
        specials: str,
        transform: bytes | None,
    ) -> int:
        """Return the word that a code stands for."""
        fraction, field_, sign = (
            code % 2**mantissa,
            code // 2**mantissa % 2**exponent,
            code // 2 ** (mantissa + exponent),
        )
        pair = [Fraction(1), Fraction(0)]
        if transform:
            words = [int.from_bytes(transform[i : i + 8], "little") for i in (0, 8)]
            pair = [
                -BINARY64.magnitude(w) if w >= BINARY64.sign else BINARY64.magnitude(w)
                for w in words
            ]
        if field_ == 2**exponent - 1:
            if specials == "ieee" and fraction == 0:
                return self.word((sign == 1) != (pair[0] < 0), INFINITE if pair[0] else NAN)
            if specials == "ieee":
                wide = Fraction(fraction, 2**mantissa) * 2**self.dtype.mantissa
                return self.word(sign == 1, NAN, int(wide))
            if specials == "nan" and fraction == 2**mantissa - 1:
                return self.word(sign == 1, NAN)
        significand = Fraction(fraction, 2**mantissa) + (field_ > 0)
        value = significand * step(max(field_, 1) - bias)
        negative = sign == 1
        if transform:
            signed = binary64(binary64((-value if sign else value) * pair[0]) + pair[1])
            # A sum that is zero has its sign from zeros only: none of the vectors has one of -0.
            value, negative = abs(signed), signed < 0
        return self.word(negative, value)

    def levels(self) -> list[int]:
        """19.5."""
        table, _, bucket, _, scales, _ = self.codes.form
        kind, single, made = DTYPES[scales], DTYPES["F32"], []
        words = [int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4)]
        for place, code in enumerate(self.codes.codes):
            level = single.magnitude(words[code])
            value = binary64(kind.magnitude(self.codes.scales[place // bucket]) * level)
            made.append(self.word(words[code] >= single.sign, value))
        return made

    def runs(self) -> bytes:
        """Return the codes of 19.5, packed."""
        table, single = self.codes.form[0], DTYPES["F32"]
        words = [int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4)]
        sizes = [single.magnitude(word) for word in words]
        rest = sizes.index(min(sizes))
        others = [code for code in range(len(words)) if code != rest]
        short = max(1, 240 // len(others))
        made, run = bytearray(), 0
        for code in [*self.codes.codes, others[0]]:
            if code == rest:
                run += 1
                continue
            for power in reversed(range(min(16, 256 - short * len(others)))):
                while run >= short << power:
                    made.append(short * len(others) + power)
                    run -= short << power
            made.append(run * len(others) + others.index(code))
            run = 0
        return bytes(made)

    def layers(self, *, lossy: bool) -> list[bytes]:
        """Return the payloads."""
        codes = self.codes
        if codes.kind == "affine":
            bits, symmetric, _, _, scales = codes.form
            payload = b"".join(w.to_bytes(DTYPES[scales].size, "little") for w in codes.scales)
            payload += b"" if symmetric else bit_string([(zero, bits) for zero in codes.zeros])
            payload += bit_string([(code, bits) for code in codes.codes])
        elif codes.kind == "levels":
            scales = codes.form[4]
            payload = b"".join(w.to_bytes(DTYPES[scales].size, "little") for w in codes.scales)
            payload += self.runs()
        else:
            width = sum(codes.form[:3])
            payload = bit_string([(code, width) for code in codes.codes])
        return [payload] if lossy else [payload, self.residual()]

    def residual(self) -> bytes:
        """19.3."""
        size, made = self.dtype.size, b""
        for word, near in zip(self.words, self.near, strict=True):
            d = order(self.dtype, word) - order(self.dtype, near)
            d = (d + self.dtype.sign) % (2 * self.dtype.sign) - self.dtype.sign
            made += (2 * d if d >= 0 else -1 - 2 * d).to_bytes(size, "little")
        return made

    def signed(self, word: int) -> Fraction:
        """Return the value of a finite word."""
        value = self.dtype.magnitude(word)
        return -value if word >= self.dtype.sign else value

    def parameters(self) -> list[Any]:
        """Return field 6 of the record."""
        if self.codes.figures:
            return [*self.codes.form, self.codes.figures]
        finite = [
            pair for pair in zip(self.words, self.near, strict=True) if self.dtype.finite(pair[0])
        ]
        assert all(self.dtype.finite(near) for _, near in finite), "bound of a weight made infinite"
        away = [binary64(abs(self.signed(w) - self.signed(v))) for w, v in finite]
        squares = halves([binary64(d * d) for d in away])
        energy = halves([binary64(self.signed(w) ** 2) for w, _ in finite])
        figures = [bound_figure(max(away, default=Fraction(0))), figure(squares), figure(energy)]
        return [*self.codes.form, figures]

    def data(self) -> bytes:
        """Return the bytes of the reconstruction."""
        return b"".join(word.to_bytes(self.dtype.size, "little") for word in self.near)


def order(dtype: Dtype, word: int) -> int:
    """Return the code of a word (7.4)."""
    return word if word < dtype.sign else -1 - (word - dtype.sign)
