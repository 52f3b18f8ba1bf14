"""Dtype names, and how a tensor is cut into blocks (SPEC.md, sections 3 and 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import ml_dtypes
import numpy as np

from p2uformat.errors import InvalidArgument
from p2uformat.limits import MAX_BLOCK_ELEMENTS

__all__ = [
    "ELEMENT_SIZES",
    "OTHER_BITS",
    "Geometry",
    "blob_geometry",
    "dtype_name",
    "geometry",
    "numpy_dtype",
]

_NUMPY: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
}

# Dtypes of safetensors without whole bytes or without a numpy dtype, with their bits.
OTHER_BITS: dict[str, int] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
}

_CACHED: Final = 4096  # a model asks several times for each of few shapes

ELEMENT_SIZES: dict[str, int] = {name: dtype.itemsize for name, dtype in _NUMPY.items()}

_ALIASES = {
    "fp64": "F64",
    "fp32": "F32",
    "fp16": "F16",
    "half": "F16",
    "bf16": "BF16",
    "float8_e4m3": "F8_E4M3",
    "bool": "BOOL",
}


def numpy_dtype(name: str) -> np.dtype[np.generic] | None:
    """Return the numpy dtype of a safetensors dtype name, None where numpy has none.

    Examples
    --------
    >>> numpy_dtype("F16")
    dtype('float16')
    >>> numpy_dtype("F4") is None
    True
    """
    return _NUMPY.get(name)


def dtype_name(text: str) -> str:
    """Return the safetensors name of a dtype given in any usual spelling.

    Raises
    ------
    InvalidArgument
        If no such dtype is known.

    Examples
    --------
    >>> dtype_name("float32"), dtype_name("bf16"), dtype_name("F16")
    ('F32', 'BF16', 'F16')
    """
    if text in _NUMPY:
        return text
    found = _ALIASES.get(text.lower())
    if found is None:
        found = next((name for name, dtype in _NUMPY.items() if dtype.name == text.lower()), None)
    if found is None:
        raise InvalidArgument(
            f"unknown dtype {text!r}", hint=f"use one of {', '.join(sorted(_NUMPY))}"
        )
    return found


@dataclass(frozen=True, slots=True)
class Geometry:
    """How one tensor is cut into blocks.

    Parameters
    ----------
    dtype : str
        Safetensors dtype name.
    shape : tuple of int
        The tensor's shape.
    elements : int
        Number of elements; of bytes, where the dtype has no element size.
    element_size : int
        Bytes per element, 1 where the dtype has none.
    row : int
        Elements of a row of the last axis.
    step : int
        Elements of a whole block.
    """

    dtype: str
    shape: tuple[int, ...]
    elements: int
    element_size: int
    row: int
    step: int

    @property
    def per_row(self) -> int:
        """Blocks that one row is cut into; 1 where blocks hold whole rows."""
        return -(-self.row // self.step) if self.row > self.step else 1

    def blocks(self) -> int:
        """Return the number of blocks."""
        if self.row > self.step:
            return (self.elements // self.row) * self.per_row
        return -(-self.elements // self.step)

    def block_range(self, index: int) -> tuple[int, int]:
        """Return the half-open element range of a block."""
        if self.row > self.step:
            row, part = divmod(index, self.per_row)
            start = row * self.row + part * self.step
            return start, min(start + self.step, (row + 1) * self.row)
        return index * self.step, min((index + 1) * self.step, self.elements)

    def block_at(self, element: int) -> int:
        """Return the block that holds an element."""
        if self.row > self.step:
            row, rest = divmod(element, self.row)
            return row * self.per_row + rest // self.step
        return element // self.step

    def blocks_for(self, start: int, stop: int) -> range:
        """Return the blocks that meet an element range.

        Examples
        --------
        >>> geometry("F32", (2048, 1024)).blocks_for(0, 1 << 19)
        range(0, 1)
        """
        if stop <= start:
            return range(0)
        return range(self.block_at(start), self.block_at(stop - 1) + 1)


def _geometry(dtype: str, shape: tuple[int, ...], elements: int, size: int, row: int) -> Geometry:
    if 0 < row <= MAX_BLOCK_ELEMENTS:
        step = row << ((MAX_BLOCK_ELEMENTS // row).bit_length() - 1)
    else:
        step = MAX_BLOCK_ELEMENTS
    return Geometry(dtype, shape, elements, size, max(row, 1), step)


@lru_cache(maxsize=_CACHED)
def geometry(dtype: str, shape: tuple[int, ...], nbytes: int | None = None) -> Geometry:
    """Return the geometry of a tensor.

    Parameters
    ----------
    dtype : str
        Safetensors dtype name; one without an element size is cut by bytes.
    shape : tuple of int
        Its shape.
    nbytes : int, optional
        Its length in bytes, needed where the dtype has no element size.

    Examples
    --------
    >>> geometry("F32", (1000, 384)).blocks()
    1
    >>> geometry("F32", (30522, 384)).block_range(0)
    (0, 393216)
    """
    size = ELEMENT_SIZES.get(dtype)
    if size is None:
        length = nbytes or 0
        return _geometry(dtype, shape, length, 1, length)
    elements = math.prod(shape)
    row = shape[-1] if len(shape) > 1 else elements
    return _geometry(dtype, shape, elements, size, row)


def blob_geometry(nbytes: int) -> Geometry:
    """Return the geometry of a file blob: one row of bytes."""
    return _geometry("U8", (nbytes,), nbytes, 1, nbytes)
