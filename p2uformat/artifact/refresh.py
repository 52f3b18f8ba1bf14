"""A block's layers as they would be stored without a parent, whatever they are stored as."""

from __future__ import annotations

import math

from p2uformat.artifact.bodies import Body, fresh_bodies
from p2uformat.artifact.catalog import StoredTensor
from p2uformat.artifact.read import BlockReader
from p2uformat.artifact.undo import block_ladder, block_layers, joined
from p2uformat.quant.bitplane import BlockLayers

__all__ = ["fresh_block", "fresh_ladder"]


def fresh_ladder(reader: BlockReader, stored: StoredTensor, block: int) -> BlockLayers:
    """Return all layers of a block, those stored as differences undone.

    Raises
    ------
    CorruptData, Incomplete
        If one is damaged or not here.
    """
    parts = block_layers(reader, stored, block, reader.exact)
    ladder = block_ladder(reader, stored, block, parts[: reader.exact])
    with reader.located(stored, 0, block):
        ladder.base.check()
    with reader.located(stored, reader.exact, block):
        exact = ladder.exact_sections(joined(parts[reader.exact]))
    digits = tuple(bytes(payload) for payload in ladder.digits)
    return BlockLayers(ladder.base, digits, exact, (), {})


def fresh_block(layers: BlockLayers, stored: StoredTensor, planes: int) -> tuple[Body, ...]:
    """Return the layers of a block, ready to be stored."""
    row = math.prod(stored.record.shape[1:]) if len(stored.record.shape) > 1 else 1
    return fresh_bodies(layers, row, planes)
