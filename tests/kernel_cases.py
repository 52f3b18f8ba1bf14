"""Blocks, and both kernels side by side: what the tests and the fuzz driver of kernels share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from p2uformat.errors import P2UError
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels import available_kernels, use_kernels
from p2uformat.kernels.compiled import CompiledKernels
from p2uformat.kernels.reference import NumpyKernels
from p2uformat.quant.bitplane import BlockSpec, encode_block
from p2uformat.quant.layers import BaseLayer

LADDERS = [(0,), (0, 4), (0, 1, 4, 12), (0, 3, 5), (0, 8), (0, 2, 4), (0, 24)]
LEVELS = available_kernels()[1:]
TARGETS = [FORMATS[name] for name in ("F32", "F16", "BF16")]
# Every number of byte planes that a manifest may ask for.
PLANES = {
    "F64": (5, 6),
    "F32": (1, 2),
    "F16": (0, 1),
    "BF16": (0,),
    "F8_E4M3": (0,),
    "F8_E5M2": (0,),
}
NUMPY = NumpyKernels()


@contextmanager
def numpy_in_use() -> Iterator[None]:
    """Let chunks be opened without compiled kernels, and the fastest be in use afterwards."""
    use_kernels("numpy")
    try:
        yield
    finally:
        use_kernels(available_kernels()[-1])


class Watched:
    """The native module, and what it answered last."""

    def __init__(self) -> None:
        self.answer: object = None
        self._native = import_module("p2uformat._native")

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._native, name)

        def call(*arguments: object) -> object:
            self.answer = function(*arguments)
            return self.answer

        return call


@dataclass(frozen=True)
class Block:
    """A block in its layers, sound or not."""

    spec: BlockSpec
    base: BaseLayer
    digits: tuple[bytes, ...]
    rest: tuple[bytes, ...]

    @classmethod
    def of(
        cls,
        fmt: FloatFormat,
        words: Any,
        steps: Any,
        segment: int,
        digits: tuple[int, ...],
        *,
        sparse: bool,
        planes: int | None = None,
        deltas: tuple[tuple[int, int], ...] | None = None,
    ) -> Block:
        """Encode words with numpy."""
        count = PLANES[fmt.name][0] if planes is None else planes
        tiers = deltas or ((100, 120),) * len(digits)
        spec = BlockSpec(fmt, len(words), segment, count, digits, tiers)
        steps = np.asarray(steps, np.int16)
        made = encode_block(spec, words, steps, sparse=sparse, sums=False)
        return cls(spec, made.base, made.refinements, made.exact.sections())

    def with_base(self, **parts: Any) -> Block:
        """Return the block with other parts of its base layer."""
        return replace(self, base=replace(self.base, **parts))


def rebuilt(kernels: Any, block: Block, tier: int, target: FloatFormat | None, out: Any) -> Any:
    """Rebuild a block, exactly where there is no target; returns `out`, or the error's class."""
    try:
        if target is None:
            kernels.exact(block.spec, block.base, block.digits, block.rest, out)
        else:
            kernels.values(block.spec, block.base, block.digits[:tier], target, out)
    except P2UError as error:
        return type(error)
    return out


def room(block: Block, target: FloatFormat | None, at: int = 0) -> tuple[Any, Any]:
    """Return an output of the right size, `at` bytes behind a boundary of 64, and all around it."""
    word = (target or block.spec.format).word
    size = block.spec.weights * word.itemsize
    around = np.full(size + 256, 0xA5, np.uint8)
    first = 64 + (-around.ctypes.data % 64) + at
    return around[first : first + size].view(word), (around, first, first + size)


def untouched(around: Any) -> bool:
    """Tell whether nothing was written beside an output."""
    data, first, stop = around
    return bool((data[:first] == 0xA5).all() and (data[stop:] == 0xA5).all())


def covered(block: Block, tier: int, target: FloatFormat | None) -> bool:
    """Tell whether compiled kernels have to rebuild this sound block themselves."""
    if target is None:
        return True
    spec, base = block.spec, block.base
    fine = base.steps.astype(int) - spec.digits[tier] - 8
    magnitudes = base.outlier_words & spec.format.word.type((1 << spec.format.sign_bit) - 1)
    return (
        target in TARGETS
        and spec.digits[tier] <= 8
        and bool(((fine >= -126) & (fine <= 127)).all())
        and (spec.format.name != "F64" or not len(magnitudes))
        and bool((magnitudes <= spec.format.max_word).all())
    )


def check_equal(block: Block, *, at: int = 0, exact: bool = True, tiers: bool = True) -> int:
    """Rebuild a sound block every way there is; returns how often compiled kernels did it."""
    ways: list[tuple[int, FloatFormat | None]] = [(len(block.digits), None)] * exact
    if tiers:
        ways += [(t, target) for t in range(len(block.digits) + 1) for target in TARGETS]
    done = 0
    for tier, target in ways:
        expected = rebuilt(NUMPY, block, tier, target, room(block, target)[0])
        assert not isinstance(expected, type), expected
        for level in LEVELS:
            native = Watched()
            out, around = room(block, target, at)
            got = rebuilt(CompiledKernels(native, level), block, tier, target, out)
            where = level, tier, target and target.name, block.spec.format.name
            assert got is out, where
            assert np.array_equal(got, expected), where
            assert untouched(around), where
            assert native.answer is covered(block, tier, target), where
            done += native.answer is True
    return done


def check_damaged(block: Block, ways: Any) -> int:
    """Rebuild an unsound block; returns how often compiled kernels took it for sound.

    What they accept numpy accepts, with the same bytes.
    """
    accepted = 0
    for tier, target in ways:
        expected = None
        for level in LEVELS:
            native = Watched()
            out, around = room(block, target)
            # numpy runs once where it is asked, not again for each level that declines.
            rebuilt(Final(native, level), block, tier, target, out)
            where = level, tier, target and target.name, block.spec
            assert untouched(around), where
            if native.answer is not True:
                continue
            if expected is None:
                expected = rebuilt(NUMPY, block, tier, target, room(block, target)[0])
            assert not isinstance(expected, type), (where, expected)
            assert np.array_equal(out, expected), where
            accepted += 1
    return accepted


class _Nothing(NumpyKernels):
    """Numpy kernels that do nothing."""

    def exact(self, *_: object) -> None:
        pass

    def values(self, *_: object) -> None:
        pass


class Final(CompiledKernels, _Nothing):
    """Compiled kernels whose refusals are final."""
