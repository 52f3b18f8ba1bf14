"""The kernels in C, for what they cover; numpy does the rest."""

from __future__ import annotations

from types import ModuleType

from p2uformat.kernels.compiled_encode import EncodeKernels

__all__ = ["CompiledKernels"]


class CompiledKernels(EncodeKernels):
    """`Kernels` by the native module.

    Parameters
    ----------
    native : module
        ``p2uformat._native``.
    level : str
        What it is to use of the processor.
    """

    def __init__(self, native: ModuleType, level: str) -> None:
        super().__init__(native)
        native.set_level(level)
        self._native = native
        self.name = level  # type: ignore[misc]
