"""Damage to the layers of a block, and to bytes: one seed, one damage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from p2uformat.floats import FORMATS
from p2uformat.quant.split import OUTLIER
from tests.kernel_cases import LADDERS, PLANES, Block

Rng = np.random.Generator


def spoiled(rng: Rng, data: bytes) -> bytes:
    """Return bytes with a bit flipped, a byte set, or a part cut out, doubled, or added."""
    kind = int(rng.integers(8)) if data else 7
    at = int(rng.integers(len(data))) if data else 0
    out = bytearray(data)
    if kind < 4:
        out[at] ^= 1 << int(rng.integers(8))
    elif kind == 4:
        out[at] = int(rng.choice([0, 1, 127, 128, 254, 255]))
    elif kind == 5:
        del out[at : at + int(rng.choice([1, 1, 8, len(data)]))]
    elif kind == 6:
        out[at:at] = out[at : at + int(rng.integers(1, 20))]
    else:
        out += rng.bytes(int(rng.integers(1, 9))) if rng.random() < 0.5 else bytes(1)
    return bytes(out)


def _flipped(rng: Rng, values: Any) -> Any:
    """Return an array with one bit flipped."""
    data = bytearray(values.tobytes())
    if data:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return np.frombuffer(bytes(data), values.dtype)


def _base(rng: Rng, block: Block) -> Block:
    base = block.base
    kind = int(rng.integers(8))
    if kind < 2:
        return block.with_base(symbols=_flipped(rng, base.symbols))
    if kind == 2:
        symbols = base.symbols.copy()
        if len(symbols):
            symbols[rng.integers(len(symbols))] = rng.choice([0, 126, 127, 128, 254, 255])
        return block.with_base(symbols=symbols)
    if kind == 3:
        return block.with_base(steps=_flipped(rng, base.steps))
    if kind == 4:
        return block.with_base(outlier_index=_flipped(rng, base.outlier_index))
    if kind == 5:
        return block.with_base(outlier_words=_flipped(rng, base.outlier_words))
    if kind == 6:
        return block.with_base(flags=base.flags ^ (1 << int(rng.integers(3))))
    return _listed(rng, block)


def _listed(rng: Rng, block: Block) -> Block:
    """Add an outlier, listed or not, or take one from the list."""
    base = block.base
    symbols, index, words = base.symbols.copy(), base.outlier_index, base.outlier_words
    if len(index) and rng.random() < 0.5:
        return block.with_base(outlier_index=index[:-1], outlier_words=words[:-1])
    if len(symbols):
        at = np.uint32(rng.integers(len(symbols)))
        symbols[at] = OUTLIER
        place = np.searchsorted(index, at)
        index = np.insert(index, place, at)
        word = np.frombuffer(rng.bytes(8), words.dtype)[0]
        words = np.insert(words, place, word)
    return block.with_base(symbols=symbols, outlier_index=index, outlier_words=words)


def _plane(rng: Rng, block: Block) -> Block:
    """Flip a bit of a byte plane where an outlier is, which has none."""
    index, planes = block.base.outlier_index, block.spec.planes
    if block.base.sparse or not planes or not len(index):
        return block
    parts = [bytearray(part) for part in block.rest]
    plane, at = parts[1 + int(rng.integers(planes))], int(rng.choice(index))
    if at < len(plane):
        plane[at] ^= 1 << int(rng.integers(8))
    return replace(block, rest=tuple(map(bytes, parts)))


def damaged(rng: Rng, block: Block) -> Block:
    """Return a block with something wrong in one of its layers; sometimes it is sound by luck."""
    kind = int(rng.integers(10))
    if kind < 4:
        return _base(rng, block)
    if kind < 6 and block.digits:
        parts = list(block.digits)
        at = int(rng.integers(len(parts)))
        parts[at] = spoiled(rng, parts[at])
        return replace(block, digits=tuple(parts))
    if kind == 6:
        return _plane(rng, block)
    parts = list(block.rest)
    at = int(rng.integers(len(parts)))
    parts[at] = spoiled(rng, parts[at])
    return replace(block, rest=tuple(parts))


def random_block(rng: Rng, name: str, most: int = 700) -> Block:
    """Return a block like those of weights, with a few wild ones among them."""
    fmt = FORMATS[name]
    count = int(rng.integers(1, most))
    scale = float(
        rng.choice(
            {"F64": [1e-310, 1e-3], "F32": [1e-44, 1e-38, 1e-3, 1e36]}.get(
                name, [1e-7, 1e-4, 0.02, 1.0, 100.0]
            )
        )
    )
    values = rng.standard_normal(count) * scale
    with np.errstate(over="ignore", under="ignore"):
        words = values.astype(fmt.numpy).view(fmt.word).copy()
    wild = rng.random(count) < rng.choice([0.0, 0.0, 0.02, 0.5])
    words[wild] = np.frombuffer(rng.bytes(8 * count), fmt.word)[:count][wild]
    zeros = rng.random(count) < rng.choice([0.0, 0.0, 0.1, 0.9])
    words[zeros] = np.where(rng.random(count) < 0.8, 0, 1 << fmt.sign_bit).astype(fmt.word)[zeros]
    segment = int(rng.choice([1, 7, 64, 100, 255, 256, 257, 1000]))
    centre = int(np.floor(np.log2(scale))) - 4
    steps = rng.integers(centre - 1, centre + 2, -(-count // segment)).astype(np.int16)
    if rng.random() < 0.4:
        steps[:] = centre
    digits = LADDERS[rng.integers(len(LADDERS))] if rng.random() < 0.5 else (0, 4)
    deltas = tuple((int(a), int(b)) for a, b in rng.integers(0, 256, (len(digits), 2)))
    return Block.of(
        fmt,
        words,
        steps,
        segment,
        digits,
        sparse=bool(rng.random() < 0.4),
        planes=int(rng.choice(PLANES[name])),
        deltas=deltas,
    )
