"""Opening a file: header, roots, pages, table, each checked before it is used (SPEC.md, 9, 10)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, Self

from p2uformat.closing import Closing
from p2uformat.container.header import HEADER_BYTES, Header
from p2uformat.container.layout import Layout, place
from p2uformat.container.presence import Presence
from p2uformat.digest import digest
from p2uformat.errors import (
    CorruptData,
    DigestMismatch,
    Incomplete,
    Malformed,
    UnsupportedFormat,
)
from p2uformat.files import BytesReader, FileReader
from p2uformat.manifest import (
    ChunkEntry,
    ContentPage,
    ContentRoot,
    EncodingPage,
    EncodingPageRef,
    EncodingRoot,
    check_sequence,
)
from p2uformat.reading import Openable, Reader
from p2uformat.transport import Address

__all__ = ["Container", "Page", "Place", "TableFault", "open_reader"]

_ENTRY_BYTES: Final = 8
_EMPTY: Final = EncodingPage((), ())
Room = Callable[[int], memoryview]
Place = str | os.PathLike[str] | bytes | Address | Openable
"""Where a file is: a path, its bytes, a URL with what is needed to reach it, or a store."""


@dataclass(frozen=True, slots=True)
class Page:
    """A content page with its encoding page, as far as they are sound.

    Parameters
    ----------
    number : int
        Its place among the pages.
    content : ContentPage or None
        None if it is damaged.
    encoding : EncodingPage or None
        None if it or the content page is damaged.
    damage : tuple of DigestMismatch
        What is wrong.
    inherited : bool
        Whether it is the parent's, and empty until that is attached.
    """

    number: int
    content: ContentPage | None
    encoding: EncodingPage | None
    damage: tuple[DigestMismatch, ...] = ()
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class TableFault:
    """A run of location table entries that contradict the layout.

    Parameters
    ----------
    offset : int
        Where in the file the first of them stands.
    expected, got : int
        What it should say and what it says.
    """

    offset: int
    expected: int
    got: int


class Container(Closing):
    """An open file whose manifest has been checked.

    A page that differs from its digest is remembered and left out: the other pages, and their
    tensors, stay readable. Then the location table stands in for the layout, which only follows
    from all pages together.

    Attributes
    ----------
    file : Reader
        The file.
    header : Header
        Its first 128 bytes.
    content, encoding : ContentRoot, EncodingRoot
        Its roots.
    pages : tuple of Page
        Its pages.
    offsets : tuple of tuple of int
        For each page, for each of its chunks, the offset.
    layout : Layout or None
        None if a page is damaged.
    table_faults : tuple of TableFault
        Where the table is wrong.
    presence : Presence or None
        Which chunks a partial file holds; None for others.
    """

    def __init__(self, file: Reader) -> None:
        self.file = file
        self.pages: tuple[Page, ...] = ()
        self.presence: Presence | None = None
        try:
            self._load()
        except CorruptData as error:
            raise error.locate(artifact=file.path) from error.__cause__

    @classmethod
    def open(cls, path: Place) -> Self:
        """Open a file, the bytes of one, or an object behind a URL.

        Raises
        ------
        NotFound, StoreUnavailable
            If it cannot be read.
        NotAnArtifact, UnsupportedFormat
            If it is something else, or newer.
        Incomplete
            If it ends inside the manifest.
        CorruptData
            If the header or a root is damaged, or a rule is broken.
        """
        file = open_reader(path)
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    @property
    def size(self) -> int:
        """Bytes of the artifact that are here."""
        return min(self.file.size, self.header.file_length)

    @property
    def trailing(self) -> int:
        """Bytes behind the end."""
        end = self.header.file_length + self.header.bitmap_length
        return max(self.file.size - end, 0)

    @property
    def tiers(self) -> tuple[str, ...]:
        """Names of the tiers, base first."""
        return tuple(tier.name for tier in self.content.tiers)

    def entry(self, page: int, index: int) -> ChunkEntry:
        """Return what the manifest says about a chunk."""
        encoding = self.pages[page].encoding
        assert encoding is not None
        return encoding.chunks[index]

    def held(self, page: int, index: int) -> bool:
        """Return whether a chunk lies whole inside the bytes that are here."""
        if self.presence is not None and not self.presence.holds(self._firsts[page] + index):
            return False
        return self.offsets[page][index] + self.entry(page, index).length <= self.size

    def entry_number(self, page: int, index: int) -> int:
        """Return the number of a chunk in the location table."""
        return self._firsts[page] + index

    @property
    def whole(self) -> bool:
        """Whether all chunks are here, as far as can be told without reading them."""
        if self.size < self.header.file_length:
            return False
        return self.presence is None or self.presence.whole()

    def chunk(self, page: int, index: int, room: Room | None = None) -> bytes | memoryview:
        """Return the bytes of a chunk, checked against its id.

        Parameters
        ----------
        page, index : int
            The chunk.
        room : callable, optional
            Returns memory for so many bytes, to be read into; fresh memory by default.

        Raises
        ------
        DigestMismatch
            If they differ from it.
        Incomplete
            If the file ends before.
        """
        entry, offset = self.entry(page, index), self.offsets[page][index]
        if not self.held(page, index):
            self._check_bounds(offset, entry.length)
            raise Incomplete(f"the chunk at offset {offset} is not here")
        data: bytes | memoryview
        if room is not None and isinstance(self.file, FileReader):
            view = room(entry.length)
            data = view[: self.file.readinto(offset, view)]
        else:
            data = self.file.view(offset, entry.length)
        got = digest(data)
        if got != entry.id:
            raise mismatch("chunk", offset, entry.id, got, self.file.path)
        return data

    def _check_bounds(self, offset: int, length: int) -> None:
        """Tell a wrong table, which stands in where a page is damaged, from a short file."""
        last = self.header.file_length - length
        if not self.header.manifest_length <= offset <= last:
            raise Malformed(
                f"the location table says {offset}, which no chunk of {length} bytes can have",
                region="table",
                artifact=self.file.path,
            )

    def _load(self) -> None:
        try:
            self.header = Header.parse(self.file.read(0, HEADER_BYTES))
        except UnsupportedFormat as error:
            raise type(error)(f"{self.file.path!r}: {error.message}", hint=error.hint) from None
        if self.file.size < self.header.manifest_length:
            raise Incomplete(
                f"the manifest has {self.header.manifest_length} bytes, the file {self.file.size}",
                hint="fetch the rest of the file",
            )
        self.file.ahead(self.header.manifest_length)
        self._load_roots()
        end = self._load_pages()
        try:
            self._check_extent(end)
        except Malformed as error:
            # With wrong lengths pages are read from wrong places, which is then the first verdict.
            damage = (e for page in self.pages for e in page.damage)
            raise next(damage, error) from None
        table = self._read_table(end)
        self._read_bitmap()
        encodings = [
            _EMPTY if page.inherited else page.encoding
            for page in self.pages
            if page.inherited or page.encoding is not None
        ]
        self.layout: Layout | None = None
        self.table_faults: tuple[TableFault, ...] = ()
        if len(encodings) < len(self.pages):
            self.offsets = table
            return
        known = [page for page in encodings if page is not None]
        self.layout = place(known, self.header.manifest_length, len(self.content.tiers))
        if self.layout.end != self.header.file_length:
            raise Malformed(
                f"chunks end at {self.layout.end}, the file at {self.header.file_length}"
            )
        self.offsets = self.layout.offsets
        self.table_faults = _compare(self.layout.offsets, table, end)

    def _load_roots(self) -> None:
        header = self.header
        data = self._checked(HEADER_BYTES, header.content_length, header.content_root, "root")
        with _located("root", HEADER_BYTES):
            self.content = ContentRoot.parse(data)
        at = HEADER_BYTES + header.content_length
        data = self._checked(at, header.encoding_length, header.encoding_root, "root")
        with _located("root", at):
            self.encoding = EncodingRoot.parse(data)
        if self.encoding.content != header.content_root:
            raise Malformed("the encoding root belongs to another content root", region="root")
        if len(self.encoding.pages) != len(self.content.pages):
            raise Malformed(
                f"expected {len(self.content.pages)} pages, got {len(self.encoding.pages)}",
                region="root",
            )

    def _load_pages(self) -> int:
        """Read all pages and return where they end."""
        at = HEADER_BYTES + self.header.content_length + self.header.encoding_length
        pages = []
        for number in range(len(self.content.pages)):
            reference = self.encoding.pages[number]
            if reference is None:
                pages.append(Page(number, None, None, inherited=True))
                continue
            pages.append(self._load_page(number, at, reference))
            at += self.content.pages[number].length + reference.length
        self.pages = tuple(pages)
        check_sequence(self.content, [page.content for page in pages])
        return at

    def _load_page(self, number: int, at: int, encoding: EncodingPageRef) -> Page:
        content = self.content.pages[number]
        tiers = len(self.content.tiers)
        damage = []
        parsed = parsed_encoding = None
        try:
            data = self._checked(at, content.length, content.digest, "page")
            with _located("page", at):
                parsed = ContentPage.parse(data, tiers=tiers, features=self.content.features)
        except DigestMismatch as error:
            damage.append(error)
        at += content.length
        try:
            data = self._checked(at, encoding.length, encoding.digest, "page")
            if parsed is not None:
                with _located("page", at):
                    parsed_encoding = EncodingPage.parse(
                        data, parsed, tiers=tiers, parent=self.encoding.parent is not None
                    )
        except DigestMismatch as error:
            damage.append(error)
        if parsed_encoding is not None and len(parsed_encoding.chunks) != encoding.chunks:
            raise Malformed(
                f"expected {encoding.chunks} chunks, got {len(parsed_encoding.chunks)}",
                region="page",
                offset=at,
            )
        return Page(number, parsed, parsed_encoding, tuple(damage))

    def _check_extent(self, end: int) -> None:
        entries = sum(self._entries())
        if entries != self.header.entries:
            raise Malformed(f"expected {entries} table entries, got {self.header.entries}")
        if end + _ENTRY_BYTES * entries != self.header.manifest_length:
            raise Malformed(
                f"pages and table end at {end + _ENTRY_BYTES * entries},"
                f" the manifest at {self.header.manifest_length}"
            )

    def _entries(self) -> list[int]:
        """Return the number of table entries of each page."""
        return [0 if page is None else page.chunks for page in self.encoding.pages]

    def _read_bitmap(self) -> None:
        self._firsts = list(accumulate(self._entries(), initial=0))
        header = self.header
        if header.partial:
            data = self.file.read(header.file_length, header.bitmap_length)
            self.presence = Presence.parse(data, header.entries)

    def _read_table(self, at: int) -> tuple[tuple[int, ...], ...]:
        table = []
        for chunks in self._entries():
            data = self.file.read(at, _ENTRY_BYTES * chunks)
            if len(data) != _ENTRY_BYTES * chunks:
                raise Incomplete("the file ends inside the location table")
            table.append(struct.unpack(f"<{chunks}Q", data))
            at += len(data)
        return tuple(table)

    def _checked(self, offset: int, length: int, expected: bytes, region: str) -> bytes:
        data = self.file.read(offset, length)
        got = digest(data)
        if got != expected:
            raise mismatch(region, offset, expected, got, self.file.path)
        return data


def open_reader(place: Place) -> Reader:
    """Open what is at a place."""
    if isinstance(place, bytes):
        return BytesReader(place)
    if isinstance(place, Openable):
        return place.open_reader()
    if not isinstance(place, Address):
        place = Address.of(place)
    if isinstance(place, Address):
        # With an event loop and all: not for files of this machine.
        from p2uformat.transport.remote import RemoteReader  # noqa: PLC0415

        return RemoteReader(place)
    return FileReader(place)


def mismatch(
    region: str, offset: int, expected: bytes, got: bytes, artifact: str
) -> DigestMismatch:
    """Return the error for bytes that differ from their digest."""
    return DigestMismatch(
        f"expected digest {expected.hex()}, got {got.hex()}",
        artifact=artifact,
        region=region,
        offset=offset,
        expected=expected.hex(),
        got=got.hex(),
    )


@contextmanager
def _located(region: str, offset: int) -> Iterator[None]:
    try:
        yield
    except CorruptData as error:
        raise error.locate(region=region, offset=offset) from error.__cause__


def _compare(
    layout: tuple[tuple[int, ...], ...], table: tuple[tuple[int, ...], ...], at: int
) -> tuple[TableFault, ...]:
    if layout == table:
        return ()
    expected = [offset for page in layout for offset in page]
    got = [offset for page in table for offset in page]
    wrong = [i for i, pair in enumerate(zip(expected, got, strict=True)) if pair[0] != pair[1]]
    heads = wrong[:1] + [b for a, b in pairwise(wrong) if b != a + 1]
    return tuple(TableFault(at + _ENTRY_BYTES * i, expected[i], got[i]) for i in heads)
