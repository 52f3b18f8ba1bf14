"""Roots, pages and their records (SPEC.md, 8): what parses encodes to the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from p2uformat.digest import DIGEST_BYTES
from p2uformat.limits import MAX_RECORD_BLOCKS
from p2uformat.manifest import ContentPage, ContentRoot, EncodingPage, EncodingRoot
from p2uformat.tensor import blob_geometry, geometry
from tests.fuzz.parsers.files import manifest_parts
from tests.fuzz.parsers.harness import REFUSED, Form, Harness, expect
from tests.fuzz.parsers.sources import packed, unpacked, vectors

_ROOTS = Form(unpacked, packed)


def _roots(number: int) -> Iterator[bytes]:
    for data in vectors().values():
        yield from list(manifest_parts(data))[number : number + 1]


def _content_root(data: bytes) -> bool:
    try:
        root = ContentRoot.parse(data)
    except REFUSED:
        return False
    expect(root.encode() == data, "a content root encodes to the same bytes")
    return True


def _encoding_root(data: bytes) -> bool:
    try:
        root = EncodingRoot.parse(data)
    except REFUSED:
        return False
    expect(root.encode() == data, "an encoding root encodes to the same bytes")
    return True


# A page is read with what the roots say: here that stands in front of it, in one byte.
_TIERS = 15
_PARENT = 16
_QUANTIZERS = 32
_LOSSY = 64
_LEVELS = 128


def _features(front: int) -> frozenset[str]:
    flags = {_QUANTIZERS: "quantizers", _LOSSY: "lossy", _LEVELS: "levels"}
    return frozenset(name for bit, name in flags.items() if front & bit)


def _content_page(data: bytes) -> bool:
    front = data[0] if data else 0
    tiers = (front & _TIERS) + 1
    try:
        page = ContentPage.parse(data[1:], tiers=tiers, features=_features(front))
    except REFUSED:
        return False
    expect(page.encode() == data[1:], "a content page encodes to the same bytes")
    for record in page.records:
        _check_blocks(record)
    return True


def _check_blocks(record: Any) -> None:
    """Blocks follow each other without a hole, and every layer digest is there."""
    cut = record.geometry
    ends = 0
    for block in range(min(record.block_count, 3)):
        start, stop = cut.block_range(record.first_block + block)
        expect(start < stop <= cut.elements, "a block lies in its tensor")
        expect(not ends or start == ends, "blocks follow each other")
        ends = stop
    for layer in range(record.layers if record.block_count else 0):
        digest = record.layer_digest(layer, record.block_count - 1)
        expect(len(digest) == DIGEST_BYTES, "a layer has a digest")


def _encoding_page(data: bytes) -> bool:
    """Parse an encoding page beside the content page that it is for."""
    front = data[0] if data else 0
    tiers, parent, features = (front & _TIERS) + 1, bool(front & _PARENT), _features(front)
    length = int.from_bytes(data[1:4], "little")
    try:
        content = ContentPage.parse(data[4 : 4 + length], tiers=tiers, features=features)
        page = EncodingPage.parse(data[4 + length :], content, tiers=tiers, parent=parent)
    except REFUSED:
        return False
    expect(page.encode() == data[4 + length :], "an encoding page encodes to the same bytes")
    for record, layers in zip(content.records, page.layers, strict=True):
        for number, layer in enumerate(layers):
            tiers_of = {page.chunks[pair[0]].tier for pair in layer if pair is not None}
            expect(tiers_of <= {record.layer_tier(number)}, "a layer lies in chunks of its tier")
    return True


def _open_page(data: bytes) -> Any:
    return [data[0], unpacked(data[1:])]


def _close_page(value: Any) -> bytes:
    return bytes((value[0] & 255,)) + packed(value[1])


def _mend_page(value: Any) -> Any:
    value[1] = [_mended_record(record, value[0]) for record in value[1]]
    value[1].sort(key=lambda record: (record[0], str(record[1]).encode(), record[2]))
    return value


def _mended_record(record: Any, front: int) -> Any:
    """Give a record as many digests as it has blocks, and tensor bytes that fit its shape."""
    record, tiers = list(record), (front & _TIERS) + 1
    if record[0]:
        blocks = blob_geometry(record[6][1]).blocks()
        record[7] = _resized(record[7], blocks - record[2])
        return record
    shape = tuple(record[4])
    if record[5] == "opaque":
        cut = geometry(record[3], shape, record[6][1])
        record[6] = [record[6][0], cut.elements * cut.element_size]
        record[8] = []
    elif record[5] != "bitplane":
        cut = geometry(record[3], shape)
        record[8] = (list(record[8]) * 2)[: 1 if front & _LOSSY else 2]
    else:
        cut = geometry(record[3], shape)
        figures = record[6][2]
        record[6] = [*record[6][:2], (figures * tiers)[: tiers - 1], *record[6][3:]]
        record[8] = (list(record[8]) * tiers)[:tiers]
    record[7] = _resized(record[7], cut.blocks() - record[2])
    record[8] = [_resized(column, cut.blocks() - record[2]) for column in record[8]]
    return record


def _resized(digests: bytes, blocks: int) -> bytes:
    length = DIGEST_BYTES * max(min(blocks, MAX_RECORD_BLOCKS), 0)
    return digests[:length].ljust(length, b"\x55")


def _pages() -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the byte in front, content page and encoding page of all vectors."""
    for data in vectors().values():
        parts = list(manifest_parts(data))
        try:
            root, features = unpacked(parts[0]), unpacked(parts[1])["features"]
            tiers, known = len(root["tiers"]), root["features"]
        except (LookupError, ValueError, TypeError):
            continue
        front = (tiers - 1) & _TIERS | (_PARENT if features else 0)
        front |= _QUANTIZERS * ("quantizers" in known) | _LOSSY * ("lossy" in known)
        front |= _LEVELS * ("levels" in known)
        for content, encoding in zip(parts[2::2], parts[3::2], strict=False):
            yield front, content, encoding


def _content_pages() -> Iterator[bytes]:
    return (bytes((front,)) + content for front, content, _ in _pages())


def _joined(front: int, content: bytes, encoding: bytes) -> bytes:
    return bytes((front & 255,)) + len(content).to_bytes(3, "little") + content + encoding


def _encoding_pages() -> Iterator[bytes]:
    return (_joined(*page) for page in _pages())


def _open_pair(data: bytes) -> Any:
    length = int.from_bytes(data[1:4], "little")
    return [data[0], unpacked(data[4 : 4 + length]), unpacked(data[4 + length :])]


def _close_pair(value: Any) -> bytes:
    return _joined(value[0], packed(value[1]), packed(value[2]))


def _mend_pair(value: Any) -> Any:
    """Let every chunk have the tier of a layer that uses it, and layers their records' blocks."""
    value[1] = _mend_page(value[:2])[1]
    tiers = (value[0] & _TIERS) + 1
    rows = [
        (tier, len(record[7]) // DIGEST_BYTES)
        for record in value[1]
        for tier in _tiers_of(record, tiers)
    ]
    chunks, layers, ext = value[2]
    layers = [
        (list(layer) * (blocks + 1))[:blocks] if layer else [None] * blocks
        for (_, blocks), layer in zip(rows, [*layers, *([[]] * len(rows))], strict=False)
    ]
    used = {pair[0]: tier for (tier, _), layer in zip(rows, layers, strict=False)
            for pair in layer if pair}  # fmt: skip
    chunks = [[used.get(i, chunk[0]), *chunk[1:]] for i, chunk in enumerate(chunks)]
    return [*value[:2], [chunks, layers, ext]]


def _tiers_of(record: Any, tiers: int) -> Any:
    if record[5] == "bitplane":
        return range(tiers)
    if record[0] or record[5] == "opaque":
        return (record[6][0],)
    return (0, tiers - 1)[: len(record[8])]


HARNESSES = (
    Harness("content-root", _content_root, lambda: _roots(0), 90, _ROOTS),
    Harness("encoding-root", _encoding_root, lambda: _roots(1), 90, _ROOTS),
    Harness(
        "content-page", _content_page, _content_pages, 70,
        Form(_open_page, _close_page, mend=_mend_page), 8192,
    ),
    Harness(
        "encoding-page", _encoding_page, _encoding_pages, 70,
        Form(_open_pair, _close_pair, mend=_mend_pair), 8192,
    ),
)  # fmt: skip
