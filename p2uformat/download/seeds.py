"""Chunks that other artifacts at hand have, or that can be made of what they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from p2uformat.artifact.bodies import own_chunk
from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.complete import complete_tiers
from p2uformat.artifact.contents import Contents, Path
from p2uformat.artifact.needs import holds
from p2uformat.artifact.refresh import fresh_block, fresh_ladder
from p2uformat.chunk import DIFFERENCES, Codec
from p2uformat.closing import Closing
from p2uformat.container import Container, StoredChunk
from p2uformat.digest import digest
from p2uformat.errors import P2UError
from p2uformat.manifest import BitplaneParameters

__all__ = ["Seeds"]

Stored = StoredTensor | StoredFile


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer of a seed."""

    contents: Contents
    stored: Stored
    number: int
    block: int


class Seeds(Closing):
    """Artifacts that may share bytes with one that is fetched.

    Parameters
    ----------
    seeds : sequence
        Paths or open artifacts' contents.
    parents : sequence
        Where the artifacts that they need may be found.
    """

    def __init__(
        self, seeds: Sequence[Path | Contents], parents: Sequence[Path | Contents]
    ) -> None:
        self._stack = ExitStack()
        self._chunks: dict[bytes, tuple[Contents, int, int]] = {}
        self._layers: dict[bytes, _Layer] = {}
        self._roots: dict[bytes, Container] = {}
        try:
            for seed in seeds:
                self._add(self._opened(seed, parents))
            for parent in parents:
                container = (
                    parent.container
                    if isinstance(parent, Contents)
                    else self._stack.enter_context(Container.open(parent))
                )
                self._roots.setdefault(container.header.content_root, container)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close what was opened here."""
        self._stack.close()

    def holds(self, container: Container, wanted: Sequence[StoredChunk], tier: int) -> bool:
        """Return whether a seed, or what one needs, is this artifact and has what is wanted of it.

        One that is stored in another way is compared by its tiers.
        """
        found = self._roots.get(container.header.content_root)
        if found is None:
            return False
        if found.header.encoding_root != container.header.encoding_root:
            return container.tiers[tier] in complete_tiers(found, found.tiers)
        return all(found.held(*chunk.uses[0]) for chunk in wanted)

    def has(self, chunk: StoredChunk) -> bool:
        """Return whether a seed has a chunk as it is."""
        return chunk.id in self._chunks

    def copy(self, chunk: StoredChunk) -> bytes | memoryview | None:
        """Return a chunk that a seed has, its id compared; None if it is damaged there."""
        contents, page, index = self._chunks[chunk.id]
        try:
            return contents.container.chunk(page, index)
        except P2UError:
            return None

    def can_rebuild(self, contents: Contents, chunk: StoredChunk) -> bool:
        """Return whether a seed has the one layer of a chunk, in another form."""
        return self._source(contents, chunk) is not None

    def rebuild(self, contents: Contents, chunk: StoredChunk) -> bytes | None:
        """Make a chunk of a seed's layers; None if that does not give the same bytes.

        How layers are coded is free (SPEC.md, 11): another version of a library may well give
        others.
        """
        found = self._source(contents, chunk)
        if found is None:
            return None
        page, index = chunk.uses[0]
        codec = contents.container.entry(page, index).codec
        try:
            data = _encoded(found, codec)
        except P2UError:
            return None
        return data if data is not None and digest(data) == chunk.id else None

    def _opened(self, seed: Path | Contents, parents: Sequence[Path | Contents]) -> Contents:
        if isinstance(seed, Contents):
            return seed
        return self._stack.enter_context(Contents.open(seed, parents))

    def _add(self, contents: Contents) -> None:
        container = contents.container
        self._roots.setdefault(container.header.content_root, container)
        for page in container.pages:
            for index, entry in enumerate(page.encoding.chunks if page.encoding else ()):
                if entry.length and container.held(page.number, index):
                    self._chunks.setdefault(entry.id, (contents, page.number, index))
        for stored in contents.catalog.everything():
            for number in range(stored.record.layers):
                for block in _known_blocks(stored, number):
                    layer = _Layer(contents, stored, number, block)
                    self._layers.setdefault(stored.digest(number, block), layer)

    def _source(self, contents: Contents, chunk: StoredChunk) -> _Layer | None:
        if not self._layers:
            return None
        page, index = chunk.uses[0]
        if contents.container.entry(page, index).codec in DIFFERENCES:
            return None
        members = list(_members(contents, page, index))
        if len(members) != 1:
            return None
        stored, number, block = members[0]
        found = self._layers.get(stored.digest(number, block))
        if found is None:
            return None
        tier = found.stored.record.layer_tier(found.number)
        reader = found.contents.reader
        return found if holds(reader, found.stored, found.block, tier) else None


def _known_blocks(stored: Stored, number: int) -> Iterator[int]:
    for block, place in enumerate(stored.places(number)):
        if place is not None:
            yield block


def _members(contents: Contents, page: int, index: int) -> Iterator[tuple[Stored, int, int]]:
    """Yield the layers in a chunk."""
    found = contents.container.pages[page]
    assert found.content is not None
    assert found.encoding is not None
    catalog = contents.catalog
    for record, layers in zip(found.content.records, found.encoding.layers, strict=True):
        for number, layer in enumerate(layers):
            for inner, pair in enumerate(layer):
                if pair is not None and pair[0] == index:
                    stored = catalog.of(record)
                    yield stored, number, record.first_block + inner


def _encoded(layer: _Layer, codec: int) -> bytes | None:
    reader, stored = layer.contents.reader, layer.stored
    if codec == Codec.RAW:
        return bytes(reader.payload(stored, layer.number, layer.block))
    if not isinstance(stored, StoredTensor):
        return None
    parameters = stored.record.parameters
    if not isinstance(parameters, BitplaneParameters):
        return None
    layers = fresh_ladder(reader, stored, layer.block)
    body = fresh_block(layers, stored, parameters.planes)[layer.number]
    return own_chunk(body, stored.digest(layer.number, layer.block)).data
