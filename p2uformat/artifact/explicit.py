"""Pages that name the chunks of others, instead of leaving layers to a parent.

Where many artifacts share their chunks, a layer that the parent stores as it is can stand in the
child's own page. Then the child needs the parent for differences only, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from p2uformat.artifact.catalog import SHARED, StoredFile, StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.lineage import Lineage, alike_records
from p2uformat.chunk import DIFFERENCES
from p2uformat.digest import digest
from p2uformat.manifest import (
    ChunkEntry,
    ContentPage,
    EncodingPage,
    FileRecord,
    Record,
    TensorRecord,
    codecs_for,
)
from p2uformat.tensor import ELEMENT_SIZES

__all__ = ["KnownLayers", "explicit", "needs_parent"]

Pages = Sequence[tuple[ContentPage, EncodingPage]]
_Spot = tuple[ChunkEntry, int]


@dataclass(frozen=True, slots=True)
class _Member:
    """A layer of a page: its record, its number there, and its block in the record."""

    record: int
    layer: int
    block: int


class KnownLayers:
    """Layers that artifacts store as they are.

    Parameters
    ----------
    artifacts : sequence of Contents
        The artifacts, those to be preferred first; of each its parents are looked at as well.
    """

    def __init__(self, artifacts: Sequence[Contents]) -> None:
        self._known = [(contents, Lineage(contents.catalog)) for contents in _all(artifacts)]
        self._pages = {
            reference.digest: (contents, number)
            for contents, _ in reversed(self._known)
            for number, reference in enumerate(contents.container.content.pages)
        }
        self._chunks = {
            (entry.tier, entry.id): (contents, page.number, index)
            for contents, _ in reversed(self._known)
            for page in contents.container.pages
            for index, entry in enumerate(page.encoding.chunks if page.encoding else ())
        }

    def chunk(self, tier: int, name: bytes) -> tuple[Contents, int, int] | None:
        """Return an artifact that has a chunk, and its place there."""
        return self._chunks.get((tier, name))

    def page(self, content: bytes) -> EncodingPage | None:
        """Return how somebody encodes a content page, by its digest, without needing a parent."""
        found = self._pages.get(content)
        if found is None:
            return None
        encoding = found[0].container.pages[found[1]].encoding
        return None if encoding is None or needs_parent(encoding) else encoding

    def layer(self, record: Record, layer: int, block: int) -> _Spot | None:
        """Return a chunk with a layer, and the slot; None where nobody stores it as it is."""
        tier = record.layer_tier(layer)
        name = record.layer_digest(layer, block)
        for contents, lineage in self._known:
            found = lineage.find(tier, name)
            if found is None:
                continue
            stored, number, where = found
            place = stored.place(number, where)
            if place is None or place is SHARED or not _decoded_alike(stored, where, record, block):
                continue
            entry = contents.container.entry(place.page, place.chunk)
            if entry.codec not in DIFFERENCES and entry.codec in codecs_for(record, layer):
                return entry, place.slot
        return None


def explicit(pages: Pages, known: KnownLayers) -> list[tuple[ContentPage, EncodingPage]]:
    """Return pages in which layers that others store have their chunks.

    A layer that is left to the parent gets its chunk, and a chunk all of whose layers lie in others
    is left out.
    """
    return [(content, _explicit(content, encoding, known)) for content, encoding in pages]


def needs_parent(page: EncodingPage) -> bool:
    """Return whether a page has layers that only a parent gives."""
    if any(entry.codec in DIFFERENCES for entry in page.chunks):
        return True
    return any(pair is None for record in page.layers for layer in record for pair in layer)


def _explicit(content: ContentPage, encoding: EncodingPage, known: KnownLayers) -> EncodingPage:
    as_it_is = known.page(digest(content.encode()))
    if as_it_is is not None:
        return as_it_is
    rows = _Rows(content, encoding, known)
    if not rows.replaced and all(pair is not None for _, pair in _members(encoding)):
        return encoding
    layers = tuple(
        tuple(
            tuple(rows.spot(_Member(number, layer, block)) for block in range(record.block_count))
            for layer in range(record.layers)
        )
        for number, record in enumerate(content.records)
    )
    entries = sorted(rows.entries.values(), key=lambda entry: entry.tier)  # stable
    numbers = {(entry.tier, entry.codec, entry.id): at for at, entry in enumerate(entries)}
    return EncodingPage(
        tuple(entries),
        tuple(
            tuple(
                tuple(None if spot is None else (numbers[spot[0]], spot[1]) for spot in layer)
                for layer in record
            )
            for record in layers
        ),
        encoding.ext,
    )


@dataclass(slots=True)
class _Rows:
    """Where the layers of a page come to lie."""

    content: ContentPage
    encoding: EncodingPage
    known: KnownLayers
    entries: dict[tuple[int, int, bytes], ChunkEntry] = field(default_factory=dict)
    replaced: dict[int, dict[_Member, _Spot]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        members: dict[int, list[_Member]] = {}
        for member, pair in _members(self.encoding):
            if pair is not None:
                members.setdefault(pair[0], []).append(member)
        for number, entry in enumerate(self.encoding.chunks):
            if entry.codec not in DIFFERENCES and not self.known.chunk(entry.tier, entry.id):
                found = {member: self._find(member) for member in members[number]}
                spots = {member: spot for member, spot in found.items() if spot is not None}
                if len(spots) == len(found):
                    self.replaced[number] = spots

    def spot(self, member: _Member) -> tuple[tuple[int, int, bytes], int] | None:
        """Return the chunk and slot of a layer, and note that the chunk is used."""
        pair = self.encoding.layers[member.record][member.layer][member.block]
        if pair is None:
            found = self._find(member)
        elif pair[0] in self.replaced:
            found = self.replaced[pair[0]][member]
        else:
            found = self.encoding.chunks[pair[0]], pair[1]
        if found is None:
            return None
        entry, slot = found
        key = entry.tier, int(entry.codec), entry.id
        self.entries.setdefault(key, entry)
        return key, slot

    def _find(self, member: _Member) -> _Spot | None:
        record = self.content.records[member.record]
        return self.known.layer(record, member.layer, member.block)


def _members(page: EncodingPage) -> Iterator[tuple[_Member, tuple[int, int] | None]]:
    for number, record in enumerate(page.layers):
        for layer, blocks in enumerate(record):
            for block, pair in enumerate(blocks):
                yield _Member(number, layer, block), pair


def _all(artifacts: Sequence[Contents]) -> Iterator[Contents]:
    """Yield artifacts and those that they need."""
    for contents in artifacts:
        found: Contents | None = contents
        while found is not None:
            yield found
            found = found.parent


def _decoded_alike(
    stored: StoredTensor | StoredFile, where: int, record: Record, block: int
) -> bool:
    """Return whether a chunk of one record decodes to the same as one of another would.

    How symbols and planes lie depends on dtype, segments, and the length of rows.
    """
    mine, theirs = record.geometry, stored.geometry
    if isinstance(record, FileRecord) or isinstance(stored, StoredFile):
        return isinstance(record, FileRecord) and isinstance(stored, StoredFile)
    assert isinstance(record, TensorRecord)
    first = mine.block_range(record.first_block + block)
    second = theirs.block_range(where)
    if first[1] - first[0] != second[1] - second[0] or mine.row != theirs.row:
        return False
    one, other = record, stored.record
    if one.quantizer == "opaque" == other.quantizer:
        return ELEMENT_SIZES.get(one.dtype, 1) == ELEMENT_SIZES.get(other.dtype, 1)
    return alike_records(one, other)
