"""Putting a record together: which bundles and packs it names, and what a new bundle holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from p2uformat.digest import digest
from p2uformat.store.keys import PackId
from p2uformat.store.records import Blob, Extent, Placed, Record, joined
from p2uformat.stored.manifest import blobs_of
from p2uformat.stored.offer import Known, Offer, PackPlace
from p2uformat.stored.place import StoredPlace

__all__ = ["build_record"]

# A record is read, and two bundles: so an artifact opens with as many requests however many
# versions came before it.
_MOST_BUNDLES: Final = 2

_Page = tuple[bytes, bytes]  # digest and bytes
Key = TypeVar("Key")


def build_record(
    offer: Offer, places: Sequence[PackPlace], known: Known, writer: bytes
) -> tuple[Record, bytes]:
    """Return the record of an artifact, and the bundle that has to be written for it.

    Parameters
    ----------
    offer : Offer
        The artifact.
    places : sequence of PackPlace
        Where its chunks lie.
    known : Known
        Where roots and pages lie already.
    writer : bytes
        Id of the writer, and of the bundle.
    """
    pages = [[(digest(blob), blob) for blob in offer.blobs]]
    pages += [_pages_of(place) for place in offer.ancestors]
    bundles = _Bundling(pages, known, writer)
    packs = _Numbers[PackId]()
    mine = Placed(
        offer.header.encode(),
        bundles.blobs(pages[0]),
        joined(
            [
                Extent(packs.of(place.pack), place.offset, chunk.length)
                for chunk, place in zip(offer.chunks, places, strict=True)
            ]
        ),
    )
    others = [
        _remapped(place, bundles.blobs(blobs), packs)
        for place, blobs in zip(offer.ancestors, pages[1:], strict=True)
    ]
    record = Record(writer, (mine, *others), bundles.ids, tuple(packs.known))
    return record, bytes(bundles.data)


def _pages_of(place: StoredPlace) -> list[_Page]:
    return [(name, data) for name, _, data in blobs_of(place.placed, place.bundles)]


def _remapped(place: StoredPlace, blobs: tuple[Blob, ...], packs: _Numbers[PackId]) -> Placed:
    record, placed = place.found.record, place.placed
    extents = tuple(
        extent._replace(pack=packs.of(record.packs[extent.pack])) for extent in placed.extents
    )
    return Placed(placed.header, blobs, extents)


class _Numbers(Generic[Key]):
    """Numbers keys in the order in which they are met."""

    def __init__(self) -> None:
        self.known: dict[Key, int] = {}

    def of(self, key: Key) -> int:
        return self.known.setdefault(key, len(self.known))


class _Bundling:
    """Chooses old bundles, and lays what they lack into a new one."""

    def __init__(self, pages: Sequence[Sequence[_Page]], known: Known, writer: bytes) -> None:
        self.data = bytearray()
        self._writer = writer
        self._places: dict[bytes, tuple[bytes, int, int]] = {}
        wanted = {name: data for blobs in pages for name, data in blobs}
        kept = _most_used(wanted, known)
        for name, data in wanted.items():
            found = known.blobs.get(name)
            if found is not None and found[0] in kept:
                self._places[name] = found
            else:
                self._places[name] = writer, len(self.data), len(data)
                self.data += data
        self._numbers = _Numbers[bytes]()

    @property
    def ids(self) -> tuple[bytes, ...]:
        return tuple(self._numbers.known)

    def blobs(self, pages: Sequence[_Page]) -> tuple[Blob, ...]:
        found = (self._places[name] for name, _ in pages)
        return tuple(Blob(self._numbers.of(key), offset, length) for key, offset, length in found)


def _most_used(wanted: dict[bytes, bytes], known: Known) -> frozenset[bytes]:
    """Return the bundles to be kept: that with the most of what is wanted, or two that have all."""
    sizes: Counter[bytes] = Counter()
    for name, data in wanted.items():
        if name in known.blobs:
            sizes[known.blobs[name][0]] += len(data)
    complete = all(name in known.blobs for name in wanted)
    most = _MOST_BUNDLES if complete and len(sizes) <= _MOST_BUNDLES else _MOST_BUNDLES - 1
    return frozenset(key for key, _ in sizes.most_common(most))
