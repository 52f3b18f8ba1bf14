"""What chunks look like, for those who write and those who read (SPEC.md, section 7)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

__all__ = ["FIRST_CLASS", "MEMBER", "Codec"]

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
