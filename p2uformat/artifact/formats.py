"""The float format that a caller asked for."""

from __future__ import annotations

import numpy as np

from p2uformat.artifact.catalog import StoredTensor
from p2uformat.errors import InvalidArgument
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.tensor import dtype_name

__all__ = ["DTypeLike", "converted", "float_format", "target_format"]

DTypeLike = str | np.dtype[np.generic] | type[np.generic]


def float_format(dtype: DTypeLike) -> FloatFormat:
    """Return the ladder format of a dtype.

    Raises
    ------
    InvalidArgument
        If it is unknown or none of the ladder's.

    Examples
    --------
    >>> float_format("bfloat16").name
    'BF16'
    """
    name = _name_of(dtype)
    if name not in FORMATS:
        raise InvalidArgument(
            f"cannot round weights to {name}", hint=f"only these convert: {', '.join(FORMATS)}"
        )
    return FORMATS[name]


def target_format(stored: StoredTensor, dtype: DTypeLike) -> FloatFormat | None:
    """Return the format to convert a tensor to; None to leave it as it is.

    Raises
    ------
    InvalidArgument
        If the dtype is unknown, or only floats could be converted and one side is none.
    """
    if _name_of(dtype) == stored.record.dtype:
        return None
    if stored.record.dtype not in FORMATS:
        raise InvalidArgument(
            f"cannot convert tensor {stored.record.name!r} from {stored.record.dtype}",
            hint=f"only these convert: {', '.join(FORMATS)}",
        )
    return float_format(dtype)


def converted(stored: StoredTensor, target: FloatFormat | None) -> FloatFormat | None:
    """Return the format to convert a tensor to where many are: only floats change."""
    if target is None or stored.record.dtype not in FORMATS or stored.record.dtype == target.name:
        return None
    return target


def _name_of(dtype: DTypeLike) -> str:
    if isinstance(dtype, str):
        return dtype_name(dtype)
    try:
        return dtype_name(np.dtype(dtype).name)
    except TypeError as error:
        raise InvalidArgument(f"not a dtype: {dtype!r}") from error
