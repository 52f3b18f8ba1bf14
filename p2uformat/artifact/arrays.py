"""Arrays to files of their own."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2uformat.container import publish
from p2uformat.errors import InvalidArgument

__all__ = ["save_array"]


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
