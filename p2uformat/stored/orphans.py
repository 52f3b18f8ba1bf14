"""Packs that a writer left behind who did not come to an end: the next one need not send them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from p2uformat.errors import CorruptData, NotFound, UnsupportedFormat
from p2uformat.store.keys import PINS, PackId, packs_of, writer_in
from p2uformat.store.objects import Objects
from p2uformat.store.trailers import read_trailer
from p2uformat.stored.offer import OfferedChunk, PackPlace

__all__ = ["left_behind"]

_MOST_WRITERS: Final = 16


def left_behind(objects: Objects) -> Iterator[tuple[OfferedChunk, PackPlace]]:
    """Yield the chunks of packs whose writers did not come to their end, of the last ones only.

    Of a writer who is still at work too: packs do not change once they are there.
    """
    for writer in _at_work(objects):
        for stat in objects.scan(packs_of(writer)):
            pack = PackId.from_key(stat.key)
            if pack is None:
                continue
            try:
                trailer = read_trailer(objects, stat.key, stat.size)
            except (CorruptData, NotFound, UnsupportedFormat):
                continue  # the collector's business
            for chunk in trailer.placed():
                offered = OfferedChunk(trailer.tier, chunk.id, chunk.length)
                yield offered, PackPlace(pack, chunk.offset)


def _at_work(objects: Objects) -> list[bytes]:
    """Return the writers that have pins, the last ones first."""
    found: dict[bytes, float] = {}
    for stat in objects.scan(PINS):
        writer = writer_in(stat.key)
        if writer is not None and not stat.key.endswith(".end"):
            found[writer] = max(stat.modified, found.get(writer, 0.0))
    return sorted(found, key=lambda writer: -found[writer])[:_MOST_WRITERS]
