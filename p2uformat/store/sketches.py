"""The index in a store: read, added to, and put together now and then (SPEC.md, 20.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from p2uformat.errors import CorruptData, NotFound, UnsupportedFormat
from p2uformat.limits import MAX_LIST_BYTES
from p2uformat.store.index import encode_index, parse_index
from p2uformat.store.keys import INDEX
from p2uformat.store.objects import Objects

__all__ = ["add_sketch", "merge_index", "read_index"]

_MANY: Final = 16


def read_index(objects: Objects) -> dict[bytes, bytes]:
    """Return all sketches by content root; what cannot be read is left out."""
    return _read(objects, [stat.key for stat in objects.scan(INDEX)])


def add_sketch(objects: Objects, writer: bytes, root: bytes, sketch: bytes) -> None:
    """Add the sketch of an artifact, and put the index together if it is in many parts."""
    objects.create(f"{INDEX}{writer.hex()}", encode_index({root: sketch}))
    if len(objects.scan(INDEX)) > _MANY:
        merge_index(objects, writer)


def merge_index(objects: Objects, writer: bytes, roots: Iterable[bytes] | None = None) -> None:
    """Put all parts into one, of some content roots only if so asked."""
    keys = [stat.key for stat in objects.scan(INDEX)]
    entries = _read(objects, keys)
    if roots is not None:
        kept = frozenset(roots)
        entries = {root: sketch for root, sketch in entries.items() if root in kept}
    mine = f"{INDEX}{writer.hex()}"
    objects.put(mine, encode_index(entries))
    objects.delete([key for key in keys if key != mine])


def _read(objects: Objects, keys: Iterable[str]) -> dict[bytes, bytes]:
    entries: dict[bytes, bytes] = {}
    for key in keys:
        try:
            entries.update(parse_index(objects.get(key, most=MAX_LIST_BYTES)))
        except (CorruptData, NotFound, UnsupportedFormat):
            continue
    return entries
