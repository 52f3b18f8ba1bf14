"""Row ranges, and arrays to hold them."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.catalog import StoredTensor
from p2uformat.errors import InvalidArgument, LimitExceeded, StoreUnavailable
from p2uformat.floats import FloatFormat
from p2uformat.tensor import numpy_dtype

__all__ = ["Rows", "allocate", "fitting", "row_range"]

Rows = slice | tuple[int | None, int | None]


def row_range(stored: StoredTensor, rows: Rows | None) -> tuple[int, int, tuple[int, ...]]:
    """Return the element range of rows, and the shape of the result.

    Raises
    ------
    InvalidArgument
        If the tensor has no rows, or the range has a step.
    """
    record = stored.record
    elements = stored.geometry.elements
    if numpy_dtype(record.dtype) is None:
        if rows is not None:
            raise InvalidArgument(
                f"tensor {record.name!r}: rows of dtype {record.dtype} are not known",
                hint="read it whole",
            )
        return 0, elements, (elements,)
    if rows is None:
        return 0, elements, record.shape
    if not record.shape:
        raise InvalidArgument(f"tensor {record.name!r} has no rows: it is a single number")
    start, stop = _bounds(rows, record.shape[0])
    row = elements // record.shape[0] if record.shape[0] else 0
    return start * row, stop * row, (stop - start, *record.shape[1:])


def _bounds(rows: Rows, count: int) -> tuple[int, int]:
    try:
        cut = rows if isinstance(rows, slice) else slice(*rows)
        if cut.step is not None and operator.index(cut.step) != 1:
            raise InvalidArgument(f"rows: a step of {cut.step} is not possible")
        start, stop, _ = cut.indices(count)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"rows: {rows!r} is no range of rows") from error
    return start, max(start, stop)


def allocate(
    stored: StoredTensor, shape: tuple[int, ...], target: FloatFormat | None
) -> NDArray[np.generic]:
    """Return an uninitialised array for a result.

    Raises
    ------
    LimitExceeded
        If numpy cannot have such a shape.
    StoreUnavailable
        If there is not enough memory.
    """
    try:
        return np.empty(shape, _result_dtype(stored, target))
    except ValueError as error:
        raise LimitExceeded(
            f"no array can have the shape {shape}", tensor=stored.record.name
        ) from error
    except MemoryError as error:
        raise StoreUnavailable(
            f"not enough memory for tensor {stored.record.name!r}", hint="read fewer rows"
        ) from error


def _result_dtype(stored: StoredTensor, target: FloatFormat | None) -> np.dtype[np.generic]:
    dtype = target.numpy if target is not None else numpy_dtype(stored.record.dtype)
    return np.dtype(np.uint8) if dtype is None else dtype


def fitting(
    out: object, stored: StoredTensor, shape: tuple[int, ...], target: FloatFormat | None
) -> NDArray[np.generic]:
    """Return an array of the caller's, if it can hold a result.

    Raises
    ------
    InvalidArgument
        If it is none, has another shape or dtype, or is not in C order and writable.
    """
    name, dtype = stored.record.name, _result_dtype(stored, target)
    if not isinstance(out, np.ndarray):
        raise InvalidArgument(
            f"out: expected an array for tensor {name!r}, got {type(out).__name__}"
        )
    if out.shape != shape or out.dtype != dtype:
        raise InvalidArgument(
            f"out: expected {dtype} of shape {shape} for tensor {name!r},"
            f" got {out.dtype} of shape {out.shape}"
        )
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidArgument(f"out: the array for tensor {name!r} is not in C order and writable")
    return out
