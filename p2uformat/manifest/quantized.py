"""Parameters of `affine` and `minifloat` tensors, and the policy in the root (SPEC.md, 19)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from p2uformat.errors import InvalidArgument, Malformed
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.limits import MAX_BLOCK_ELEMENTS, MAX_RANK
from p2uformat.manifest.parameters import scaled_from_value, scaled_to_value
from p2uformat.quant.affine import Affine
from p2uformat.quant.minifloat import Minifloat
from p2uformat.quant.policy import Policy
from p2uformat.quant.quantizer import Quantizer
from p2uformat.quant.transform import Transform
from p2uformat.wire import as_array, as_bytes, as_int, as_map, as_text

__all__ = [
    "AffineParameters",
    "Figures",
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


QuantizedParameters = AffineParameters | MinifloatParameters
_KINDS: Final[Mapping[str, type[AffineParameters | MinifloatParameters]]] = {
    "affine": AffineParameters,
    "minifloat": MinifloatParameters,
}


def quantized_parameters(
    quantizer: Quantizer, transform: Transform | None, figures: Figures, residual: int | None
) -> QuantizedParameters:
    """Return what the record of a quantized tensor says."""
    if isinstance(quantizer, Affine):
        return AffineParameters(quantizer, figures, residual)
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
