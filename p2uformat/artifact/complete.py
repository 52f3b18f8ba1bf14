"""Which tiers and tensors are whole in the bytes that are here (SPEC.md, section 9)."""

from __future__ import annotations

from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.read import stored_tiers
from p2uformat.container import Container

__all__ = ["complete_tiers", "is_complete"]


def complete_tiers(container: Container) -> tuple[str, ...]:
    """Return the names of the tiers that are whole, base first.

    Of a damaged page nobody knows which chunks it lists, so with one of those only a file of full
    length has complete tiers.
    """
    if container.size == container.header.file_length:
        return container.tiers
    if container.layout is None:
        return ()
    ends = [0] * len(container.tiers)
    for page in container.pages:
        assert page.encoding is not None
        for chunk, offset in zip(page.encoding.chunks, container.offsets[page.number], strict=True):
            ends[chunk.tier] = max(ends[chunk.tier], offset + chunk.length)
    whole = [end <= container.size for end in ends]
    count = whole.index(False) if False in whole else len(whole)
    return container.tiers[:count]


def is_complete(container: Container, stored: StoredTensor | StoredFile, tier: int) -> bool:
    """Return whether a tensor is part of a tier, and all that it needs there is here."""
    if stored.record.layer_tier(0) > tier:
        return False
    for layer in stored_tiers(stored, tier):
        for place in stored.places(layer):
            if place is None or not container.held(place.page, place.chunk):
                return False
    return True
