"""The kernels that make differences of layers, in C; to undo them is numpy's (SPEC.md, 7.4)."""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.numbers import few_zeros, is_dense
from p2uformat.floats import FORMATS
from p2uformat.kernels.reference import NumpyKernels
from p2uformat.limits import MAX_BLOCK_ELEMENTS
from p2uformat.quant import difference
from p2uformat.quant.ladder import Ladder
from p2uformat.quant.layers import BaseLayer

__all__ = ["DifferenceKernels"]

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
_NUMBERS: Final = {name: number for number, name in enumerate(FORMATS)}
_SLACK: Final = 64
_KINDS: Final = 8  # for which there is room, whatever is used


class _Scratch(threading.local):
    """Buffers of a thread. Untouched parts of them take no memory."""

    def __init__(self) -> None:
        most = MAX_BLOCK_ELEMENTS + _SLACK
        self.symbols = np.empty(_KINDS * most, np.uint8)
        self.bits = np.empty(8 * most, np.uint8)
        self.rows = np.empty(most, np.uint32)
        self.columns = np.empty(most, np.uint32)
        self.runs = np.empty(most, np.uint8)
        self.found = np.empty(most, np.uint8)


class DifferenceKernels(NumpyKernels):
    """The part of `CompiledKernels` that makes differences.

    Parameters
    ----------
    native : module
        ``p2uformat._native``.
    """

    def __init__(self, native: ModuleType) -> None:
        self._differ = native
        self._room = _Scratch()

    def base_difference(self, parent: BaseLayer, child: BaseLayer, row: int) -> list[bytes]:  # noqa: D102
        head, levels = difference.base_head(parent, child, row, self._histogram)
        found = self._differ.base_numbers(
            _bytes(parent.symbols), _bytes(child.symbols), child.sparse, levels, *self._outputs()
        )
        parts = self._parts(found, difference.KINDS_OF_BASE, len(levels))
        return [head, *parts, child.outlier_words.tobytes()]

    def digits_difference(self, parent: Ladder, child: Ladder, tier: int, row: int) -> list[bytes]:  # noqa: D102
        old, new = self._indices(parent, tier), self._indices(child, tier)
        if old is None or new is None:
            return super().digits_difference(parent, child, tier, row)
        width = child.spec.digits[tier] - child.spec.digits[tier - 1]
        unit = difference.unit_of(row, child.spec.weights)
        shift = np.uint32(width)
        kinds = self._kinds(parent, child, old >> shift, new >> shift, unit)
        found = self._differ.digit_numbers(
            *_pair(parent, child), old, new, kinds, width, *self._outputs()
        )
        return [struct.pack("<I", unit), *self._parts(found, difference.KINDS_OF_DIGITS, len(old))]

    def exact_difference(self, parent: Ladder, child: Ladder, row: int) -> list[bytes]:  # noqa: D102
        spec = child.spec
        last = len(spec.digits) - 1
        old, new = self._indices(parent, last), self._indices(child, last)
        if old is None or new is None:
            return super().exact_difference(parent, child, row)
        assert parent.words is not None
        assert child.words is not None
        unit = difference.unit_of(row, spec.weights)
        found = self._differ.exact_numbers(
            *_pair(parent, child),
            new,
            self._kinds(parent, child, old, new, unit),
            np.ascontiguousarray(parent.words),
            np.ascontiguousarray(child.words),
            _NUMBERS[spec.format.name],
            spec.segment,
            child.base.steps.astype(np.int16),
            spec.digits[-1],
            *self._outputs(),
        )
        return [struct.pack("<I", unit), *self._parts(found, difference.KINDS_OF_EXACT, len(old))]

    def _outputs(self) -> tuple[U8, U8]:
        return self._room.symbols, self._room.bits

    def _indices(self, known: Ladder, tier: int) -> U32 | None:
        """Return n of a tier, None if a payload does not fit: numpy then says so."""
        out = np.empty(len(known.symbols), np.uint32)
        fits = self._differ.indices(
            _bytes(known.symbols),
            known.base.sparse,
            known.spec.widths[:tier],
            tuple(known.digits[:tier]),
            out,
        )
        return out if fits else None

    def _kinds(self, parent: Ladder, child: Ladder, old: U32, new: U32, unit: int) -> U8:
        out = np.empty(len(child.symbols), np.uint8)
        room = self._room
        self._differ.kinds(*_pair(parent, child), old, new, unit, room.rows, room.columns, out)
        return out

    def _parts(self, found: Sequence[int], kinds: int, weights: int) -> list[bytes]:
        """Return the sections of numbers from the symbols of each kind, and bits."""
        parts: list[bytes] = []
        for kind, count in enumerate(found[:kinds]):
            at = kind * weights
            parts += self._runs(self._room.symbols[at : at + count])
        return [*parts, self._room.bits[: found[-1]].tobytes()]

    def _histogram(self, symbols: U8) -> U32:
        counts = np.empty(256, np.uint32)
        self._differ.histogram(symbols, counts)
        return counts

    def _runs(self, symbols: U8) -> tuple[bytes, bytes]:
        """Return what `runs_of` does."""
        counts = self._histogram(symbols)
        if few_zeros(counts, len(symbols)):
            return b"", symbols.tobytes()
        room = self._room
        runs, found = self._differ.find_runs(symbols, room.runs, room.found)
        if is_dense(counts, self._histogram(room.runs[:runs])):
            return b"", symbols.tobytes()
        return room.runs[:runs].tobytes(), room.found[:found].tobytes()


def _pair(parent: Ladder, child: Ladder) -> tuple[U8, U8, bool]:
    return _bytes(parent.symbols), _bytes(child.symbols), child.base.sparse


def _bytes(symbols: U8) -> U8:
    return np.ascontiguousarray(symbols)
