"""Arrays in memory as a source of tensors: what a file of them would hold, without the file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from p2uformat.errors import InvalidArgument, InvalidSource
from p2uformat.ingest.head import HeadTensor, build_head, parse_head
from p2uformat.tensor import ELEMENT_SIZES, dtype_name

__all__ = ["ArraySource"]


class ArraySource:
    """Arrays by name, read like the safetensors file they would make.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Any strides and byte order; dtypes that safetensors has a name for.
    metadata : mapping of str to str, optional
        Free texts.

    Attributes
    ----------
    path : str
        Name of the file that they would make.
    head, tensors, size
        As of `SafetensorsSource`.

    Raises
    ------
    InvalidArgument
        If a name is no text or a value no array of a known dtype.
    """

    __slots__ = ("_arrays", "_starts", "head", "path", "size", "tensors")

    path: str
    head: bytes
    tensors: tuple[HeadTensor, ...]
    size: int

    def __init__(
        self, arrays: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str] | None = None
    ) -> None:
        rows = [_row(name, array) for name, array in arrays.items()]
        # Wide elements first keeps every tensor aligned, as other writers of such files do.
        rows.sort(key=lambda row: -ELEMENT_SIZES[row.dtype])
        head = build_head(rows, [row.name for row in rows], metadata or {})
        self.path = "arrays.safetensors"
        self.head = head
        self.size = len(head) + sum(row.nbytes for row in rows)
        try:
            self.tensors = parse_head(head, self.size).tensors
        except InvalidSource as error:
            raise InvalidArgument(error.message, hint=error.hint) from error
        self._arrays = arrays
        self._starts = [tensor.offset for tensor in self.tensors if tensor.nbytes]

    def read(self, offset: int, length: int) -> bytes:
        """Return a range that lies inside one tensor."""
        if not length:
            return b""
        tensor = [tensor for tensor in self.tensors if tensor.nbytes][
            bisect_right(self._starts, offset) - 1
        ]
        array = self._arrays[tensor.name]
        size = ELEMENT_SIZES[tensor.dtype]
        first = (offset - tensor.offset) // size
        # `flat` walks any strides in C order and copies only what is asked for.
        part = array.reshape(-1) if array.flags.c_contiguous else array.flat
        picked = np.ascontiguousarray(part[first : first + length // size])
        return picked.astype(picked.dtype.newbyteorder("<"), copy=False).tobytes()

    def close(self) -> None:
        """Do nothing: the arrays are the caller's."""


def _row(name: object, array: object) -> HeadTensor:
    if not isinstance(name, str) or not isinstance(array, np.ndarray):
        raise InvalidArgument(
            f"expected arrays by name, got {type(array).__name__} for {name!r}",
            hint="give a mapping of str to numpy.ndarray",
        )
    dtype = dtype_name(array.dtype.newbyteorder("=").name)
    return HeadTensor(name, dtype, array.shape, 0, array.nbytes)
