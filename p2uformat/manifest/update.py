"""What the content root of an update says: to what it is, whose, and figures (SPEC.md, 19.6)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final, Self

from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import Malformed
from p2uformat.manifest.parameters import scaled_from_value, scaled_to_value
from p2uformat.wire import as_bytes, as_int, as_map

__all__ = ["UPDATE", "UpdateRecord"]

UPDATE: Final = "update"  # the feature, the kind of root and its key
_MOST: Final = (1 << 64) - 1
_WEIGHT: Final = struct.Struct("<d")
_KEYS: Final = frozenset(
    {"base", "bits", "bound", "client", "energy", "expected", "most", "round", "variance", "weight"}
)
Scaled = tuple[int, int]


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """The key `update` of a content root.

    Parameters
    ----------
    base : bytes
        Content root of the artifact that the difference is to.
    client, round : int
        Whose it is, and when.
    weight : float
        How much it counts, above 0.
    variance, energy : tuple of int
        Sums of squares of the quantization's errors and of the difference, as mantissa and
        exponent.
    expected, bound : tuple of int, or None
        What the variance is in the mean over what rounding draws, and what that cannot be above.
    bits, most : int
        What the first tier takes at least, and what that cannot be above.
    """

    base: bytes
    client: int
    round: int
    weight: float
    variance: Scaled
    energy: Scaled
    expected: Scaled | None
    bound: Scaled | None
    bits: int
    most: int

    def to_value(self) -> dict[str, object]:
        """Return what is encoded."""
        return {
            "base": self.base,
            "bits": self.bits,
            "bound": None if self.bound is None else scaled_to_value(self.bound),
            "client": self.client,
            "energy": scaled_to_value(self.energy),
            "expected": None if self.expected is None else scaled_to_value(self.expected),
            "most": self.most,
            "round": self.round,
            "variance": scaled_to_value(self.variance),
            "weight": _WEIGHT.pack(self.weight),
        }

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return what `value` describes.

        Raises
        ------
        Malformed, NonCanonical
            If it breaks a rule.
        """
        items = as_map(value, "update", keys=_KEYS)
        (weight,) = _WEIGHT.unpack(as_bytes(items["weight"], "weight", length=_WEIGHT.size))
        if not (math.isfinite(weight) and weight > 0):
            raise Malformed(f"weight of an update: {weight} is not finite and above 0")
        if (items["expected"] is None) != (items["bound"] is None):
            raise Malformed("update: one of expected variance and its bound")
        return cls(
            as_bytes(items["base"], "base", length=DIGEST_BYTES),
            as_int(items["client"], "client", high=_MOST),
            as_int(items["round"], "round", high=_MOST),
            weight,
            _figure(items["variance"], "variance"),
            _figure(items["energy"], "energy"),
            None if items["expected"] is None else _figure(items["expected"], "expected"),
            None if items["bound"] is None else _figure(items["bound"], "bound"),
            as_int(items["bits"], "bits", high=_MOST),
            as_int(items["most"], "most", high=_MOST),
        )


def _figure(value: object, name: str) -> Scaled:
    return scaled_from_value(value, name)
