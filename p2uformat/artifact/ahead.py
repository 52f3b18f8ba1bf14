"""What will be read next, told to files that lie far away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.needs import containers, needs
from p2uformat.artifact.read import BlockReader, stored_tiers
from p2uformat.container import Container
from p2uformat.files import BytesReader, FileReader
from p2uformat.reading import Piece

__all__ = ["expecting"]

Stored = StoredTensor | StoredFile
Wanted = tuple[Stored, int, int]
"""A tensor or file, a block of it, and the number of the tier at which it will be read."""


@contextmanager
def expecting(reader: BlockReader, wanted: Iterable[Wanted]) -> Iterator[None]:
    """Let chunks be fetched before the block asks for them; nothing for files of this machine.

    Parameters
    ----------
    reader : BlockReader
        What will be read from, and its parents.
    wanted : iterable
        The blocks, in the order in which they will be read.
    """
    if all(isinstance(box.file, FileReader | BytesReader) for box in containers(reader)):
        yield
        return
    pieces: dict[int, tuple[Container, dict[int, Piece]]] = {}
    for stored, block, tier in wanted:
        for need in needs(reader, stored, block, stored_tiers(stored, tier)):
            if need is None:
                continue
            container, place = need
            if not container.held(place.page, place.chunk):
                continue
            entry = container.entry(place.page, place.chunk)
            offset = container.offsets[place.page][place.chunk]
            known = pieces.setdefault(id(container), (container, {}))[1]
            known.setdefault(offset, Piece(offset, entry.length, entry.id))
    with ExitStack() as stack:
        for container, known in pieces.values():
            stack.enter_context(container.file.expecting(known.values()))
        yield
