"""Arrays as tensors and back, without a copy; dtypes by their names in safetensors."""

from __future__ import annotations

from typing import Final

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

import p2uformat

__all__ = ["FLOATS", "array_of", "dtype_name", "has_rows", "tensor_of", "torch_dtype"]

# Which torch dtypes there are depends on its version.
_TORCH: Final = {
    name: getattr(torch, spelling)
    for name, spelling in {
        "BOOL": "bool",
        "U8": "uint8",
        "I8": "int8",
        "F4": "float4_e2m1fn_x2",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
        "F8_E4M3FNUZ": "float8_e4m3fnuz",
        "F8_E5M2FNUZ": "float8_e5m2fnuz",
        "F8_E8M0": "float8_e8m0fnu",
        "U16": "uint16",
        "I16": "int16",
        "F16": "float16",
        "BF16": "bfloat16",
        "U32": "uint32",
        "I32": "int32",
        "F32": "float32",
        "U64": "uint64",
        "I64": "int64",
        "F64": "float64",
        "C64": "complex64",
    }.items()
    if hasattr(torch, spelling)
}
_NAMES: Final = {dtype: name for name, dtype in _TORCH.items()}
_NUMPY: Final = {
    "BOOL": np.dtype(np.bool_),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "C64": np.dtype("<c8"),
}

FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""The formats that an artifact rounds to by itself, once."""


def torch_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of a safetensors dtype name.

    Raises
    ------
    InvalidArgument
        If this version of PyTorch has none.

    Examples
    --------
    >>> torch_dtype("BF16")
    torch.bfloat16
    """
    dtype = _TORCH.get(name)
    if not isinstance(dtype, torch.dtype):
        raise p2uformat.InvalidArgument(
            f"PyTorch {torch.__version__} has no dtype for {name}",
            hint="Artifact.get gives its bytes as an array",
        )
    return dtype


def dtype_name(dtype: torch.dtype) -> str | None:
    """Return the safetensors name of a torch dtype; None if it has none.

    Examples
    --------
    >>> dtype_name(torch.float16), dtype_name(torch.complex128)
    ('F16', None)
    """
    return _NAMES.get(dtype)


def has_rows(name: str) -> bool:
    """Whether an artifact can give some rows of a tensor of this dtype.

    Examples
    --------
    >>> has_rows("BF16"), has_rows("F4")
    (True, False)
    """
    return name in _NUMPY


def tensor_of(array: NDArray[np.generic], name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the tensor in an array's memory.

    Parameters
    ----------
    array : ndarray
        In C order and writable, as `Artifact.get` returns it.
    name : str
        Safetensors dtype name of what its bytes are.
    shape : tuple of int
        Of the tensor in the artifact.

    Examples
    --------
    >>> array = np.ones(2, np.float32)
    >>> tensor = tensor_of(array, "F32", (2,))
    >>> array[0] = 5
    >>> tensor
    tensor([5., 1.])
    """
    flat = torch.from_numpy(array.reshape(-1).view(np.uint8)).view(torch_dtype(name))
    if name == "F4":  # PyTorch counts pairs of them
        shape = (*shape[:-1], shape[-1] // 2)
    return flat.reshape(shape)


def array_of(name: str, tensor: torch.Tensor) -> NDArray[np.generic]:
    """Return a tensor's values as an array, in its own memory where that is possible.

    Raises
    ------
    InvalidArgument
        If it has no values in memory, or a dtype that an artifact cannot have.

    Examples
    --------
    >>> array_of("w", torch.ones(2, dtype=torch.bfloat16)).dtype
    dtype(bfloat16)
    """
    known = _NUMPY.get(dtype_name(tensor.dtype) or "")
    if known is None:
        raise p2uformat.InvalidArgument(f"tensor {name!r}: cannot store dtype {tensor.dtype}")
    if tensor.is_meta or tensor.layout is not torch.strided:
        where = "on the meta device" if tensor.is_meta else f"of layout {tensor.layout}"
        raise p2uformat.InvalidArgument(
            f"tensor {name!r} is {where}: it has no values to store",
            hint="fill it, or leave it out",
        )
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    raw: NDArray[np.uint8] = plain.view(torch.uint8).numpy()
    array: NDArray[np.generic] = raw.view(known)
    return array.reshape(tuple(tensor.shape))
