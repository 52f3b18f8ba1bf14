"""Layers as differences from a parent's (SPEC.md, 7.4), of any bytes for any known layers."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

from p2uformat.kernels import kernels
from p2uformat.quant.difference import from_opaque_difference, opaque_difference
from p2uformat.quant.ladder import Ladder
from p2uformat.quant.layers import BaseLayer
from tests.fuzz.parsers.blocks import (
    FASTEST,
    FORMAT_LIST,
    NUMPY,
    REFUSED,
    Block,
    decoded,
    mended,
    of_words,
    parsed,
)
from tests.fuzz.parsers.harness import MUTATE, Form, Harness, expect
from tests.fuzz.parsers.mutate import changed
from tests.fuzz.parsers.sources import packed, unpacked

_BASE, _EXACT, _OPAQUE = 16, 18, 19


def _ladder(block: Block, words: Any = None) -> Ladder:
    spec = block.spec
    base = BaseLayer.parse(spec.format, spec.weights, spec.segments, block.base)
    return Ladder(spec, base, block.digits, words)


def _whole(block: Block) -> Ladder:
    """Return a ladder up to its words; refused unless it is sound."""
    spec = block.spec
    known = _ladder(block)
    words = np.empty(spec.weights, spec.format.word)
    NUMPY.exact(spec, known.base, block.digits, [block.exact], words)
    return _ladder(block, words)


def _run(data: bytes) -> bool:
    value = decoded(data)
    if type(value) is not list or len(value) != 4:
        return False
    codec, old, new, parts = value
    if type(parts) is not list or any(type(part) is not bytes for part in parts):
        return False
    if codec == _OPAQUE:
        return _opaque(old, new, parts)
    parent, child = parsed(old), parsed(new)
    if parent is None or child is None or parent.spec != child.spec:
        return False
    try:
        known = _whole(parent), _whole(child)
        same = known[0].base.flags == known[1].base.flags
        if not same or not np.array_equal(known[0].base.steps, known[1].base.steps):
            return False
    except REFUSED:
        return False
    return _layer(codec, *known, parts)


def _layer(codec: int, parent: Ladder, child: Ladder, parts: list[bytes]) -> bool:
    made = [_undone(work, codec, parent, child, parts) for work in (NUMPY, FASTEST)]
    expect(made[0] == made[1], "all kernels take a difference apart alike")
    if made[0] is None:
        return False
    _check_again(codec, parent, child)
    return True


def _undone(
    work: Any, codec: int, parent: Ladder, child: Ladder, parts: list[bytes]
) -> bytes | None:
    spec = child.spec
    try:
        if codec == _BASE:
            base = work.from_base_difference(parent.base, parts, spec.format.word)
            made: bytes = base.payload()
            again = BaseLayer.parse(spec.format, spec.weights, spec.segments, made)
            expect(again.payload() == made, "what comes out is a base layer")
            return made
        if codec == _EXACT:
            below = Ladder(spec, child.base, child.digits)
            return bytes(work.from_exact_difference(parent, below, parts).payload())
        tier = max(len(spec.digits) - 1, 0)
        if not tier:
            return None
        below = Ladder(spec, child.base, child.digits[: tier - 1])
        found = work.from_digits_difference(parent, below, tier, parts)
        expect(len(found) == len(child.digits[tier - 1]), "a refinement has its length")
        return bytes(found)
    except REFUSED:
        return None


def _check_again(codec: int, parent: Ladder, child: Ladder) -> None:
    """The child itself is told as a difference, and comes back."""
    parts = _told(codec, parent, child)
    for work in (NUMPY, FASTEST):
        found = _undone(work, codec, parent, child, parts)
        expect(found == _payload(codec, child), "a difference gives back the layer")


def _told(codec: int, parent: Ladder, child: Ladder) -> list[bytes]:
    if codec == _BASE:
        return kernels().base_difference(parent.base, child.base, 4)
    if codec == _EXACT:
        return kernels().exact_difference(parent, child, 4)
    return kernels().digits_difference(parent, child, len(child.spec.digits) - 1, 4)


def _payload(codec: int, child: Ladder) -> bytes | None:
    if codec == _BASE:
        return child.base.payload()
    if codec == _EXACT:
        assert child.words is not None
        steps, sparse = child.base.steps, child.base.sparse
        made = NUMPY.encode_block(child.spec, child.words, steps, sparse=sparse, sums=False)
        return made.exact.payload()
    return bytes(child.digits[-1]) if child.digits else None


def _opaque(old: Any, new: Any, parts: list[bytes]) -> bool:
    if type(old) is not bytes or new not in (1, 2, 4, 8) or len(old) % new:
        return False
    try:
        found = from_opaque_difference(old, parts, new)
    except REFUSED:
        return False
    expect(len(found) == len(old), "a block keeps its length")
    again = from_opaque_difference(old, opaque_difference(old, found, new), new)
    expect(again == found, "a difference gives back the block")
    return True


def _pairs() -> Iterator[tuple[list[Any], list[Any]]]:
    rng = np.random.default_rng(32)
    for number, fmt in enumerate(FORMAT_LIST):
        for digits, sparse in (([0], False), ([0, 4], False), ([0, 4], True), ([0, 2, 12], False)):
            old = rng.standard_normal(24) * 0.1
            new = old + rng.standard_normal(24) * 0.02 * (rng.random(24) < 0.5)
            words = [values.astype(fmt.numpy).view(fmt.word) for values in (old, new)]
            for made in words:
                made[rng.integers(24)] = 0
                made[rng.integers(24)] = fmt.max_word
            one, two = (
                of_words(number, made.tobytes(), digits, [-8, -9], sparse=sparse) for made in words
            )
            yield one, two


def _seeds() -> Iterator[bytes]:
    for old, new in _pairs():
        parent, child = parsed(old), parsed(new)
        assert parent is not None
        assert child is not None
        known = _whole(parent), _whole(child)
        for codec in (_BASE, 17, _EXACT):
            if codec != 17 or len(known[0].spec.digits) > 1:
                yield packed([codec, old, new, _told(codec, *known)])
    for size in (1, 2, 4, 8):
        one, two = bytes(range(0, 240, 5)), bytes(range(1, 241, 5))
        yield packed([_OPAQUE, one, size, opaque_difference(one, two, size)])


def _change(value: Any, rng: Random, mutate: MUTATE) -> Any:
    """Change the difference most often, else one of both blocks and what follows from it."""
    codec, old, new, parts = value
    if rng.random() < 0.7 or codec == _OPAQUE:
        at = rng.randrange(len(parts)) if parts and rng.random() < 0.95 else None
        if at is None:
            return [codec, old, new, changed(parts, rng, mutate)]
        return [codec, old, new, [*parts[:at], changed(parts[at], rng, mutate), *parts[at + 1 :]]]
    pair = [old, new]
    which = rng.randrange(2)
    pair[which] = mended(changed(pair[which], rng, mutate))
    return [rng.choice((codec, _BASE, 17, _EXACT)), *pair, parts]


HARNESSES = (Harness("difference", _run, _seeds, 20, Form(unpacked, packed, _change), 4096),)
