"""The compiled kernels, for tensors that they can read."""

from __future__ import annotations

from types import ModuleType

import torch

import p2uformat
from p2uformat.native import native_module

__all__ = ["native_for"]


def native_for(tensor: torch.Tensor) -> ModuleType | None:
    """Return the compiled kernels if they can be used for a tensor."""
    if not len(tensor) or tensor.device.type != "cpu" or p2uformat.kernels_in_use() == "numpy":
        return None
    return native_module()
