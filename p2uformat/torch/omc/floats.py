"""Codes of small floats as tensors: the quantizer `minifloat`, by PyTorch's operations.

Values are those of the quantizer, to the last bit; a variable's scale and offset are applied in
binary64 and rounded once, as there. So a compressed parameter is what an artifact would give.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import torch

import p2uformat
from p2uformat import Minifloat
from p2uformat.quant.minifloat import values_of
from p2uformat.torch.omc.compiled import native_for

__all__ = ["codes_of", "format_of", "highest", "plain_values", "table_of", "values"]

_F32_MANTISSA: Final = 23
_F32_BIAS: Final = 127
_F32_EMIN: Final = -126
# Wider codes are computed, as a table of them would not stay in a processor's cache.
_TABLE_BITS: Final = 16
_SMALL_TABLE: Final = 1 << 11  # made as fast as any operation begins
# Formats as wide as float32's are not filled to the top: scales would leave its normal numbers.
_HIGHEST: Final = 2.0**15


def format_of(name: str | Minifloat) -> Minifloat:
    """Return a format that parameters can have.

    Raises
    ------
    InvalidArgument
        If there is none of this name, it has no sign, or float32 does not hold its values.

    Examples
    --------
    >>> format_of("S1E3M7").width
    11
    """
    form = name if isinstance(name, Minifloat) else Minifloat.parse(name)
    top = form.emin + (1 << form.exponent)
    within = form.emin >= _F32_EMIN and top <= _F32_BIAS + 3
    if form.sign and 0 < form.mantissa < _F32_MANTISSA and within:
        return form
    raise p2uformat.InvalidArgument(
        f"parameters cannot live as {form.name} with a bias of {form.bias}",
        hint="a sign, at least one bit of mantissa, and a range within that of float32 are needed",
    )


@lru_cache(maxsize=16)
def highest(form: Minifloat) -> float:
    """Return the value that the largest of a variable is brought to, or a little below it."""
    return min(_largest(form), _HIGHEST)


@lru_cache(maxsize=16)
def _largest(form: Minifloat) -> float:
    return float(values_of(form, np.array([form.largest_code], np.uint32))[0])


@lru_cache(maxsize=16)
def _table(form: Minifloat, device: torch.device) -> torch.Tensor:
    """Return the value of every code, in binary64."""
    codes = np.arange(1 << form.width, dtype=np.uint32)
    return torch.from_numpy(values_of(form, codes)).to(device)


def plain_values(form: Minifloat, codes: torch.Tensor) -> torch.Tensor:
    """Return the values of finite codes, in binary64."""
    if form.width > _TABLE_BITS:
        return _decoded(form, codes)
    return _table(form, codes.device).index_select(0, codes)


def values(
    form: Minifloat,
    codes: torch.Tensor,
    affine: torch.Tensor | None = None,
    *,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return ``value * scale + offset`` for codes, in float32.

    Parameters
    ----------
    form : Minifloat
        Their format.
    codes : torch.Tensor
        int32, one dimension.
    affine : torch.Tensor, optional
        Scale and offset, binary64; 1 and 0 by default.
    out : torch.Tensor, optional
        Receives the values.
    """
    if form.width > _TABLE_BITS:
        made = _placed(_decoded(form, codes), affine)
        return made if out is None else out.copy_(made)
    table = _table(form, codes.device)
    if len(table) <= len(codes):
        return torch.index_select(_placed(table, affine), 0, codes, out=out)
    made = _placed(table.index_select(0, codes), affine)
    return made if out is None else out.copy_(made)


def table_of(form: Minifloat, count: int, affine: torch.Tensor) -> torch.Tensor | None:
    """Return ``value * scale + offset`` of every code, if that is less work than of `count` codes.

    Parameters
    ----------
    form : Minifloat
        The format.
    count : int
        How many codes there are.
    affine : torch.Tensor
        Scale and offset, binary64.
    """
    if form.width > _TABLE_BITS or 1 << form.width > max(count, _SMALL_TABLE):
        return None
    return _placed(_table(form, affine.device), affine)


def _placed(found: torch.Tensor, affine: torch.Tensor | None) -> torch.Tensor:
    if affine is not None:
        found = (found * affine[0]).add_(affine[1])
    return found.to(torch.float32)


def codes_of(form: Minifloat, value: torch.Tensor) -> torch.Tensor:
    """Return the codes of the nearest values, as int32; ties to even.

    Parameters
    ----------
    form : Minifloat
        Their format.
    value : torch.Tensor
        Float32 values, one dimension, all finite. What is too large becomes the largest.
    """
    native = native_for(value)
    if native is not None and value.is_contiguous():
        out = torch.empty(len(value), dtype=torch.int32)
        sizes = _largest(form), form.mantissa, form.emin, form.width
        native.small_codes(value.numpy(), len(value), *sizes, out.numpy())
        return out
    magnitude = value.abs().clamp_(max=_largest(form))
    shift = _F32_MANTISSA - form.mantissa
    # The sum with 2^shift times the power of two below has no bits to keep under the last.
    power = (magnitude.view(torch.int32) & (0xFF << _F32_MANTISSA)).view(torch.float32)
    power = power.clamp_(min=2.0**form.emin).mul_(2.0**shift)
    rounded = magnitude.add_(power).sub_(power)
    below = (form.emin + _F32_BIAS - 1) << _F32_MANTISSA
    normal = (rounded.view(torch.int32) - below) >> shift
    # Under the normal numbers codes count steps; above, the limit lets the others be the larger.
    # Two factors, as one of both might be too large for float32.
    rounded.mul_(2.0**-form.emin).mul_(2.0**form.mantissa).clamp_(max=2.0**form.mantissa)
    codes = torch.maximum(normal, rounded.to(torch.int32))
    top = form.width - 1
    return codes.bitwise_or_((value.view(torch.int32) >> (31 - top)) & (1 << top))


def _decoded(form: Minifloat, codes: torch.Tensor) -> torch.Tensor:
    """Return the values of finite codes, in binary64."""
    field = (codes >> form.mantissa) & ((1 << form.exponent) - 1)
    units = codes & ((1 << form.mantissa) - 1)
    units += (field > 0).to(torch.int32) << form.mantissa
    power = (field.clamp_(min=1) - 1 + form.lowest).to(torch.float64)
    found = units.to(torch.float64).mul_(power.exp2_())
    return found.mul_(1 - 2 * ((codes >> (form.width - 1)) & 1))
