"""What is to be stored, and what of it lies in the store already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from p2uformat.container import Container
from p2uformat.container.header import Header
from p2uformat.store.keys import PackId, bundle_key
from p2uformat.stored.extents import Extents
from p2uformat.stored.manifest import blobs_of
from p2uformat.stored.place import StoredPlace

__all__ = ["Known", "Offer", "OfferedChunk", "PackPlace", "arrange"]

# So little in between is read in vain sooner than by a request of its own.
_SHORT_BYTES: Final = 1 << 16


class OfferedChunk(NamedTuple):
    """A chunk that belongs to an artifact.

    Attributes
    ----------
    tier : int
        Number of its tier.
    id : bytes
        Its digest.
    length : int
        Bytes.
    """

    tier: int
    id: bytes
    length: int


class PackPlace(NamedTuple):
    """Where a chunk lies.

    Attributes
    ----------
    pack : PackId
        The pack.
    offset : int
        Where it begins there.
    """

    pack: PackId
    offset: int


@dataclass(frozen=True, slots=True)
class Offer:
    """An artifact that is to be stored.

    Parameters
    ----------
    header : Header
        Of its file.
    blobs : tuple of bytes
        Its roots, and the pages that it holds itself.
    chunks : tuple of OfferedChunk
        In the order of the file, each once; a first part of them if only some tiers are stored.
    read : callable
        Returns the bytes of a chunk, checked.
    sketch : bytes
        Of its blocks.
    ancestors : tuple of StoredPlace
        What it needs, nearest first, in the same store.
    """

    header: Header
    blobs: tuple[bytes, ...]
    chunks: tuple[OfferedChunk, ...]
    read: Callable[[OfferedChunk], bytes | memoryview]
    sketch: bytes
    ancestors: tuple[StoredPlace, ...] = ()

    @property
    def payload(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.length for chunk in self.chunks)


class Known:
    """What artifacts of a store have: chunks, roots and pages, and where they lie."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[int, bytes], PackPlace] = {}
        self.blobs: dict[bytes, tuple[bytes, int, int]] = {}

    def add(self, place: StoredPlace, container: Container) -> None:
        """Add an artifact that is open."""
        record = place.found.record
        placed = place.placed
        extents = Extents(container.header.manifest_length, placed, record)
        for page, offsets in zip(container.pages, container.offsets, strict=True):
            entries = page.encoding.chunks if page.encoding is not None else ()
            for entry, offset in zip(entries, offsets, strict=False):
                found = extents.of_chunk(offset, entry.length)
                if found is not None:
                    self.chunks.setdefault((entry.tier, entry.id), PackPlace(*found))
        for name, blob, _ in blobs_of(placed, place.bundles):
            where = record.bundles[blob.bundle], blob.offset, blob.length
            self.blobs.setdefault(name, where)

    def add_chunks(self, chunks: Iterable[tuple[OfferedChunk, PackPlace]]) -> None:
        """Add chunks of which nothing else is known than where they lie."""
        for chunk, place in chunks:
            self.chunks.setdefault((chunk.tier, chunk.id), place)

    def without(self, keys: frozenset[str]) -> Known:
        """Return the same without what lies in packs and bundles of these keys."""
        left = Known()
        left.chunks = {
            name: place for name, place in self.chunks.items() if place.pack.key not in keys
        }
        left.blobs = {
            name: found for name, found in self.blobs.items() if bundle_key(found[0]) not in keys
        }
        return left


def arrange(chunks: Sequence[OfferedChunk], known: Known) -> list[PackPlace | None]:
    """Return where each chunk lies that needs not be stored; None for the others.

    Between chunks that are stored anew a short run of known ones is stored again, so that all of
    them are read by one request.

    Parameters
    ----------
    chunks : sequence of OfferedChunk
        In the order of the file.
    known : Known
        What there is.
    """
    places = [known.chunks.get((chunk.tier, chunk.id)) for chunk in chunks]
    start = 0
    while start < len(places):
        stop = start
        while stop < len(places) and (places[stop] is None) == (places[start] is None):
            stop += 1
        if places[start] is not None and _is_short(chunks, start, stop):
            places[start:stop] = [None] * (stop - start)
        start = stop
    return places


def _is_short(chunks: Sequence[OfferedChunk], start: int, stop: int) -> bool:
    """Return whether a run of known chunks lies between new ones of its tier, and is short."""
    if start == 0 or stop == len(chunks):
        return False
    if not chunks[start - 1].tier == chunks[start].tier == chunks[stop].tier:
        return False
    return sum(chunk.length for chunk in chunks[start:stop]) < _SHORT_BYTES
