"""The kernels in C, for what they cover; numpy does the rest, and says what is wrong.

A compiled kernel declines what it does not cover and what breaks a rule alike. Then the numpy
kernel does the same work again: it gives the answer, or the one error that every reader gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels.compiled_encode import EncodeKernels
from p2uformat.kernels.interface import Buffer
from p2uformat.memory import Shelf
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.layers import SPARSE, BaseLayer

__all__ = ["CompiledKernels"]

Words = NDArray[np.unsignedinteger]
# Numbers of native/decode_module.c.
_FORMAT: Final = {name: number for number, name in enumerate(FORMATS)}
_TARGET: Final = {"F32": 0, "F16": 1, "BF16": 2}
_EXACT: Final = 3
_SPARE: Final = 1 << 18  # beside symbols: steps, outliers, exponents
_shelf: Final = Shelf(8)


class CompiledKernels(EncodeKernels):
    """`Kernels` by the native module.

    Parameters
    ----------
    native : module
        ``p2uformat._native``.
    level : str
        What it is to use of the processor.
    """

    takes_chunks = True

    def __init__(self, native: ModuleType, level: str) -> None:
        super().__init__(native)
        native.set_level(level)
        self._native = native
        self.name = level

    def block(  # noqa: D102
        self,
        spec: BlockSpec,
        layers: Sequence[tuple[int, Buffer]],
        target: FloatFormat | None,
        out: Words,
        *,
        warm: bool = False,
    ) -> bool:
        number = _EXACT if target is None else _TARGET.get(target.name)
        if number is None:
            return False
        lossy = len(layers) - (target is None)
        # Symbols twice and without zeros, and all other layers where all of them compress.
        scratch = _shelf.take((4 + spec.format.itemsize) * spec.weights + _SPARE)
        try:
            done: bool = self._native.read_block(
                _FORMAT[spec.format.name],
                spec.weights,
                spec.segment,
                spec.planes,
                spec.widths[: lossy - 1],
                tuple(item for layer in layers for item in layer),
                number,
                *spec.deltas[lossy - 1],
                scratch,
                out,
                warm,
            )
        finally:
            _shelf.give(scratch)
        return done

    def join(  # noqa: D102
        self, streams: tuple[Buffer, ...], classes: Buffer, table: Buffer, out: NDArray[np.uint8]
    ) -> None:
        if not self._native.join(streams, classes, table, out):
            super().join(streams, classes, table, out)

    def values(  # noqa: D102
        self,
        spec: BlockSpec,
        base: BaseLayer,
        digits: Sequence[Buffer],
        target: FloatFormat,
        out: Words,
    ) -> None:
        number = _TARGET.get(target.name)
        deltas = spec.deltas[len(digits)]
        usual = number is not None and base.flags & ~SPARSE == 0
        if not usual or not self._native.values(*_block(spec, base, digits), number, *deltas, out):
            super().values(spec, base, digits, target, out)

    def exact(  # noqa: D102
        self,
        spec: BlockSpec,
        base: BaseLayer,
        digits: Sequence[Buffer],
        rest: Sequence[Buffer],
        out: Words,
    ) -> None:
        # Elsewhere the parts are not the exact layer's own, and only their sum counts.
        usual = len(rest) == spec.planes + 2 and base.flags & ~SPARSE == 0
        if not usual or not self._native.merge(
            *_block(spec, base, digits), rest[0], tuple(rest[1:-1]), rest[-1], out
        ):
            super().exact(spec, base, digits, rest, out)


def _block(spec: BlockSpec, base: BaseLayer, digits: Sequence[Buffer]) -> tuple[object, ...]:
    """Return the arguments that describe a block to the native module."""
    layers: list[object] = []
    for tier, payload in enumerate(digits, 1):
        layers += (spec.digits[tier] - spec.digits[tier - 1], payload)
    return (
        _FORMAT[spec.format.name],
        spec.weights,
        spec.segment,
        spec.planes,
        base.sparse,
        base.symbols,
        base.steps,
        base.outlier_index,
        base.outlier_words,
        tuple(layers),
    )
