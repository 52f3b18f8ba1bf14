"""A tensor in its stored form, and the parameter that stands for it in a module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Self

import torch
from torch import nn

import p2uformat
from p2uformat import Minifloat
from p2uformat.torch.omc import live
from p2uformat.torch.omc.floats import codes_of, highest, plain_values, table_of, values
from p2uformat.torch.omc.lanes import looked_up, pack, packed_bytes, unpack

__all__ = ["CompressedParameter", "Packed"]


# Elements that are packed together. What is done to so many stays in a core's cache, and PyTorch
# does it on one thread: it is not worth a barrier for each of many short operations.
_BLOCK: Final = 1 << 15


class Packed:
    """A tensor as packed codes, with ``value = scale * code's value + offset``.

    Parameters
    ----------
    form : Minifloat
        Of the codes; one that `format_of` accepts.
    value : torch.Tensor
        What is stored, of any float dtype.
    fit : bool
        Whether there is a scale and an offset; without, what is too large becomes the largest.

    Attributes
    ----------
    codes : torch.Tensor
        uint8, packed.
    affine : torch.Tensor
        Scale and offset, binary64: the least squares fit of Yang et al. 2022 (arXiv 2205.03494);
        1 and 0 without a fit.
    """

    def __init__(self, form: Minifloat, value: torch.Tensor, *, fit: bool = True) -> None:
        self.form = form
        self.fit = fit
        self.shape = value.shape
        self.dtype = value.dtype
        self.codes, self.affine = self._quantized(value, None)

    @property
    def nbytes(self) -> int:
        """Bytes of the stored form."""
        return int(self.codes.nbytes + self.affine.nbytes)

    @property
    def version(self) -> int:
        """Changes with the values."""
        return int(self.codes._version)  # noqa: SLF001 - what autograd itself compares

    def expand(self) -> torch.Tensor:
        """Return the values."""
        out = torch.empty(self.shape, dtype=torch.float32, device=self.codes.device)
        flat = out.view(-1)
        table = table_of(self.form, len(flat), self.affine)
        width = self.form.width
        if table is not None and looked_up(self.codes, width, _BLOCK, table, flat):
            return out.to(self.dtype)
        for begin, packed in zip(_begins(len(flat)), self._blocks(self.codes), strict=True):
            part = flat[begin : begin + _BLOCK]
            values(self.form, unpack(packed, len(part), self.form.width), self.affine, out=part)
        return out.to(self.dtype)

    def _blocks(self, codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return codes.split(packed_bytes(_BLOCK, self.form.width)) if len(codes) else ()

    def store(self, value: torch.Tensor) -> None:
        """Replace the values.

        Values that come from here get the same codes again: all are measured by the scale and the
        offset that are there, as long as they fit.

        Raises
        ------
        InvalidArgument
            If one is not finite.
        """
        codes, affine = self._quantized(value, self.affine)
        # By copies, so that whoever watches these can keep them from happening.
        self.codes.copy_(codes)
        self.affine.copy_(affine)

    def _quantized(
        self, value: torch.Tensor, affine: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        made: tuple[torch.Tensor, torch.Tensor] = (
            _fitted(self.form, value, affine) if self.fit else _rounded(self.form, value)
        )
        return made

    def moved(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Follow the module to another device or dtype."""
        probe = change(torch.empty(0, dtype=self.dtype, device=self.codes.device))
        self.dtype = probe.dtype
        self.codes, self.affine = self.codes.to(probe.device), self.affine.to(probe.device)


@torch.no_grad()
def _rounded(form: Minifloat, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nearest codes as they are."""
    flat = value.detach().to(torch.float32).reshape(-1)
    plain = flat.new_tensor([1.0, 0.0], dtype=torch.float64)
    if not len(flat):
        return flat.to(torch.uint8), plain
    _range(flat)
    parts = flat.split(_BLOCK)
    return torch.cat([pack(codes_of(form, part), form.width) for part in parts]), plain


@torch.no_grad()
def _fitted(
    form: Minifloat, value: torch.Tensor, affine: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    flat = value.detach().to(torch.float32).reshape(-1)
    if not len(flat):
        return flat.to(torch.uint8), flat.new_tensor([1.0, 0.0], dtype=torch.float64)
    before = _measure(form, flat, affine)
    packed, fit = [], _Fit()
    for begin in _begins(len(flat)):
        part = flat[begin : begin + _BLOCK]
        codes = codes_of(form, (part - before[1]).div_(before[0]))
        fit.add(plain_values(form, codes), part)
        packed.append(pack(codes, form.width))
    fitted = fit.scale_and_offset(before[0])
    return torch.cat(packed), flat.new_tensor(fitted, dtype=torch.float64)


def _measure(
    form: Minifloat, flat: torch.Tensor, affine: torch.Tensor | None
) -> tuple[float, float]:
    """Return the scale and offset by which values are brought into the format's range."""
    low, high = _range(flat)
    if affine is not None:
        scale, offset = affine.tolist()
        largest = max(abs(low - offset), abs(high - offset)) / scale
        if highest(form) / 4 <= largest <= highest(form):
            return scale, offset
    largest = max(abs(low), abs(high))
    return 2.0 ** math.ceil(math.log2(largest / highest(form))) if largest else 1.0, 0.0


def _range(flat: torch.Tensor) -> tuple[float, float]:
    """Return the least and the greatest value, both finite."""
    low, high = torch.stack(flat.aminmax()).tolist()
    if not math.isfinite(low) or not math.isfinite(high):
        raise p2uformat.InvalidArgument(
            "a tensor to compress has values that are not finite",
            hint="if training diverged, lower the learning rate",
        )
    return low, high


class _Fit:
    """The least squares fit of values by ``scale * found + offset``, in double precision."""

    def __init__(self) -> None:
        self._sums: list[torch.Tensor] = []
        self._count = 0

    def add(self, found: torch.Tensor, value: torch.Tensor) -> None:
        """Take binary64 values of codes, and what they stand for."""
        q, v = found, value.to(torch.float64)
        self._count += len(q)
        self._sums.append(torch.stack([q.sum(), v.sum(), torch.dot(q, q), torch.dot(q, v)]))

    def scale_and_offset(self, otherwise: float) -> list[float]:
        """Return both; where all codes are the same, the scale is the other one."""
        q, v, qq, qv = torch.stack(self._sums).sum(0).tolist()
        spread, together = self._count * qq - q * q, self._count * qv - q * v
        # Values that do not rise with their codes have no scale worth having.
        scale = together / spread if spread > 0 and together > 0 else otherwise
        return [scale, (v - scale * q) / self._count]


def _begins(count: int) -> range:
    return range(0, count, _BLOCK)


class _Expand(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, parameter: CompressedParameter) -> torch.Tensor:  # noqa: ANN401
        return parameter.packed.expand()

    @staticmethod
    def backward(_ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        return gradient


class CompressedParameter(nn.Parameter):
    """A parameter of the shape of a packed tensor, without memory of its own.

    Its gradient is that of the expanded tensor. Values read from it directly are NaN.
    """

    packed: Packed

    def __new__(cls, packed: Packed, requires_grad: bool = True) -> Self:  # noqa: FBT001, FBT002
        """Make a parameter that stands for a packed tensor."""
        made: Self = super().__new__(cls, _nothing(packed), requires_grad)
        made.packed = packed
        return made

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        if id(self) not in memo:
            packed = Packed.__new__(Packed)
            packed.__dict__.update(self.packed.__dict__)
            packed.codes, packed.affine = packed.codes.clone(), packed.affine.clone()
            memo[id(self)] = type(self)(packed, self.requires_grad)
        found = memo[id(self)]
        assert isinstance(found, type(self))
        return found

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return type(self), (self.packed, self.requires_grad)

    def __repr__(self) -> str:
        return f"CompressedParameter({self.packed.form.name}, shape={tuple(self.shape)})"

    def expanded(self) -> torch.Tensor:
        """Return the values, connected with this parameter's gradient."""
        value: torch.Tensor = _Expand.apply(self)
        live.note(value, self.packed)
        return value

    def moved(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Follow the module to another device or dtype."""
        self.packed.moved(change)
        self.data = _nothing(self.packed)


def _nothing(packed: Packed) -> torch.Tensor:
    one = torch.full((), math.nan, dtype=packed.dtype, device=packed.codes.device)
    return one.expand(packed.shape)
