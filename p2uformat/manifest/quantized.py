"""Parameters of tensors without a ladder, and the policy in the root (SPEC.md, 19)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self, TypeVar

import numpy as np

from p2uformat.errors import InvalidArgument, Malformed
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.limits import MAX_BLOCK_ELEMENTS, MAX_RANK
from p2uformat.manifest.parameters import scaled_from_value, scaled_to_value
from p2uformat.quant.affine import Affine
from p2uformat.quant.levels import TABLES, Levels
from p2uformat.quant.minifloat import Minifloat
from p2uformat.quant.policy import Policy
from p2uformat.quant.quantizer import Quantizer
from p2uformat.quant.transform import Transform
from p2uformat.wire import as_array, as_bytes, as_int, as_map, as_text

__all__ = [
    "AffineParameters",
    "Figures",
    "LevelsParameters",
    "MinifloatParameters",
    "QuantizedParameters",
    "check_policy",
    "policy_from_value",
    "policy_to_value",
    "quantized_from_value",
    "quantized_parameters",
]

Made = TypeVar("Made")
_MOST: Final = (1 << 64) - 1
_MILLION: Final = 1_000_000
_TRANSFORM: Final = struct.Struct("<dd")
_MOST_LEVELS: Final = 256
_MINUS_ZERO: Final = bytes((0, 0, 0, 128))
_HALF: Final = 0.5
_CUTS: Final = ("tensor", "channel", "group")
_POLICY_KEYS: Final = frozenset(
    {"client", "generator", "keep", "matrices", "only", "round", "seed", "skip"}
)


@dataclass(frozen=True, slots=True)
class Figures:
    """How far a tensor is from its source.

    Parameters
    ----------
    bound : tuple of int
        No finite weight is further off, as mantissa and exponent.
    error, energy : tuple of int
        Sums of squares of the differences and of the weights, likewise.
    """

    bound: tuple[int, int]
    error: tuple[int, int]
    energy: tuple[int, int]

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [scaled_to_value(item) for item in (self.bound, self.error, self.energy)]

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the figures that `value` describes."""
        items = as_array(value, "figures", length=3)
        names = ("bound", "error", "energy")
        return cls(*(scaled_from_value(*pair) for pair in zip(items, names, strict=True)))


@dataclass(frozen=True, slots=True)
class AffineParameters:
    """Parameters of an affine tensor.

    Parameters
    ----------
    quantizer : Affine
        How it is quantized.
    figures : Figures
        How far it is off.
    residual : int or None
        Number of the tier of its residual; None in a lossy artifact, which has none.
    """

    name: ClassVar[str] = "affine"
    quantizer: Affine
    figures: Figures
    residual: int | None

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        form = self.quantizer
        cut, size = "tensor", 0
        if form.axis is not None:
            cut, size = "channel", form.axis
        elif form.group is not None:
            cut, size = "group", form.group
        more = [form.scale, self.figures.to_value()]
        return [form.bits, int(form.symmetric), cut, size, *more]

    @classmethod
    def from_value(cls, value: object, *, residual: int | None) -> Self:
        """Return the parameters that `value` describes."""
        items = as_array(value, "affine parameters", length=6)
        bits = as_int(items[0], "bits", low=2, high=8)
        symmetric = as_int(items[1], "symmetric", high=1)
        cut = as_text(items[2], "cut")
        if cut not in _CUTS:
            raise Malformed(f"cut: {cut[:40]!r} is not known")
        low, high = {
            "tensor": (0, 0),
            "channel": (0, MAX_RANK - 1),
            "group": (1, MAX_BLOCK_ELEMENTS),
        }[cut]
        size = as_int(items[3], "cut", low=low, high=high)
        form = _checked(
            lambda: Affine(
                bits,
                size if cut == "group" else None,
                size if cut == "channel" else None,
                bool(symmetric),
                as_text(items[4], "scale dtype"),
            )
        )
        return cls(form, Figures.from_value(items[5]), residual)

    def check(self, shape: tuple[int, ...]) -> None:
        """Check that they fit a shape."""
        axis = self.quantizer.axis
        if axis is not None and axis >= len(shape):
            raise Malformed(f"axis {axis} of a tensor of {len(shape)} dimensions")


@dataclass(frozen=True, slots=True)
class MinifloatParameters:
    """Parameters of a minifloat tensor.

    Parameters
    ----------
    quantizer : Minifloat
        How it is quantized; its `fit` says whether there is a transform.
    transform : Transform or None
        What its values are scaled and moved by.
    figures : Figures
        How far it is off.
    residual : int or None
        Number of the tier of its residual; None in a lossy artifact, which has none.
    """

    name: ClassVar[str] = "minifloat"
    quantizer: Minifloat
    transform: Transform | None
    figures: Figures
    residual: int | None

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        form, transform = self.quantizer, self.transform
        return [
            form.sign,
            form.exponent,
            form.mantissa,
            form.bias,
            form.specials,
            None if transform is None else _TRANSFORM.pack(transform.scale, transform.offset),
            self.figures.to_value(),
        ]

    @classmethod
    def from_value(cls, value: object, *, residual: int | None) -> Self:
        """Return the parameters that `value` describes."""
        items = as_array(value, "minifloat parameters", length=7)
        names = ("sign", "exponent", "mantissa")
        sign, exponent, mantissa = (
            as_int(item, name, high=32) for item, name in zip(items, names, strict=False)
        )
        bias = as_int(items[3], "bias", low=-2048, high=2048)
        transform = None if items[5] is None else _transform(items[5])
        form = _checked(
            lambda: Minifloat(
                exponent,
                mantissa,
                sign,
                bias,
                as_text(items[4], "specials"),
                fit=transform is not None,
            )
        )
        return cls(form, transform, Figures.from_value(items[6]), residual)

    def check(self, shape: tuple[int, ...]) -> None:
        """Check that they fit a shape, which they always do."""


@dataclass(frozen=True, slots=True)
class LevelsParameters:
    """Parameters of a tensor of levels.

    Parameters
    ----------
    quantizer : Levels
        How it is quantized, with its table.
    table : str
        What the writer calls the table; `quantizer` has a name only where that makes the same one.
    figures : Figures
        How far it is off.
    residual : int or None
        Number of the tier of its residual; None in a lossy artifact, which has none.
    """

    name: ClassVar[str] = "levels"
    quantizer: Levels
    table: str
    figures: Figures
    residual: int | None

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        form = self.quantizer
        drawn = [form.generator, form.seed, form.client, form.round]
        return [
            np.array(form.levels, "<f4").tobytes(),
            self.table,
            form.bucket,
            form.norm,
            form.scale,
            drawn if form.rounding == "stochastic" else None,
            self.figures.to_value(),
        ]

    @classmethod
    def from_value(cls, value: object, *, residual: int | None) -> Self:
        """Return the parameters that `value` describes."""
        items = as_array(value, "levels parameters", length=7)
        entries = _table(items[0])
        table = as_text(items[1], "table")
        more: dict[str, object] = {"rounding": "nearest"}
        if items[5] is not None:
            drawn = as_array(items[5], "rounding", length=4)
            names = ("seed", "client", "round")
            more = {
                name: as_int(item, name, high=_MOST)
                for name, item in zip(names, drawn[1:], strict=True)
            }
            more["generator"] = as_text(drawn[0], "generator")
        more["bucket"] = as_int(items[2], "bucket", low=1, high=MAX_BLOCK_ELEMENTS)
        more["norm"] = as_text(items[3], "norm")
        more["scale"] = as_text(items[4], "norm dtype")
        form = _checked(lambda: Levels(entries, **more))  # type: ignore[arg-type]
        return cls(_named(form, table), table, Figures.from_value(items[6]), residual)

    def check(self, shape: tuple[int, ...]) -> None:
        """Check that they fit a shape, which they always do."""


def _table(value: object) -> tuple[float, ...]:
    data = as_bytes(value, "table")
    if len(data) % 4 or not 2 <= len(data) // 4 <= _MOST_LEVELS:
        raise Malformed(f"table: {len(data)} bytes are not 2 to {_MOST_LEVELS} levels")
    if any(data[at : at + 4] == _MINUS_ZERO for at in range(0, len(data), 4)):
        raise Malformed("table: a level of -0")
    return tuple(map(float, np.frombuffer(data, "<f4")))


def _named(form: Levels, table: str) -> Levels:
    """Return a quantizer that knows its table by name, if that makes just this table."""
    s = (len(form.levels) - 1) // 2
    base = form.levels[-2] if table == "exponential" and s > 1 else _HALF
    if table not in TABLES or not 0 < base < 1 or (table == "fitted" and len(form.levels) % 2 == 0):
        return form
    entries = form.levels if table == "fitted" else None
    named = replace(
        form, table=table, s=None if table == "nf4" else s or None, base=base, entries=entries
    )
    return named if named.levels == form.levels else form


QuantizedParameters = AffineParameters | MinifloatParameters | LevelsParameters
_KINDS: Final[Mapping[str, type[QuantizedParameters]]] = {
    kind.name: kind for kind in (AffineParameters, MinifloatParameters, LevelsParameters)
}


def quantized_parameters(
    quantizer: Quantizer, transform: Transform | None, figures: Figures, residual: int | None
) -> QuantizedParameters:
    """Return what the record of a quantized tensor says."""
    if isinstance(quantizer, Affine):
        return AffineParameters(quantizer, figures, residual)
    if isinstance(quantizer, Levels):
        table = quantizer.table if isinstance(quantizer.table, str) else "table"
        return LevelsParameters(quantizer, table, figures, residual)
    form = Minifloat(
        quantizer.exponent,
        quantizer.mantissa,
        quantizer.sign,
        quantizer.bias,
        quantizer.specials,
        fit=transform is not None,
    )
    return MinifloatParameters(form, transform, figures, residual)


def quantized_from_value(
    quantizer: str, value: object, *, residual: int | None
) -> QuantizedParameters | None:
    """Return the parameters of a quantized tensor; None if the quantizer is another one."""
    kind = _KINDS.get(quantizer)
    return None if kind is None else kind.from_value(value, residual=residual)


def source_format(dtype: str) -> FloatFormat:
    """Return the format of a quantized tensor.

    Raises
    ------
    Malformed
        If such a tensor cannot be quantized.
    """
    fmt = FORMATS.get(dtype)
    if fmt is None:
        raise Malformed(f"a quantized tensor of dtype {dtype[:40]!r}")
    return fmt


def _transform(value: object) -> Transform:
    scale, offset = _TRANSFORM.unpack(as_bytes(value, "transform", length=_TRANSFORM.size))
    if not (math.isfinite(scale) and math.isfinite(offset)):
        raise Malformed("transform: it is not finite")
    return Transform(scale, offset)


def _checked(make: Callable[[], Made]) -> Made:
    try:
        return make()
    except InvalidArgument as error:
        raise Malformed(error.message) from error


def policy_to_value(policy: Policy | None) -> dict[str, object] | None:
    """Return what the content root says of a policy."""
    if policy is None:
        return None
    return {
        "client": policy.client,
        "generator": policy.generator,
        "keep": policy.millionths,
        "matrices": int(policy.matrices),
        "only": list(policy.only),
        "round": policy.round,
        "seed": policy.seed,
        "skip": list(policy.skip),
    }


def check_policy(value: object) -> Mapping[str, object] | None:
    """Return a policy as the root has it, its form checked; the generator may be any.

    Raises
    ------
    Malformed
        If it has another form.
    """
    if value is None:
        return None
    policy = as_map(value, "policy", keys=_POLICY_KEYS)
    for name in ("client", "round", "seed"):
        as_int(policy[name], name, high=_MOST)
    as_int(policy["keep"], "keep", high=_MILLION)
    as_int(policy["matrices"], "matrices", high=1)
    as_text(policy["generator"], "generator")
    for name in ("only", "skip"):
        for glob in as_array(policy[name], name):
            as_text(glob, name)
    return policy


def policy_from_value(value: Mapping[str, object] | None) -> Policy | None:
    """Return the policy of a root.

    Raises
    ------
    InvalidArgument
        If this library has no such generator, or it names no tensor.
    """
    if value is None:
        return None
    keep = as_int(value["keep"], "keep") / _MILLION
    return Policy.from_dict({**value, "keep": keep, "matrices": bool(value["matrices"])})
