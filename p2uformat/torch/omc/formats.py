"""Small float formats SxEyMz, as tensors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import torch

import p2uformat

__all__ = ["SmallFloat"]

_NAME: Final = re.compile(r"S1E([1-8])M(\d{1,2})")
_F32_MANTISSA: Final = 23
_F32_BIAS: Final = 127
# Wider codes are computed, as a table of them would not stay in a processor's cache.
_TABLE_BITS: Final = 16


@dataclass(frozen=True, slots=True)
class SmallFloat:
    """A binary float format with a sign, `exponent` and `mantissa` bits, as IEEE 754 builds them.

    Exponent bias, subnormals, rounding to nearest even, infinities and NaN are as of IEEE 754:
    S1E5M10 is binary16, and S1E8M7 is bfloat16, bit for bit.

    Parameters
    ----------
    exponent, mantissa : int
        Bits of these fields.

    Examples
    --------
    >>> SmallFloat.parse("S1E3M7").bits
    11
    """

    exponent: int
    mantissa: int

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return the format of a name like ``S1E3M7``.

        Raises
        ------
        InvalidArgument
            If it is none, or finer than float32.
        """
        found = _NAME.fullmatch(name)
        if found is None or not 1 <= int(found[2]) <= _F32_MANTISSA or int(found[1]) < 2:
            raise p2uformat.InvalidArgument(
                f"not a small float format: {name!r}",
                hint="S1EyMz with y from 2 to 8 and z from 1 to 23, such as S1E3M7",
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"S1E{self.exponent}M{self.mantissa}"

    @property
    def bits(self) -> int:
        """Width of a code."""
        return 1 + self.exponent + self.mantissa

    @property
    def bias(self) -> int:
        """What is subtracted from the exponent field."""
        return (1 << (self.exponent - 1)) - 1

    @property
    def largest(self) -> float:
        """The largest finite value."""
        return float((2 - 2.0**-self.mantissa) * 2.0**self.bias)

    def values(
        self, codes: torch.Tensor, affine: torch.Tensor, *, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ``value * scale + offset`` for codes, in float32.

        Parameters
        ----------
        codes : torch.Tensor
            int32, one dimension.
        affine : torch.Tensor
            Scale and offset, float32, applied one after the other.
        out : torch.Tensor, optional
            Receives the values.
        """
        if self.bits > _TABLE_BITS:
            made = self._decoded(codes).mul_(affine[0]).add_(affine[1])
            return made if out is None else out.copy_(made)
        table = _table(self, codes.device)
        if len(table) <= len(codes):
            return torch.index_select((table * affine[0]).add_(affine[1]), 0, codes, out=out)
        return torch.index_select(table, 0, codes, out=out).mul_(affine[0]).add_(affine[1])

    def codes(self, values: torch.Tensor) -> torch.Tensor:
        """Return the codes of the nearest values, as int32; ties to even, overflow saturates.

        Parameters
        ----------
        values : torch.Tensor
            Finite float32 values, one dimension.
        """
        magnitude = values.abs().clamp_(max=self.largest)
        smallest = 2.0 ** (1 - self.bias)  # normal number
        shift = _F32_MANTISSA - self.mantissa
        # The sum with 2^shift times the power of two below has no bits to keep under the last.
        power = (magnitude.view(torch.int32) & (0xFF << _F32_MANTISSA)).view(torch.float32)
        power = power.clamp_(min=smallest).mul_(2.0**shift)
        rounded = magnitude.add_(power).sub_(power)
        normal = (rounded.view(torch.int32) - ((_F32_BIAS + 1 - self.bias) << _F32_MANTISSA)) >> shift
        normal += 1 << self.mantissa
        # Below the normal numbers codes count steps; above, the limit makes the other the larger.
        rounded.mul_(2.0**self.mantissa / smallest).clamp_(max=2.0**self.mantissa)
        codes = torch.maximum(normal, rounded.to(torch.int32))
        top = self.bits - 1
        return codes.bitwise_or_((values.view(torch.int32) >> (31 - top)) & (1 << top))

    def _decoded(self, codes: torch.Tensor) -> torch.Tensor:
        magnitude = codes & ((1 << (self.bits - 1)) - 1)
        field, rest = magnitude >> self.mantissa, magnitude & ((1 << self.mantissa) - 1)
        fraction = rest.to(torch.float32) * 2.0**-self.mantissa
        fraction += (field > 0).to(torch.float32)
        power = (field.clamp(min=1) + (_F32_BIAS - self.bias)) << _F32_MANTISSA
        values = fraction * power.view(torch.float32)
        special = field == (1 << self.exponent) - 1
        values[special] = torch.where(rest[special] > 0, torch.nan, torch.inf)
        return values.mul_(1 - 2 * ((codes >> (self.bits - 1)) & 1))


@lru_cache(maxsize=16)
def _table(fmt: SmallFloat, device: torch.device) -> torch.Tensor:
    """Return the value of every code."""
    codes = torch.arange(1 << fmt.bits, dtype=torch.int32, device=device)
    return fmt._decoded(codes)  # noqa: SLF001 - of this module
