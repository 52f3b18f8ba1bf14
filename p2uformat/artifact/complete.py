"""Which tiers and tensors are whole in the bytes that are here (SPEC.md, section 9)."""

from __future__ import annotations

from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.needs import holds
from p2uformat.artifact.read import BlockReader
from p2uformat.container import Container

__all__ = ["complete_tiers", "is_complete"]


def complete_tiers(container: Container, parent: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names of the tiers that are whole, base first.

    Of a damaged page nobody knows which chunks it lists, so with one of those only a file of full
    length has complete tiers.

    Parameters
    ----------
    container : Container
        The file.
    parent : tuple of str or None
        The complete tiers of its parent, if it needs one and that is at hand.
    """
    if container.encoding.parent is not None:
        return _own(container)[: len(parent or ())]
    return _own(container)


def _own(container: Container) -> tuple[str, ...]:
    if container.whole:
        return container.tiers
    if container.layout is None:
        return ()
    whole = [True] * len(container.tiers)
    for page in container.pages:
        chunks = page.encoding.chunks if page.encoding is not None else ()
        for index, chunk in enumerate(chunks):
            whole[chunk.tier] &= container.held(page.number, index)
    count = whole.index(False) if False in whole else len(whole)
    return container.tiers[:count]


def is_complete(reader: BlockReader, stored: StoredTensor | StoredFile, tier: int) -> bool:
    """Return whether a tensor is part of a tier, and all that it needs there is here."""
    if stored.record.layer_tier(0) > tier:
        return False
    return all(holds(reader, stored, block, tier) for block in range(stored.blocks))
