"""Packs that a writer left behind who did not come to an end: the next one need not send them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from p2uformat.errors import CorruptData, NotFound, UnsupportedFormat
from p2uformat.limits import MAX_ENTRY_BYTES
from p2uformat.store.keys import PINS, PackId, end_key, packs_of, writer_in
from p2uformat.store.objects import Objects
from p2uformat.store.pins import End, Outcome
from p2uformat.store.trailers import read_trailer
from p2uformat.stored.offer import OfferedChunk, PackPlace

__all__ = ["left_behind"]

_MOST_WRITERS: Final = 16


def left_behind(objects: Objects) -> Iterator[tuple[OfferedChunk, PackPlace]]:
    """Yield the chunks of packs whose writers committed nothing, those of the last ones only.

    Of a writer who is still at work too: packs do not change once they are there.
    """
    for writer in _uncommitted(objects):
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


def _uncommitted(objects: Objects) -> list[bytes]:
    stats = objects.scan(PINS)
    keys = {stat.key for stat in stats}
    found: dict[bytes, float] = {}
    for stat in stats:
        writer = writer_in(stat.key)
        if writer is not None and not stat.key.endswith(".end"):
            found[writer] = max(stat.modified, found.get(writer, 0.0))
    latest = sorted(found, key=lambda writer: -found[writer])
    open_ = [writer for writer in latest if not _committed(objects, writer, keys)]
    return open_[:_MOST_WRITERS]


def _committed(objects: Objects, writer: bytes, keys: set[str]) -> bool:
    key = end_key(writer)
    if key not in keys:
        return False
    try:
        return End.parse(objects.get(key, most=MAX_ENTRY_BYTES)).outcome is Outcome.COMMIT
    except (CorruptData, NotFound, UnsupportedFormat):
        return True
