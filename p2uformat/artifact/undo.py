"""A block's layers, where some of them are stored as differences from a parent's (SPEC.md, 7.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.digest import digest_of
from p2uformat.errors import DigestMismatch, Malformed
from p2uformat.kernels import Buffer, kernels
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.difference import from_opaque_difference
from p2uformat.quant.ladder import Ladder
from p2uformat.quant.layers import BaseLayer

if TYPE_CHECKING:
    from p2uformat.artifact.read import BlockReader

__all__ = ["block_ladder", "block_layers", "joined"]

Stored = StoredTensor | StoredFile
Parts = Sequence[Buffer]


def block_layers(reader: BlockReader, stored: Stored, block: int, last: int) -> Sequence[Parts]:
    """Return the pieces of the canonical payloads of a block's layers, from the first to `last`.

    What was a difference has been compared with its layer digest.

    Raises
    ------
    CorruptData
        If one of them, or what it is a difference from, is damaged.
    Incomplete
        If one of them is not here, or the parent is not.
    """
    return _Walk().layers(reader, stored, block, last)[: last + 1]


def block_ladder(
    reader: BlockReader, stored: StoredTensor, block: int, layers: Sequence[Parts]
) -> Ladder:
    """Return what is known of a block by its layers, its words too if all of them are given."""
    spec = reader.spec(stored, block)
    with reader.located(stored, 0, block):
        base = BaseLayer.parse(spec.format, spec.weights, spec.segments, joined(layers[0]))
    lossy = len(spec.digits)
    digits = [joined(parts) for parts in layers[1:lossy]]
    if len(layers) <= lossy:
        return Ladder(spec, base, digits)
    words = np.empty(spec.weights, spec.format.word)
    with reader.located(stored, lossy, block):
        kernels().exact(spec, base, digits, layers[lossy], words)
    return Ladder(spec, base, digits, words)


class _Walk:
    """One way down a chain of parents; each block on it is taken apart once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], list[Parts]] = {}

    def layers(self, reader: BlockReader, stored: Stored, block: int, last: int) -> list[Parts]:
        known = self._known.setdefault((id(reader), id(stored), block), [])
        while len(known) <= last:
            known.append(self._layer(reader, stored, block, known))
        return known

    def _layer(self, reader: BlockReader, stored: Stored, block: int, below: list[Parts]) -> Parts:
        layer = len(below)
        own = reader.owner(stored, layer, block)
        if not own.reader.is_difference(*own.layer):
            return own.reader.sections(*own.layer)
        if own.reader is not reader or own.stored is not stored or own.block != block:
            return self.layers(own.reader, own.stored, own.block, own.number)[own.number]
        before, old = reader.before(stored, layer, block)
        parts = reader.sections(stored, layer, block)
        known = self.layers(before, old, block, layer)[: layer + 1]
        if isinstance(stored, StoredTensor) and stored.record.quantizer == "bitplane":
            assert isinstance(old, StoredTensor)
            ladder = block_ladder(before, old, block, known)
            with reader.located(stored, layer, block):
                made = _from_difference(reader.spec(stored, block), ladder, below, parts)
        else:
            with reader.located(stored, layer, block):
                made = _opaque(stored, joined(known[0]), parts)
        _check_digest(reader, stored, block, layer, made)
        return made


def _opaque(stored: Stored, old: Buffer, parts: Parts) -> Parts:
    size = stored.geometry.element_size
    if len(old) % size:
        raise Malformed(f"a block of {len(old)} bytes has no elements of {size}")
    return (from_opaque_difference(old, parts, size),)


def _from_difference(spec: BlockSpec, parent: Ladder, below: list[Parts], parts: Parts) -> Parts:
    """Return the layer above those that are known, from its difference."""
    if not below:
        base = kernels().from_base_difference(parent.base, parts, spec.format.word)
        return (base.payload(),)
    base = BaseLayer.parse(spec.format, spec.weights, spec.segments, joined(below[0]))
    same = base.flags == parent.base.flags and np.array_equal(base.steps, parent.base.steps)
    if not same:
        raise Malformed("a difference from a block on another grid")
    child = Ladder(spec, base, [joined(layer) for layer in below[1:]])
    if len(below) < len(spec.digits):
        return (kernels().from_digits_difference(parent, child, len(below), parts),)
    return kernels().from_exact_difference(parent, child, parts).sections()


def _check_digest(
    reader: BlockReader, stored: Stored, block: int, layer: int, parts: Parts
) -> None:
    expected, got = stored.digest(layer, block), digest_of(parts)
    if got != expected:
        with reader.located(stored, layer, block):
            raise DigestMismatch(
                f"expected layer digest {expected.hex()}, got {got.hex()}",
                region="layer",
                expected=expected.hex(),
                got=got.hex(),
            )


def joined(parts: Parts) -> Buffer:
    """Return pieces put together."""
    return parts[0] if len(parts) == 1 else b"".join(parts)
