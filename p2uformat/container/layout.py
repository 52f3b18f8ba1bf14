"""Where each chunk lies: it follows from the pages alone (SPEC.md, section 9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from p2uformat.errors import Malformed
from p2uformat.manifest import ChunkEntry, EncodingPage

__all__ = ["Layout", "in_order", "place"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets of all chunks.

    Parameters
    ----------
    offsets : tuple of tuple of int
        For each page, for each of its chunks, the offset in the file.
    tier_bytes : tuple of int
        Bytes stored for each tier.
    end : int
        Where the last chunk ends.
    """

    offsets: tuple[tuple[int, ...], ...]
    tier_bytes: tuple[int, ...]
    end: int


def place(pages: Sequence[EncodingPage], start: int, tiers: int) -> Layout:
    """Lay out the chunks of all pages.

    Tier by tier, so that a prefix of the file holds the tiers it reaches whole; a chunk that was
    met before in its tier is not stored again.

    Raises
    ------
    Malformed
        If one id comes with two lengths.
    """
    offsets: list[list[int]] = [[] for _ in pages]
    ends = [start]
    for tier in range(tiers):
        seen: dict[bytes, tuple[int, int]] = {}
        at = ends[-1]
        for page, placed in zip(pages, offsets, strict=True):
            for chunk in _of_tier(page.chunks, len(placed), tier):
                found = seen.get(chunk.id)
                if found is None:
                    found = seen[chunk.id] = (at, chunk.length)
                    at += chunk.length
                if found[1] != chunk.length:
                    raise Malformed(f"one chunk id with {found[1]} and {chunk.length} bytes")
                placed.append(found[0])
        ends.append(at)
    sizes = tuple(after - before for before, after in pairwise(ends))
    return Layout(tuple(map(tuple, offsets)), sizes, ends[-1])


def _of_tier(chunks: Sequence[ChunkEntry], first: int, tier: int) -> Sequence[ChunkEntry]:
    """Return the chunks of a tier; tiers ascend, and `first` is the number of those below."""
    end = first
    while end < len(chunks) and chunks[end].tier == tier:
        end += 1
    return chunks[first:end]


def in_order(pages: Sequence[EncodingPage], tiers: int) -> Iterator[ChunkEntry]:
    """Yield the chunks of all pages in the order of the file, each once."""
    for tier in range(tiers):
        seen: set[bytes] = set()
        for page in pages:
            for chunk in page.chunks:
                if chunk.tier == tier and chunk.id not in seen:
                    seen.add(chunk.id)
                    yield chunk
