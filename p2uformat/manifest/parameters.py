"""Tiers of an artifact, and the parameters of a tensor (SPEC.md, 8.1 and 8.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from p2uformat.errors import Malformed, NonCanonical
from p2uformat.limits import (
    MAX_BLOCK_ELEMENTS,
    MAX_DIGITS,
    MAX_ELEMENTS,
    MAX_STEP_EXPONENT,
    MAX_TIERS,
)
from p2uformat.wire import as_array, as_int, as_text

__all__ = [
    "BitplaneParameters",
    "BitplaneTier",
    "OpaqueParameters",
    "TierSpec",
    "parse_tiers",
    "scaled_from_value",
    "scaled_to_value",
]

EXACT: Final = "exact"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_MAX_MANTISSA: Final = (1 << 32) - 1
# Sums of squares of fp64 over 2^48 weights stay far inside; a bound keeps `2 ** exponent` harmless.
_MAX_SCALE: Final = 1 << 16
_MAX_BOUND: Final = MAX_STEP_EXPONENT + MAX_DIGITS
_MAX_PLANES: Final = 6


@dataclass(frozen=True, slots=True)
class TierSpec:
    """A tier: its name, and the digits below the base step that it knows.

    Parameters
    ----------
    name : str
        For example ``q4``.
    digits : int or None
        Cumulative count; None for ``exact``.
    """

    name: str
    digits: int | None

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [self.name, self.digits]

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the tier that `value` describes."""
        items = as_array(value, "tier", length=2)
        name = as_text(items[0], "tier name")
        if _NAME.fullmatch(name) is None:
            raise Malformed(f"tier name: {name[:40]!r} is not allowed")
        if (name == EXACT) != (items[1] is None):
            raise Malformed(f"tier {name}: exactly the tier named exact has no digits")
        if items[1] is None:
            return cls(name, None)
        return cls(name, as_int(items[1], "tier digits", limit=MAX_DIGITS))


def parse_tiers(value: object, *, lossy: bool = False) -> tuple[TierSpec, ...]:
    """Return the tiers of a content root, checked as a ladder; a lossy one has a single rung."""
    tiers = tuple(TierSpec.from_value(item) for item in as_array(value, "tiers", limit=MAX_TIERS))
    if lossy:
        if [tier.digits for tier in tiers] != [0]:
            raise Malformed("tiers: a lossy artifact has one, which is not exact")
        return tiers
    if not tiers or tiers[-1].digits is not None:
        raise Malformed("tiers: the last one is not exact")
    digits = [-1 if tier.digits is None else tier.digits for tier in tiers[:-1]]
    if digits and (digits[0] != 0 or any(b <= a for a, b in pairwise(digits))):
        raise Malformed(f"tiers: digits do not ascend from 0: {digits}")
    if len({tier.name for tier in tiers}) != len(tiers):
        raise Malformed("tiers: a name comes twice")
    return tiers


def scaled_to_value(value: tuple[int, int]) -> list[object]:
    """Return what is encoded for ``mantissa * 2**exponent``."""
    return [value[0], value[1]]


def scaled_from_value(value: object, name: str) -> tuple[int, int]:
    """Return ``(mantissa, exponent)``, in its one form: odd mantissa, or two zeros."""
    items = as_array(value, name, length=2)
    mantissa = as_int(items[0], name, high=_MAX_MANTISSA)
    exponent = as_int(items[1], name, low=-_MAX_SCALE, high=_MAX_SCALE)
    if mantissa % 2 == 0 and (mantissa, exponent) != (0, 0):
        raise NonCanonical(f"{name}: mantissa {mantissa} is not odd")
    return mantissa, exponent


@dataclass(frozen=True, slots=True)
class BitplaneTier:
    """How a tensor is rebuilt at one lossy tier, and how far off that is.

    Parameters
    ----------
    delta0, delta1 : int
        Where in a bin the reconstruction lies, in 256ths: the bin at zero, and all others.
    bound : int
        No finite weight is further off than ``2**bound``.
    error : tuple of int
        Sum of squared differences, as mantissa and exponent.
    """

    delta0: int
    delta1: int
    bound: int
    error: tuple[int, int]

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [self.delta0, self.delta1, self.bound, scaled_to_value(self.error)]

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the tier parameters that `value` describes."""
        items = as_array(value, "tier parameters", length=4)
        return cls(
            as_int(items[0], "delta0", high=255),
            as_int(items[1], "delta1", high=255),
            as_int(items[2], "bound", low=-_MAX_BOUND, high=_MAX_BOUND),
            scaled_from_value(items[3], "error"),
        )


@dataclass(frozen=True, slots=True)
class BitplaneParameters:
    """Parameters of a bitplane tensor.

    Parameters
    ----------
    segment : int
        Weights that share one step exponent.
    planes : int
        Byte planes of the exact layer.
    tiers : tuple of BitplaneTier
        One per lossy tier.
    energy : tuple of int
        Sum of squares of the finite weights, as mantissa and exponent.
    """

    segment: int
    planes: int
    tiers: tuple[BitplaneTier, ...]
    energy: tuple[int, int]

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        tiers = [tier.to_value() for tier in self.tiers]
        return [self.segment, self.planes, tiers, scaled_to_value(self.energy)]

    @classmethod
    def from_value(cls, value: object, *, lossy: int) -> Self:
        """Return the parameters that `value` describes, for `lossy` lossy tiers."""
        items = as_array(value, "bitplane parameters", length=4)
        tiers = as_array(items[2], "bitplane tiers", length=lossy)
        return cls(
            as_int(items[0], "segment length", low=1, high=MAX_BLOCK_ELEMENTS),
            as_int(items[1], "planes", high=_MAX_PLANES),
            tuple(BitplaneTier.from_value(tier) for tier in tiers),
            scaled_from_value(items[3], "energy"),
        )


@dataclass(frozen=True, slots=True)
class OpaqueParameters:
    """Parameters of a tensor whose bytes travel as they are.

    Parameters
    ----------
    tier : int
        Number of the tier it travels in.
    nbytes : int
        Length in bytes.
    """

    tier: int
    nbytes: int

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [self.tier, self.nbytes]

    @classmethod
    def from_value(cls, value: object, *, tiers: int) -> Self:
        """Return the parameters that `value` describes, in an artifact of `tiers` tiers."""
        items = as_array(value, "opaque parameters", length=2)
        return cls(
            as_int(items[0], "tier number", high=tiers - 1),
            as_int(items[1], "tensor bytes", limit=8 * MAX_ELEMENTS),
        )
