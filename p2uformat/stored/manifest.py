"""A file's manifest, put together of what a store has of it (SPEC.md, 9 and 19.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from p2uformat.container.header import Header
from p2uformat.container.layout import place
from p2uformat.digest import digest
from p2uformat.errors import CorruptData, DigestMismatch, Malformed
from p2uformat.limits import MAX_BUNDLE_BYTES
from p2uformat.manifest import ContentPage, ContentRoot, EncodingPage, EncodingRoot
from p2uformat.store.keys import bundle_key
from p2uformat.store.lookup import Found
from p2uformat.store.objects import Objects
from p2uformat.store.records import Blob, Placed

__all__ = ["Bundles", "blobs_of", "build_manifest", "header_of"]


class Bundles:
    """Bundles of a store, each read once.

    Parameters
    ----------
    objects : Objects
        The store's place.
    found : Found
        The record that names them.
    """

    def __init__(self, objects: Objects, found: Found) -> None:
        self.name = f"{objects.name}/{found.key}"
        self._objects = objects
        self._ids = found.record.bundles
        self._data: dict[int, memoryview] = {}

    def blob(self, blob: Blob, expected: bytes) -> bytes:
        """Return a root or page, its digest compared.

        Raises
        ------
        NotFound
            If its bundle is gone.
        DigestMismatch
            If it is something else.
        """
        key = bundle_key(self._ids[blob.bundle])
        data = self._data.get(blob.bundle)
        if data is None:
            data = memoryview(self._objects.get(key, most=MAX_BUNDLE_BYTES))
            self._data[blob.bundle] = data
        part = bytes(data[blob.offset : blob.offset + blob.length])
        got = digest(part)
        if got != expected:
            raise DigestMismatch(
                f"expected digest {expected.hex()}, got {got.hex()}",
                artifact=f"{self._objects.name}/{key}",
                region="page",
                offset=blob.offset,
                expected=expected.hex(),
                got=got.hex(),
            )
        return part


def header_of(placed: Placed, name: str) -> Header:
    """Return the header of a stored artifact.

    Raises
    ------
    CorruptData, UnsupportedFormat
        If it is damaged, or one of a partial file.
    """
    try:
        header = Header.parse(placed.header)
        if header.partial:
            raise Malformed("the header of a partial file", region="header")
        if placed.payload > header.file_length - header.manifest_length:
            raise Malformed(f"extents of {placed.payload} bytes, more than the file has")
    except CorruptData as error:
        raise error.locate(artifact=name, region="record") from error.__cause__
    return header


def build_manifest(placed: Placed, bundles: Bundles) -> tuple[Header, bytes]:
    """Return the header of an artifact, and all bytes in front of its first chunk.

    Raises
    ------
    CorruptData, UnsupportedFormat
        If something is damaged or breaks a rule.
    NotFound
        If a bundle is gone.
    """
    header = header_of(placed, bundles.name)
    try:
        return header, b"".join(_pieces(header, placed, bundles))
    except CorruptData as error:
        raise error.locate(artifact=bundles.name, region="record") from error.__cause__


def blobs_of(placed: Placed, bundles: Bundles) -> list[tuple[bytes, Blob, bytes]]:
    """Return the digest, the place and the bytes of each root and page of an artifact."""
    header = header_of(placed, bundles.name)
    roots = [
        bundles.blob(blob, expected)
        for blob, expected in zip(
            placed.blobs[:2], (header.content_root, header.encoding_root), strict=True
        )
    ]
    names = list(_page_digests(ContentRoot.parse(roots[0]), EncodingRoot.parse(roots[1])))
    if len(names) != len(placed.blobs) - 2:
        raise Malformed(f"expected {len(names) + 2} blobs, got {len(placed.blobs)}")
    pages = [
        bundles.blob(blob, expected) for blob, expected in zip(placed.blobs[2:], names, strict=True)
    ]
    digests = [header.content_root, header.encoding_root, *names]
    return list(zip(digests, placed.blobs, [*roots, *pages], strict=True))


def _page_digests(content: ContentRoot, encoding: EncodingRoot) -> Iterator[bytes]:
    """Yield the digests of the pages that a file holds itself, in its order."""
    if len(content.pages) != len(encoding.pages):
        raise Malformed(f"expected {len(content.pages)} pages, got {len(encoding.pages)}")
    for page, reference in zip(content.pages, encoding.pages, strict=True):
        if reference is not None:
            yield page.digest
            yield reference.digest


def _pieces(header: Header, placed: Placed, bundles: Bundles) -> Iterator[bytes]:
    blobs = [data for _, _, data in blobs_of(placed, bundles)]
    yield placed.header
    yield from blobs
    root = ContentRoot.parse(blobs[0])
    tiers = len(root.tiers)
    related = EncodingRoot.parse(blobs[1]).parent is not None
    pages = [
        EncodingPage.parse(
            encoding,
            ContentPage.parse(content, tiers=tiers, features=root.features),
            tiers=tiers,
            parent=related,
        )
        for content, encoding in zip(blobs[2::2], blobs[3::2], strict=True)
    ]
    layout = place(pages, header.manifest_length, tiers)
    for offsets in layout.offsets:
        yield struct.pack(f"<{len(offsets)}Q", *offsets)
