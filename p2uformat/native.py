"""The compiled module, where there is one."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

__all__ = ["native_module"]


@cache
def native_module() -> ModuleType | None:
    """Return ``p2uformat._native``; None where nothing was compiled."""
    try:
        return import_module("p2uformat._native")
    except ImportError:
        return None
