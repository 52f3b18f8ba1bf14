"""Arrays to files of their own."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2uformat.container import publish
from p2uformat.errors import InvalidArgument
from p2uformat.ingest import Checkpoint

__all__ = ["save_array", "save_arrays"]


def save_array(
    array: NDArray[Any], destination: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write an array as a ``.npy`` file, which appears under its name when it is whole.

    Parameters
    ----------
    array : ndarray
        Of a dtype that numpy itself has; bfloat16 and fp8 become float32 without loss.
    destination : str or os.PathLike
        The file.
    overwrite : bool
        Whether to replace a file of this name.

    Raises
    ------
    InvalidArgument
        If the format has no name for the dtype.
    DestinationExists, NotFound, StoreUnavailable
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.npy"
    >>> save_array(np.arange(3), path)
    >>> np.load(path)
    array([0, 1, 2])
    """
    if array.dtype.isbuiltin != 1:
        raise InvalidArgument(
            f"a .npy file has no name for dtype {array.dtype}", hint="convert it to F32"
        )
    head = io.BytesIO()
    plain = np.ascontiguousarray(array).reshape(array.shape)
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(plain))
    with publish(destination, overwrite=overwrite) as output:
        output.write(head.getvalue())
        output.write(plain.reshape(-1).view(np.uint8).data)


def save_arrays(
    arrays: Mapping[str, NDArray[Any]],
    destination: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> int:
    """Write arrays as a ``.safetensors`` file, which appears under its name when it is whole.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Of dtypes that safetensors has a name for.
    destination : str or os.PathLike
        The file.
    metadata : mapping of str to str, optional
        Free texts.
    overwrite : bool
        Whether to replace a file of this name.

    Returns
    -------
    int
        Its bytes.

    Raises
    ------
    InvalidArgument
        If something is no array, or of another dtype.
    DestinationExists, NotFound, StoreUnavailable
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, safetensors.numpy
    >>> path = tempfile.mkdtemp() + "/m.safetensors"
    >>> size = save_arrays({"w": np.arange(3)}, path)
    >>> safetensors.numpy.load_file(path)
    {'w': array([0, 1, 2])}
    """
    with Checkpoint(arrays, metadata) as checkpoint:
        (member,) = checkpoint.members
        with publish(destination, overwrite=overwrite) as output:
            output.write(member.head)
            for tensor in member.tensors:
                output.write(member.read(tensor.offset, tensor.nbytes))
        return member.size
