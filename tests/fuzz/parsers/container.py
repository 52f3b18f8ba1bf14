"""The header, and opening a file as far as its table, layout and bitmap (SPEC.md, 9)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from p2uformat.container import HEADER_BYTES, Container, Header
from p2uformat.container.presence import Presence
from p2uformat.digest import digest
from tests.fuzz.parsers import files
from tests.fuzz.parsers.harness import REFUSED, Form, Harness, expect
from tests.fuzz.parsers.sources import vectors

_FIELDS = struct.Struct("<8sHHI32s32sIIQQQ")


def _header(data: bytes) -> bool:
    try:
        header = Header.parse(data)
    except REFUSED:
        return False
    expect(header.encode() == data[:HEADER_BYTES], "a header encodes to the same bytes")
    return True


def _open_header(data: bytes) -> Any:
    return list(_FIELDS.unpack_from(data))


def _close_header(value: Any) -> bytes:
    fields = _FIELDS.pack(*value)
    return fields + digest(fields)[: HEADER_BYTES - _FIELDS.size]


def _headers() -> Iterator[bytes]:
    for data in vectors().values():
        yield data[:HEADER_BYTES]
        if len(data) >= HEADER_BYTES:
            value = _open_header(data)
            yield _close_header([*value[:6], 2**31, *value[7:]])
            yield _close_header([*value[:8], 2**62, 2**62, 2**61])
            yield _close_header([*value[:9], 2**64 - 1, value[10]])


def _container(data: bytes) -> bool:
    try:
        container = Container.open(data)
    except REFUSED:
        return False
    with container:
        _check_manifest(container, data)
        _check_places(container)
    return True


def _check_manifest(container: Container, data: bytes) -> None:
    at = HEADER_BYTES
    expect(container.header.encode() == data[:at], "the header encodes to the same bytes")
    pieces = [container.content.encode(), container.encoding.encode()]
    for page in container.pages:
        if page.damage or page.inherited:
            # What is damaged is not known; nothing behind it has a known place here.
            break
        expect(page.content is not None and page.encoding is not None, "a page is there or damaged")
        assert page.content is not None
        assert page.encoding is not None
        pieces += [page.content.encode(), page.encoding.encode()]
    for piece in pieces:
        expect(data[at : at + len(piece)] == piece, "roots and pages encode to the same bytes")
        at += len(piece)


def _check_places(container: Container) -> None:
    """Chunks that are held lie in the file, and every one is what its id says or refused."""
    for page in container.pages:
        if page.encoding is None or page.inherited:
            continue
        for index, entry in enumerate(page.encoding.chunks):
            if container.layout is not None:
                offset = container.offsets[page.number][index]
                end = offset + entry.length
                inside = container.header.manifest_length <= offset
                expect(inside and end <= container.header.file_length, "chunks lie in the file")
            try:
                chunk = container.chunk(page.number, index)
            except REFUSED:
                continue
            expect(len(chunk) == entry.length and digest(chunk) == entry.id, "a chunk has its id")


def _presence(data: bytes) -> bool:
    """Read the bitmap of a partial file, of so many entries as the first byte says."""
    entries = data[0] if data else 0
    bits = data[1 : 1 + (entries + 7) // 8]
    try:
        found = Presence.parse(bits, entries)
    except REFUSED:
        return False
    held = [found.holds(entry) for entry in range(entries)]
    expect(found.whole() == all(held), "all chunks are there if each is")
    number = sum(bit << entry for entry, bit in enumerate(held))
    expect(number.to_bytes((entries + 7) // 8, "little")[: len(bits)] == bits, "no bit is lost")
    return True


def _bitmaps() -> Iterator[bytes]:
    yield from (b"", b"\0", b"\5\x1f", b"\5\x20", b"\x09\xff\1", b"\x09\xff", b"\x08\x80")


HARNESSES = (
    Harness("presence", _presence, _bitmaps, 10, None, 34),
    Harness("header", _header, _headers, 130, Form(_open_header, _close_header), 256),
    Harness("container", _container, lambda: vectors().values(), 16, files.FORM, 8192),
)
