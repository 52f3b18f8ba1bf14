"""What chunks look like, for those who write and those who read (SPEC.md, section 7)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

__all__ = ["DIFFERENCES", "FIRST_CLASS", "MEMBER", "Codec"]

# A row of the table of a chunk of base layers (7.3).
MEMBER: Final = np.dtype(
    [
        ("weights", "<u4"),
        ("segments", "<u4"),
        ("outliers", "<u4"),
        ("unit", "<u4"),
        ("flags", "u1"),
        ("size", "u1"),
        ("axis", "<u2"),
    ]
)
FIRST_CLASS: Final = 5  # streams before those of the classes


class Codec(IntEnum):
    """How a chunk holds its layers."""

    RAW = 0
    SECTIONS = 1
    PLANES = 2
    CLASSES = 3
    BASE_DIFFERENCE = 16
    DIGITS_DIFFERENCE = 17
    EXACT_DIFFERENCE = 18
    OPAQUE_DIFFERENCE = 19


DIFFERENCES: Final = frozenset(
    {
        Codec.BASE_DIFFERENCE,
        Codec.DIGITS_DIFFERENCE,
        Codec.EXACT_DIFFERENCE,
        Codec.OPAQUE_DIFFERENCE,
    }
)
"""Codecs whose layers need those of a parent (SPEC.md, 7.4)."""
