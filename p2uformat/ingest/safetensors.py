"""A safetensors file as a source of tensors."""

from __future__ import annotations

import math
import os

from p2uformat.closing import Closing
from p2uformat.errors import InvalidSource, StoreUnavailable
from p2uformat.files import FileReader
from p2uformat.ingest.head import LENGTH_BYTES, HeadTensor, json_length, parse_head
from p2uformat.tensor import ELEMENT_SIZES, OTHER_BITS

__all__ = ["SafetensorsSource", "SourceTensor"]

SourceTensor = HeadTensor


class SafetensorsSource(Closing):
    """A safetensors file, checked in full, and read by range.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Attributes
    ----------
    path : str
        As given.
    head : bytes
        The 8-byte length and the JSON, as they are.
    tensors : tuple of SourceTensor
        In the order of their bytes.
    names : tuple of str
        In the order of the JSON.
    metadata : dict of str
        The free texts.
    size : int
        Bytes of the file.

    Raises
    ------
    NotFound, StoreUnavailable
        If it cannot be read.
    InvalidSource
        If it is not a sound safetensors file.
    """

    __slots__ = ("_file", "head", "metadata", "names", "path", "size", "tensors")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = FileReader(path)
        self.path = self._file.path
        self.size = self._file.size
        try:
            length = json_length(self._file.read(0, LENGTH_BYTES), self.size)
            self.head = self.read(0, LENGTH_BYTES + length)
            parsed = parse_head(self.head, self.size)
            for tensor in parsed.tensors:
                _check_dtype(tensor)
        except BaseException:
            self.close()
            raise
        self.tensors: tuple[SourceTensor, ...] = parsed.tensors
        self.names = parsed.names
        self.metadata = parsed.metadata

    def read(self, offset: int, length: int) -> bytes:
        """Return a range of the file.

        Raises
        ------
        StoreUnavailable
            If the file is shorter than it was when it was opened.
        """
        data = self._file.read(offset, length)
        if len(data) != length:
            raise StoreUnavailable(
                f"{self.path!r} changed while it was read: expected {length} bytes at {offset},"
                f" got {len(data)}",
                path=self.path,
            )
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _check_dtype(tensor: HeadTensor) -> None:
    """Refuse a dtype that no safetensors writer has: such a file is damaged, or another format."""
    if tensor.dtype in ELEMENT_SIZES:
        return
    bits = OTHER_BITS.get(tensor.dtype)
    if bits is None:
        raise InvalidSource(
            f"tensor {tensor.name!r}: unknown dtype {tensor.dtype!r}",
            hint="convert it first, or use a newer version",
        )
    if math.prod(tensor.shape) * bits != 8 * tensor.nbytes:
        raise InvalidSource(
            f"tensor {tensor.name!r}: {tensor.nbytes} bytes are not {tensor.dtype}"
            f" {list(tensor.shape)}"
        )
