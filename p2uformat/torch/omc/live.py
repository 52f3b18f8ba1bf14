"""Expanded tensors that autograd must not keep: it keeps how to expand them again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

import p2uformat

if TYPE_CHECKING:
    from p2uformat.torch.omc.packed import Packed

__all__ = ["forgetting", "note"]


@dataclass(frozen=True, slots=True)
class _Again:
    """A view of an expanded tensor, to be made again."""

    packed: Packed
    version: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


# Tensors that were expanded in the innermost module's pass on this thread, by their memory.
_Known = dict[int, tuple[torch.Tensor, "Packed"]]


class _Here(threading.local):
    known: _Known | None = None


_here = _Here()


def note(value: torch.Tensor, packed: Packed) -> None:
    """Remember what an expanded tensor came from, for as long as the module's pass lasts."""
    if _here.known is not None:
        _here.known[value.untyped_storage().data_ptr()] = (value, packed)


@contextmanager
def forgetting() -> Iterator[None]:
    """Let autograd keep nothing that was expanded within the context."""
    before, known = _here.known, _Known()
    _here.known = known

    def keep(tensor: torch.Tensor) -> torch.Tensor | _Again:
        found = known.get(tensor.untyped_storage().data_ptr())
        if found is None:
            return tensor.detach()
        packed, size, stride = found[1], tuple(tensor.size()), tuple(tensor.stride())
        return _Again(packed, packed.version, size, stride, tensor.storage_offset())

    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, _made):
            yield
    finally:
        _here.known = before
        known.clear()


def _made(kept: torch.Tensor | _Again) -> torch.Tensor:
    if isinstance(kept, torch.Tensor):
        return kept
    if kept.packed.version != kept.version:
        raise p2uformat.InvalidArgument(
            "a compressed parameter that a backward pass needs has changed since its forward pass",
            hint="take the optimizer's step after the last backward pass",
        )
    return kept.packed.expand().as_strided(kept.size, kept.stride, kept.offset)
