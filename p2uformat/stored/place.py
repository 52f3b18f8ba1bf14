"""Artifacts in stores as places that `open` and its like take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from p2uformat.digest import to_text
from p2uformat.errors import NotFound, RootMismatch
from p2uformat.reading import Reader
from p2uformat.store.lookup import Found, find_record
from p2uformat.store.marker import check_marker
from p2uformat.store.objects import Objects
from p2uformat.store.place import open_objects
from p2uformat.store.records import Placed
from p2uformat.store.remote import RemoteObjects
from p2uformat.store.versions import Version, version
from p2uformat.stored.address import StoreAddress
from p2uformat.stored.extents import Extents
from p2uformat.stored.manifest import Bundles, build_manifest, header_of
from p2uformat.stored.packed import PackedReader, PackedSource
from p2uformat.transport.policy import Policy
from p2uformat.transport.remote import RemoteReader
from p2uformat.transport.source import Beginning

__all__ = ["StoredPlace"]


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """An artifact in a store, found and ready to be opened.

    Parameters
    ----------
    objects : Objects
        The store's place.
    found : Found
        The record.
    name : str
        What it is called in messages.
    bundles : Bundles
        Of the record.
    version : Version or None
        The version that was asked for, if it was by name.
    number : int
        Which artifact of the record: 0 is the one that was asked for, the others are those that
        it needs.
    """

    objects: Objects
    found: Found
    name: str
    bundles: Bundles
    version: Version | None = None
    number: int = 0

    @classmethod
    def at(cls, objects: Objects, found: Found, name: str, version: Version | None = None) -> Self:
        """Return the place of the artifact that a record is for."""
        return cls(objects, found, name, Bundles(objects, found), version)

    @classmethod
    def of(cls, address: StoreAddress) -> Self:
        """Find an artifact.

        Raises
        ------
        NotFound
            If there is no such store, name, version or root, or what a ref names is gone.
        UnsupportedFormat
            If the store is of a newer format.
        """
        objects = open_objects(address.store, address.options)
        try:
            return cls._of(objects, address)
        except NotFound:
            # Nothing is there: perhaps it is no store at all, which would say more.
            check_marker(objects)
            raise

    @classmethod
    def _of(cls, objects: Objects, address: StoreAddress) -> Self:
        if address.root is not None:
            return cls.at(objects, _record(objects, address.root, address.text), address.text)
        assert address.name is not None
        return cls.of_version(objects, version(objects, address.name, address.seq))

    @classmethod
    def of_version(cls, objects: Objects, wanted: Version) -> Self:
        """Find the artifact of a version."""
        name = f"{objects.name}#{wanted.text}"
        ref = wanted.ref
        assert ref.content is not None
        return cls.at(objects, _record(objects, ref.content, name), name, wanted)

    @property
    def placed(self) -> Placed:
        """Where it lies."""
        return self.found.record.artifacts[self.number]

    @property
    def root(self) -> bytes:
        """The content root."""
        return header_of(self.placed, self.name).content_root

    @property
    def ancestors(self) -> Sequence[StoredPlace]:
        """The artifacts that it needs."""
        return [
            replace(self, name=f"{self.name} (parent)", version=None, number=number)
            for number in range(self.number + 1, len(self.found.record.artifacts))
        ]

    def open_reader(self, policy: Policy | None = None) -> Reader:
        """Return it to be read like a file.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If the record or a page is damaged.
        RootMismatch
            If the record is of another artifact.
        NotFound
            If a bundle is gone.
        """
        placed = self.placed
        header, manifest = build_manifest(placed, self.bundles)
        if self.number == 0 and header.content_root != self.found.root:
            raise _other(self.name, self.found.root, header.content_root)
        extents = Extents(header.manifest_length, placed, self.found.record)
        objects = self.objects
        if not isinstance(objects, RemoteObjects):
            return PackedReader(objects, self.name, manifest, extents, self._moved)
        chosen = policy or Policy()
        source = PackedSource(objects, self.name, extents, self._moved, chosen)
        begun = Beginning(manifest, extents.stop, ranges=True)
        return RemoteReader(objects.address, chosen, source=source, begun=begun)

    def _moved(self) -> Extents | None:
        """Look whether the artifact lies elsewhere by now."""
        newer = find_record(self.objects, self.found.root)
        if newer is None or newer.generation == self.found.generation:
            return None
        mine = self.placed
        for placed in newer.record.artifacts:
            if placed.header == mine.header and placed.payload >= mine.payload:
                header = header_of(placed, self.name)
                return Extents(header.manifest_length, placed, newer.record)
        return None


def _record(objects: Objects, root: bytes, name: str) -> Found:
    found = find_record(objects, root)
    if found is None:
        raise NotFound(
            f"{name!r}: the store has no artifact {to_text(root)}",
            hint="p2u refs STORE lists what there is; p2u verify STORE says what is missing",
        )
    return found


def _other(name: str, expected: bytes, got: bytes) -> RootMismatch:
    return RootMismatch(
        f"{name!r}: expected root {to_text(expected)}, got {to_text(got)}",
        expected=to_text(expected),
        got=to_text(got),
    )
