"""From a bad chunk to the tensors, tiers and elements that it hits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from p2uformat.artifact.contents import Contents
from p2uformat.artifact.types import Damage
from p2uformat.container import BadChunk, Container, Page, StoredChunk
from p2uformat.errors import DigestMismatch, Malformed
from p2uformat.manifest import Record, TensorRecord

__all__ = ["chunk_damage", "misplaced_damage"]

_Hit = tuple[Record, int, tuple[int, int]]


def chunk_damage(contents: Contents, bad: BadChunk) -> list[Damage]:
    """Return what a bad chunk means, for each tensor, tier and element range that uses it."""
    tiers = contents.container.tiers
    found = []
    for number, index in bad.chunk.uses:
        for record, tier, elements in _hits(contents.container.pages[number], index):
            found.append(
                Damage(
                    record.name if isinstance(record, TensorRecord) else None,
                    tiers[tier],
                    elements,
                    "chunk",
                    bad.chunk.offset,
                    bad.chunk.id.hex(),
                    bad.got.hex(),
                    DigestMismatch.code,
                    None if isinstance(record, TensorRecord) else record.path,
                )
            )
    return found


def _hits(page: Page, chunk: int) -> Iterator[_Hit]:
    """Yield record, tier and element range of all layers in a chunk; neighbours as one range."""
    assert page.content is not None
    assert page.encoding is not None
    for record, layers in zip(page.content.records, page.encoding.layers, strict=True):
        cut = record.geometry
        for number, layer in enumerate(layers):
            blocks = [b for b, pair in enumerate(layer) if pair is not None and pair[0] == chunk]
            ranges = [cut.block_range(record.first_block + block) for block in blocks]
            for elements in _merged(ranges):
                yield record, record.layer_tier(number), elements


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in ranges:
        if merged and merged[-1][1] == start:
            start = merged.pop()[0]
        merged.append((start, stop))
    return merged


def misplaced_damage(
    container: Container, chunks: Sequence[StoredChunk]
) -> list[tuple[StoredChunk, Damage]]:
    """Return the chunks that a wrong table, standing in for a damaged page, puts nowhere."""
    if container.layout is not None:
        return []
    first, end = container.header.manifest_length, container.header.file_length
    return [
        (chunk, _misplaced(chunk, first, end))
        for chunk in chunks
        if not first <= chunk.offset <= end - chunk.length
    ]


def _misplaced(chunk: StoredChunk, first: int, end: int) -> Damage:
    expected = f"between {first} and {end - chunk.length}"
    return Damage(None, None, None, "table", first, expected, str(chunk.offset), Malformed.code)
