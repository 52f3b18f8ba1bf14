"""Reading what packs say of themselves."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from p2uformat.errors import CorruptData
from p2uformat.store.objects import Objects
from p2uformat.store.packs import FOOTER_BYTES, Trailer

__all__ = ["read_trailer"]

_TAIL_BYTES: Final = 1 << 15  # the trailer of most packs


def read_trailer(objects: Objects, key: str, size: int) -> Trailer:
    """Return what a pack says of itself.

    Parameters
    ----------
    objects : Objects
        The store's place.
    key : str
        The pack.
    size : int
        Its bytes.

    Raises
    ------
    CorruptData, UnsupportedFormat
        If it is cut short, or breaks a rule; the error names it.
    NotFound
        If it is gone.
    """
    try:
        with closing(objects.reader(key)) as reader:
            start = max(size - _TAIL_BYTES, 0)
            tail = reader.read(start, size - start)
            length = Trailer.length(tail[-FOOTER_BYTES:], size) + FOOTER_BYTES
            if length > len(tail):
                tail = reader.read(size - length, length)
            return Trailer.parse(tail[len(tail) - length :], size)
    except CorruptData as error:
        raise error.locate(artifact=f"{objects.name}/{key}") from error.__cause__
