"""Repairing a store: a damaged artifact gets a new record, and new packs for what was damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from p2uformat.artifact.contents import Contents
from p2uformat.artifact.depot import chunks_of, sketch_of
from p2uformat.artifact.types import Progress
from p2uformat.container import StoredChunk
from p2uformat.container.header import HEADER_BYTES
from p2uformat.container.layout import in_order
from p2uformat.download.seeds import Seeds
from p2uformat.errors import CorruptData, Incomplete
from p2uformat.repository.checking import check_store
from p2uformat.repository.survey import Held, Survey
from p2uformat.repository.types import RepairResult
from p2uformat.store.lookup import find_record
from p2uformat.store.objects import Objects
from p2uformat.stored.offer import Known, Offer, OfferedChunk
from p2uformat.stored.place import StoredPlace
from p2uformat.stored.publish import publish

__all__ = ["Finder", "repair_store"]

Finder = Callable[[bytes], Contents | None]
"""Returns a sound artifact: that of a content root, else one that may have its parts."""


def repair_store(
    objects: Objects,
    finder: Finder,
    name: str | None = None,
    seq: int | None = None,
    *,
    exclusive: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> RepairResult:
    """Make damaged artifacts of a store sound again; parameters are those of `Store.repair`."""
    report = check_store(objects, name, seq, progress=progress)
    places = {(one.key, one.offset) for one in report.damage}
    moved = 0
    if report.damage:
        with Survey.of(objects, name, seq) as survey:
            job = _Repair(objects, finder, places, exclusive, _sound(survey, places))
            for held in reversed(survey.held):  # what others need comes before these
                job.renew(held)
            for address in sorted({one.address for one in survey.damage}):
                job.bring_back(survey, address)
            moved = job.moved
    left = check_store(objects, name, seq).damage if moved else report.damage
    still = {(one.key, one.offset) for one in left}
    return RepairResult(
        address=objects.name,
        checked_chunks=report.checked_chunks,
        checked_bytes=report.checked_bytes,
        damaged=len(places),
        repaired=max(len(places) - len(still), 0),
        moved=moved,
        left=left,
    )


def _sound(survey: Survey, places: set[tuple[str, int]]) -> Known:
    known = Known()
    for held in survey.held:
        known.add(held.place, held.contents.container)
    known.chunks = {
        name: place
        for name, place in known.chunks.items()
        if (place.pack.key, place.offset) not in places
    }
    return known


@dataclass(slots=True)
class _Repair:
    """One run over the damaged artifacts of a store."""

    objects: Objects
    finder: Finder
    places: set[tuple[str, int]]
    exclusive: bool
    known: Known
    moved: int = 0
    renewed: dict[bytes, StoredPlace] = field(default_factory=dict)

    def renew(self, held: Held) -> None:
        """Store an artifact anew, as far as it is damaged, or what it needs was."""
        root = held.place.root
        parents = [place.root for place in held.place.ancestors]
        if root in self.renewed or not (
            self._is_damaged(held) or any(one in self.renewed for one in parents)
        ):
            return
        sound = self.finder(root)
        ancestors = tuple(self.renewed.get(place.root, place) for place in held.place.ancestors)
        with Seeds([] if sound is None else [sound], ()) as seeds:
            self._publish(held.contents, seeds, ancestors)

    def bring_back(self, survey: Survey, address: str) -> None:
        """Store an artifact again whose record or pages are damaged, from a sound one."""
        for found in survey.lost:
            if f"{self.objects.name}#{found.text}" != address:
                continue
            assert found.ref.content is not None
            sound = self.finder(found.ref.content)
            if sound is None or sound.container.header.content_root != found.ref.content:
                continue
            if sound.container.encoding.parent is not None:
                continue  # its parents would have to come first; `push` does that
            with Seeds([sound], ()) as seeds:
                self._publish(sound, seeds, ())

    def _is_damaged(self, held: Held) -> bool:
        return any(
            (pack.key, offset) in self.places
            for _, stretches in held.chunks()
            for pack, offset, _ in stretches
        )

    def _publish(self, contents: Contents, seeds: Seeds, ancestors: Sequence[StoredPlace]) -> None:
        read = chunks_of(contents)

        def sound(chunk: OfferedChunk) -> bytes | memoryview:
            stored = StoredChunk(0, chunk.length, chunk.id, [])
            data = seeds.copy(stored) if seeds.has(stored) else None
            if data is None:
                data = read(chunk)
            assert data is not None
            self.moved += len(data)
            return data

        container = contents.container
        offer = _offer(contents, sound, tuple(ancestors))
        try:
            published = publish(
                self.objects, offer, self.known, exclusive=self.exclusive, replace=True
            )
        except (CorruptData, Incomplete):
            return  # none of the others has it: it stays on the list
        root = container.header.content_root
        found = find_record(self.objects, root) or published.found
        self.renewed[root] = StoredPlace.at(self.objects, found, self.objects.name)
        self.known.add(self.renewed[root], container)


def _offer(
    contents: Contents,
    read: Callable[[OfferedChunk], bytes | memoryview],
    ancestors: tuple[StoredPlace, ...],
) -> Offer:
    """Return an artifact as it is stored, chunks that are not there left out."""
    container = contents.container
    header = container.header
    manifest = container.file.read(0, header.manifest_length)
    pages = [page.encoding for page in container.pages if page.encoding and not page.inherited]
    chunks = []
    at = header.manifest_length
    for entry in in_order(pages, len(container.tiers)):
        at += entry.length
        if entry.length and at <= container.size:
            chunks.append(OfferedChunk(entry.tier, entry.id, entry.length))
    mine = sketch_of(page.content for page in container.pages if page.content is not None)
    return Offer(header, _blobs(contents, manifest), tuple(chunks), read, mine, ancestors)


def _blobs(contents: Contents, manifest: bytes) -> tuple[bytes, ...]:
    """Cut a manifest into its roots and pages."""
    container = contents.container
    header = container.header
    lengths = [header.content_length, header.encoding_length]
    for page, reference in zip(container.content.pages, container.encoding.pages, strict=True):
        if reference is not None:
            lengths += [page.length, reference.length]
    blobs = []
    at = HEADER_BYTES
    for length in lengths:
        blobs.append(manifest[at : at + length])
        at += length
    return tuple(blobs)
