"""Mutated input for every compiled kernel that reads; deterministic, whatever the machine.

Nothing may read or write out of bounds, which a sanitized build finds out (`make sanitize`), and
what a kernel accepts numpy or the zstd library accepts too, with the same bytes.
"""

from __future__ import annotations

import struct
from collections import Counter
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from p2uformat.chunk import open_chunk
from p2uformat.codec.frame import parse_frame
from p2uformat.errors import P2UError
from p2uformat.floats import FORMATS
from p2uformat.kernels.compiled import CompiledKernels
from p2uformat.quant.bitplane import BlockSpec
from tests.chunk_cases import Layers, by_layers, damaged_chunks
from tests.kernel_cases import LEVELS, NUMPY, TARGETS, Block, Final, rebuilt
from tests.kernel_damage import Rng, damaged, random_block, spoiled
from tests.zstd_cases import by_library, resized

CORPUS = Path(__file__).parent / "corpus"


class Exact:
    """The native module, given input in memory of exactly its size.

    A sanitizer watches the ends of what was allocated; bytes objects have a byte more, and views
    lie inside something larger.
    """

    def __init__(self, level: str) -> None:
        self._native = import_module("p2uformat._native")
        self._native.set_level(level)
        self.answer: object = None

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._native, name)

        def call(*arguments: object) -> object:
            self.answer = function(*map(_exact, arguments))
            return self.answer

        return call


def _exact(argument: object) -> object:
    if isinstance(argument, tuple):
        return tuple(map(_exact, argument))
    if isinstance(argument, bytes | memoryview):
        return np.frombuffer(argument, np.uint8).copy()
    if isinstance(argument, np.ndarray) and not argument.flags.writeable:
        return argument.copy()
    return argument


def load(name: str) -> list[Any]:
    """Return what a file of the corpus holds."""
    found: list[Any] = msgpack.unpackb((CORPUS / name).read_bytes())
    return found


def stored(item: dict[str, Any]) -> tuple[Block, Layers]:
    """Return a block of the corpus, its layers taken out by numpy, and its chunks."""
    spec = BlockSpec(
        FORMATS[item["format"]],
        item["weights"],
        item["segment"],
        item["planes"],
        tuple(item["digits"]),
        tuple((a, b) for a, b in item["deltas"]),
    )
    layers = [(codec, chunk) for codec, chunk in item["layers"]]
    views = [open_chunk(codec, chunk) for codec, chunk in layers]
    digits = tuple(bytes(view.payload(0)) for view in views[1:-1])
    rest = tuple(bytes(part) for part in views[-1].parts(0))
    base = views[0].base(0, spec.format, spec.weights, spec.segments)
    return Block(spec, base, digits, rest), layers


class Fuzz:
    """Runs kernels on mutations of the corpus.

    Parameters
    ----------
    seed : int
        Of the mutations.
    """

    def __init__(self, seed: int) -> None:
        self._rng: Rng = np.random.default_rng(seed)
        self._blocks = [stored(item) for item in load("blocks.msgpack")]
        self._frames: list[tuple[bytes, int]] = [(f, raw) for f, raw in load("frames.msgpack")]
        self.runs: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()

    def run(self, executions: int) -> None:
        """Run a number of kernels; AssertionError if one of them takes what it should not."""
        kernels = (self._merge, self._values, self._join, self._read_block, self._zstd_frame)
        for i in range(executions):
            kernel = kernels[i % len(kernels)]
            name = kernel.__name__[1:]
            self.runs[name] += 1
            self.accepted[name] += kernel(LEVELS[int(self._rng.integers(len(LEVELS)))])

    def _damaged(self) -> Block:
        rng = self._rng
        if rng.random() < 0.1:
            block = random_block(rng, list(FORMATS)[rng.integers(len(FORMATS))], 300)
        else:
            block = self._blocks[rng.integers(len(self._blocks))][0]
        for _ in range(int(rng.choice([0, 1, 1, 1, 2, 3]))):
            block = damaged(rng, block)
        return block

    def _block(self, level: str, block: Block, target: Any) -> bool:
        native = Exact(level)
        out = np.empty(block.spec.weights, (target or block.spec.format).word)
        tier = len(block.digits)
        rebuilt(Final(native, level), block, tier, target, out)
        if native.answer is True:
            expected = rebuilt(NUMPY, block, tier, target, np.empty_like(out))
            assert not isinstance(expected, type), (level, expected)
            assert np.array_equal(out, expected), level
        return native.answer is True

    def _merge(self, level: str) -> bool:
        return self._block(level, self._damaged(), None)

    def _values(self, level: str) -> bool:
        return self._block(level, self._damaged(), TARGETS[self._rng.integers(3)])

    def _chunks(self) -> tuple[BlockSpec, Layers]:
        block, layers = self._blocks[self._rng.integers(len(self._blocks))]
        for _ in range(int(self._rng.choice([0, 1, 1, 1, 2]))):
            # Damage done before may have left nothing that can be damaged in the same way.
            with suppress(P2UError, ValueError, LookupError, struct.error):
                layers = damaged_chunks(self._rng, layers)
        return block.spec, layers

    def _read_block(self, level: str) -> bool:
        spec, layers = self._chunks()
        target = None if self._rng.random() < 0.5 else TARGETS[self._rng.integers(3)]
        layers = layers if target is None else layers[:-1]
        out = np.empty(spec.weights, (target or spec.format).word)
        done = CompiledKernels(Exact(level), level).block(spec, layers, target, out)
        if done:
            expected = by_layers(spec, layers, target, np.empty_like(out))
            assert not isinstance(expected, type), (level, expected)
            assert np.array_equal(out, expected), level
        return done

    def _join(self, level: str) -> bool:
        rng = self._rng
        codec, chunk = self._blocks[rng.integers(len(self._blocks))][1][0]
        frame = parse_frame(codec, chunk)
        table, _, classes, _, _, *streams = (bytes(frame.stream(i)) for i in range(len(frame.rows)))
        parts = [table, classes, *streams]
        for _ in range(int(rng.choice([0, 1, 1, 2]))):
            at = int(rng.integers(len(parts)))
            parts[at] = spoiled(rng, parts[at])
        table, classes, *streams = parts
        out = np.empty(int(rng.choice([sum(map(len, streams)), frame.raw_length(5), 0])), np.uint8)
        native = Exact(level)
        if not native.join(tuple(streams), classes, table, out):
            return False
        expected = np.empty_like(out)
        NUMPY.join(tuple(streams), classes, table, expected)
        assert np.array_equal(out, expected), level
        return True

    def _zstd_frame(self, level: str) -> bool:
        rng = self._rng
        frame, raw = self._frames[rng.integers(len(self._frames))]
        for _ in range(int(rng.choice([0, 1, 1, 1, 2, 4]))):
            frame = spoiled(rng, frame) if rng.random() < 0.7 else resized(rng, frame)
        raw = raw if rng.random() < 0.95 else int(rng.integers(5000))
        found = Exact(level).zstd_frame(frame, raw)
        assert found is None or found == by_library(frame, raw), frame.hex()
        return found is not None
