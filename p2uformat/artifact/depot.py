"""A store as `pack` and `push` use it: what it has that a new artifact may share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from p2uformat.artifact.catalog import parent_required
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.explicit import KnownLayers, explicit, needs_parent
from p2uformat.artifact.types import Progress
from p2uformat.container.layout import in_order
from p2uformat.container.writer import header_for
from p2uformat.digest import to_text
from p2uformat.errors import InvalidArgument, NotFound, P2UError, ParentRequired
from p2uformat.manifest import (
    ContentPage,
    ContentRoot,
    EncodingPage,
    Manifest,
    ParentRef,
    TierSpec,
    UpdateRecord,
    assemble,
)
from p2uformat.store.index import alike, sketch
from p2uformat.store.lookup import find_record
from p2uformat.store.marker import check_marker, prepare
from p2uformat.store.objects import Objects
from p2uformat.store.place import open_objects
from p2uformat.store.sketches import read_index
from p2uformat.store.versions import Version, current
from p2uformat.stored.address import StoreAddress
from p2uformat.stored.manifest import header_of
from p2uformat.stored.offer import Known, Offer, OfferedChunk
from p2uformat.stored.place import StoredPlace
from p2uformat.stored.publish import Published, publish

__all__ = ["Depot", "RootExtras", "check_target", "chunks_of", "pages_of", "sketch_of"]

_MOST_ALIKE: Final = 4
Pages = Sequence[tuple[ContentPage, EncodingPage]]
Read = Callable[[OfferedChunk], bytes | memoryview | None]


@dataclass(frozen=True, slots=True)
class RootExtras:
    """What a content root says beside its tiers and pages.

    Parameters
    ----------
    ext : mapping, optional
        Additions.
    features : frozenset of str
        What a reader of it must know.
    policy : mapping, optional
        Of the quantizer.
    update : UpdateRecord, optional
        Of an update.
    """

    ext: Mapping[str, object] | None = None
    features: frozenset[str] = frozenset()
    policy: Mapping[str, object] | None = None
    update: UpdateRecord | None = None

    @classmethod
    def of(cls, root: ContentRoot) -> RootExtras:
        """Return what a root says."""
        return cls(root.ext, root.features, root.policy, root.update)


@dataclass(slots=True)
class Depot:
    """A name in a store that a new version is made for.

    Parameters
    ----------
    address : StoreAddress
        The name.
    objects : Objects
        The store's place.
    head : Version or None
        The current version.
    exclusive : bool
        Whether the place lets in one writer only.
    stack : ExitStack
        Closes what is opened.
    brought : int
        Bytes of packs that were written for artifacts that the one under way needs.
    """

    address: StoreAddress
    objects: Objects
    head: Version | None
    exclusive: bool
    stack: ExitStack
    brought: int = 0
    opened: dict[bytes, tuple[StoredPlace, Contents]] = field(default_factory=dict)

    @classmethod
    def open(cls, address: StoreAddress, stack: ExitStack) -> Depot:
        """Open a store for writing; make the place one if it is none.

        Raises
        ------
        InvalidArgument
            If the address is not a name's.
        AccessDenied, StoreUnavailable
            If the place cannot be written.
        """
        check_target(address)
        objects = open_objects(address.store, address.options)
        probe = prepare(objects)
        assert address.name is not None
        head = current(objects, address.name)
        return cls(address, objects, head, not probe.conditions, stack)

    @staticmethod
    def peek(address: StoreAddress, root: bytes) -> Version | None:
        """Return the current version of a name if it is an artifact, stored whole.

        Nothing is written, not even what finds out how the place keeps conditions.
        """
        check_target(address)
        objects = open_objects(address.store, address.options)
        assert address.name is not None
        try:
            check_marker(objects)
        except NotFound:
            return None
        head = current(objects, address.name)
        if head is None or head.ref.content != root:
            return None
        found = find_record(objects, root)
        if found is None:
            return None
        placed = found.record.artifacts[0]
        header = header_of(placed, found.key)
        whole = placed.payload == header.file_length - header.manifest_length
        return head if whole else None

    def artifact(self, root: bytes, version: Version | None = None) -> Contents | None:
        """Return an artifact of the store by its content root; None if it is not there, or damaged.

        What cannot be read is not shared with; that it is damaged `verify` says.
        """
        if root not in self.opened:
            try:
                self._open(root, version)
            except P2UError:
                return None
        return self.opened[root][1] if root in self.opened else None

    def _open(self, root: bytes, version: Version | None) -> None:
        found = find_record(self.objects, root)
        if found is None:
            return
        name = f"{self.objects.name}#{to_text(root) if version is None else version.text}"
        place = StoredPlace.at(self.objects, found, name, version)
        contents = self.stack.enter_context(Contents.open(place))
        self.opened[root] = place, contents

    def current(self) -> Contents | None:
        """Return the current version of the name, open."""
        if self.head is None or self.head.ref.content is None:
            return None
        return self.artifact(self.head.ref.content, self.head)

    def alike(self, mine: bytes) -> list[Contents]:
        """Return artifacts that share blocks with one of this sketch, the most alike first."""
        if not mine:
            return []
        roots = alike(mine, read_index(self.objects))[:_MOST_ALIKE]
        return [found for found in map(self.artifact, roots) if found is not None]

    def store(
        self,
        tiers: Sequence[TierSpec],
        pages: Pages,
        read: Read,
        *,
        parent: ParentRef | None,
        extra: RootExtras | None = None,
        near: Sequence[Contents] = (),
        last_tier: int | None = None,
        after: int | None = None,
        named: bool = True,
        progress: Callable[[Progress], None] | None = None,
    ) -> Published:
        """Store an artifact under the name.

        Parameters
        ----------
        tiers : sequence of TierSpec
            The ladder.
        pages : sequence of (ContentPage, EncodingPage)
            Its pages.
        read : callable
            Returns the bytes of a chunk of these, or None if it is none of them.
        parent : ParentRef or None
            The artifact that it needs as it is.
        extra : RootExtras, optional
            What else the content root says.
        near : sequence of Contents
            Artifacts outside of the store whose layers it may need.
        last_tier : int, optional
            Number of the last tier to be stored.
        after : int, optional
            The last version of the name.
        named : bool
            Whether it becomes a version of the name.
        progress : callable, optional
            Called with `Progress`.
        """
        mine = sketch_of(content for content, _ in pages)
        self.current()
        if parent is not None:
            self.artifact(parent.root)
        self.alike(mine)
        known = KnownLayers([*(contents for _, contents in self.opened.values()), *near])
        shared = explicit(pages, known)
        needed = parent if any(needs_parent(page) for _, page in shared) else None
        extra = extra or RootExtras()
        manifest = assemble(
            tiers,
            shared,
            needed,
            ext=extra.ext,
            features=extra.features,
            policy=extra.policy,
            update=extra.update,
        )
        offer = self._offer(manifest, known, read, mine, self._ancestors(needed, near), last_tier)
        return publish(
            self.objects,
            offer,
            self._known(),
            name=self.address.name if named else None,
            after=after,
            exclusive=self.exclusive,
            tell=None if progress is None else lambda a, b: progress(Progress("push", a, b)),
        )

    def _offer(
        self,
        manifest: Manifest,
        known: KnownLayers,
        read: Read,
        mine: bytes,
        ancestors: tuple[StoredPlace, ...],
        last_tier: int | None,
    ) -> Offer:
        header, _ = header_for(manifest)
        pages = (blob for page in manifest.pages if page is not None for blob in page)
        last = manifest.tiers if last_tier is None else last_tier
        chunks = (
            OfferedChunk(entry.tier, entry.id, entry.length)
            for entry in in_order(manifest.chunks, manifest.tiers)
            if entry.tier <= last and entry.length
        )

        def bytes_of(chunk: OfferedChunk) -> bytes | memoryview:
            data = read(chunk)
            if data is not None:
                return data
            found = known.chunk(chunk.tier, chunk.id)
            assert found is not None
            contents, page, index = found
            return contents.container.chunk(page, index)

        blobs = (manifest.content_root, manifest.encoding_root, *pages)
        return Offer(header, blobs, tuple(chunks), bytes_of, mine, ancestors)

    def _ancestors(
        self, parent: ParentRef | None, near: Sequence[Contents]
    ) -> tuple[StoredPlace, ...]:
        if parent is None:
            return ()
        for contents in near:
            if contents.container.header.content_root == parent.root:
                self._adopt(contents)
        if self.artifact(parent.root) is None:
            raise ParentRequired(
                f"{self.objects.name!r} does not have {to_text(parent.root)}, which"
                " the differences are from",
                hint="push that first, or make the artifact self-contained with p2u squash",
                parent=to_text(parent.root),
            )
        place, _ = self.opened[parent.root]
        return (place, *place.ancestors)

    def _adopt(self, contents: Contents) -> None:
        """Store an artifact that the one under way needs, without a name, if it is not there."""
        if self.artifact(contents.container.header.content_root) is not None:
            return
        made = self.store(
            contents.container.content.tiers,
            pages_of(contents),
            chunks_of(contents),
            parent=contents.container.encoding.parent,
            extra=RootExtras.of(contents.container.content),
            near=() if contents.parent is None else (contents.parent,),
            named=False,
        )
        self.brought += made.added

    def _known(self) -> Known:
        known = Known()
        for place, contents in self.opened.values():
            known.add(place, contents.container)
            below = contents.parent
            for ancestor in place.ancestors:
                if below is None:
                    break
                known.add(ancestor, below.container)
                below = below.parent
        return known


def pages_of(contents: Contents) -> Pages:
    """Return the pages of an artifact.

    Raises
    ------
    DigestMismatch
        If one is damaged.
    ParentRequired
        If one is the parent's, and that is not at hand.
    """
    pages = []
    for page in contents.container.pages:
        for damage in page.damage:
            raise damage
        if page.content is None:
            raise parent_required(contents.container)
        assert page.encoding is not None
        pages.append((page.content, page.encoding))
    return pages


def chunks_of(contents: Contents) -> Read:
    """Return what reads the chunks of an artifact, checked."""
    container = contents.container
    own = {
        (entry.tier, entry.id): (page.number, index)
        for page in container.pages
        for index, entry in enumerate(page.encoding.chunks if page.encoding else ())
    }

    def read(chunk: OfferedChunk) -> bytes | memoryview | None:
        found = own.get((chunk.tier, chunk.id))
        return None if found is None else container.chunk(*found)

    return read


def sketch_of(pages: Iterable[ContentPage]) -> bytes:
    """Return the sketch of an artifact with these pages."""
    return sketch(
        record.block_digest(block)
        for page in pages
        for record in page.records
        for block in range(record.block_count)
    )


def check_target(address: StoreAddress) -> None:
    """Refuse an address that no new version can have.

    Raises
    ------
    InvalidArgument
        If it is not a name alone.
    """
    if address.name is None or address.seq is not None:
        raise InvalidArgument(
            f"cannot write to {address.text!r}: versions get the next free number",
            hint="name it without a version: STORE#name",
        )
