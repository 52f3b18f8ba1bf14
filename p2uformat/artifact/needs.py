"""Which chunks a block is made of, in the artifact itself and in its parents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from p2uformat.artifact.catalog import SHARED, Place, StoredFile, StoredTensor
from p2uformat.artifact.read import BlockReader, stored_tiers
from p2uformat.container import Container

__all__ = ["containers", "holds", "needs"]

Stored = StoredTensor | StoredFile
Need = tuple[Container, Place] | None


def containers(reader: BlockReader) -> Iterator[Container]:
    """Yield what is read from: the artifact, its parent, that one's, and so on."""
    above: BlockReader | None = reader
    while above is not None:
        yield above.container
        above = above.parent


def holds(reader: BlockReader, stored: Stored, block: int, tier: int) -> bool:
    """Return whether all that a block needs at a tier is here, and in the parent."""
    return all(
        need is not None and need[0].held(need[1].page, need[1].chunk)
        for need in needs(reader, stored, block, stored_tiers(stored, tier))
    )


def needs(
    reader: BlockReader,
    stored: Stored,
    block: int,
    layers: Sequence[int],
    seen: set[tuple[int, int, int]] | None = None,
) -> Iterator[Need]:
    """Yield the chunks that layers of a block are made of, and their containers.

    None stands for what is not known, because a page is damaged, or for a parent that is not at
    hand.
    """
    seen = set() if seen is None else seen
    for layer in layers:
        place = stored.place(layer, block)
        if place is None:
            yield None
            continue
        if place is not SHARED:
            yield reader.container, place
            if not reader.is_difference(stored, layer, block):
                continue
        yield from _above(reader, stored, block, layer, seen)


def _above(
    reader: BlockReader, stored: Stored, block: int, layer: int, seen: set[tuple[int, int, int]]
) -> Iterator[Need]:
    """Yield what a shared layer, or a difference, needs of the parent."""
    if reader.parent is None or reader.lineage is None:
        yield None
        return
    if stored.place(layer, block) is SHARED:
        found, number, part = reader.lineage.shared(stored, layer, block)
    else:
        found, number, part = reader.lineage.same_block(stored, block), layer, block
    # A difference below needs all layers up to its own, so all of them are asked for.
    key = id(found), part, number
    if key not in seen:
        seen.add(key)
        needed = stored_tiers(found, found.record.layer_tier(number))
        yield from needs(reader.parent, found, part, needed, seen)
