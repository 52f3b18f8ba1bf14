"""The inner loops, in C where that was built and in numpy everywhere: one interface, equal bytes.

Examples
--------
>>> "numpy" in available_kernels()
True
"""

from __future__ import annotations

import threading

from p2uformat.errors import InvalidArgument
from p2uformat.kernels.compiled import CompiledKernels
from p2uformat.kernels.interface import Buffer, Kernels
from p2uformat.kernels.reference import NumpyKernels
from p2uformat.native import native_module

__all__ = ["Buffer", "Kernels", "available_kernels", "kernels", "kernels_in_use", "use_kernels"]

_lock = threading.Lock()
_current: Kernels | None = None


def available_kernels() -> tuple[str, ...]:
    """Return the names of the kernels that run here, the slowest first."""
    native = native_module()
    return ("numpy", *(native.levels() if native is not None else ()))


def use_kernels(name: str) -> None:
    """Choose the kernels that the whole process uses from now on.

    The fastest that run here are used when nothing is chosen. Results do not depend on it.

    Parameters
    ----------
    name : str
        One of `available_kernels`.

    Raises
    ------
    InvalidArgument
        If those do not run here.
    """
    global _current  # noqa: PLW0603 - one choice for the process, like a locale
    if name not in available_kernels():
        raise InvalidArgument(
            f"no kernels {name!r} here", hint=f"there are {', '.join(available_kernels())}"
        )
    native = native_module()
    with _lock:
        _current = (
            NumpyKernels() if native is None or name == "numpy" else CompiledKernels(native, name)
        )


def kernels() -> Kernels:
    """Return the kernels in use."""
    if _current is None:
        use_kernels(available_kernels()[-1])
    assert _current is not None
    return _current


def kernels_in_use() -> str:
    """Return the name of the kernels in use."""
    return kernels().name
