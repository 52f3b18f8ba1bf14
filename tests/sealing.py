"""Take an artifact apart, and seal it again with every digest right.

What a flipped bit does is caught by digests; what a hostile writer does is not. These helpers write
files that agree with themselves and break one rule.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import msgpack

from p2uformat.container import Container, Header
from p2uformat.digest import digest


@dataclass
class Parts:
    """An artifact's decoded values; change them, then `seal`."""

    content: dict[str, Any]
    encoding: dict[str, Any]
    pages: list[list[Any]]
    chunks: list[list[bytes]]
    raw_pages: dict[tuple[int, int], bytes] = field(default_factory=dict)
    raw_roots: dict[int, bytes] = field(default_factory=dict)
    table: list[int] | None = None
    header: dict[str, int] = field(default_factory=dict)
    tail: bytes = b""


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


def pack(value: Any) -> bytes:
    return msgpack.packb(value, use_bin_type=True)


def take_apart(path) -> Parts:
    container = Container.open(path)
    at = 128 + container.header.content_length + container.header.encoding_length
    data = path.read_bytes()
    pages, chunks = [], []
    for number, (one, two) in enumerate(
        zip(container.content.pages, container.encoding.pages, strict=True)
    ):
        pair = [data[at : at + one.length], data[at + one.length : at + one.length + two.length]]
        pages.append([unpack(part) for part in pair])
        chunks.append([container.chunk(number, i) for i in range(two.chunks)])
        at += one.length + two.length
    start = 128 + container.header.content_length
    content = unpack(data[128:start])
    encoding = unpack(data[start : start + container.header.encoding_length])
    container.close()
    return Parts(content, encoding, pages, chunks)


def replace_chunk(parts: Parts, page: int, index: int, data: bytes) -> None:
    """Store other bytes as a chunk, under their own id."""
    old = digest(parts.chunks[page][index])
    new = digest(data)
    parts.chunks[page][index] = data
    entry = parts.pages[page][1][0][index]
    entry[2] = len(data)
    if entry[3] is not None:
        entry[3] = new
        return
    for record in parts.pages[page][0]:
        for place, value in enumerate(record):
            if isinstance(value, bytes):
                record[place] = value.replace(old, new)
            elif isinstance(value, list):
                record[place] = [v.replace(old, new) if isinstance(v, bytes) else v for v in value]


def seal(parts: Parts) -> bytes:
    pages = b""
    for number, pair in enumerate(parts.pages):
        one, two = (parts.raw_pages.get((number, i), pack(value)) for i, value in enumerate(pair))
        if number < len(parts.content["pages"]):
            parts.content["pages"][number][3:] = [len(one), digest(one)]
        if number < len(parts.encoding["pages"]):
            parts.encoding["pages"][number][:2] = [len(two), digest(two)]
        pages += one + two
    content = parts.raw_roots.get(0, pack(parts.content))
    if isinstance(parts.encoding.get("content"), bytes):
        parts.encoding["content"] = digest(content)
    encoding = parts.raw_roots.get(1, pack(parts.encoding))
    return _assemble(parts, content, encoding, pages)


def _assemble(parts: Parts, content: bytes, encoding: bytes, pages: bytes) -> bytes:
    count = sum(len(chunks) for chunks in parts.chunks)
    start = 128 + len(content) + len(encoding) + len(pages) + 8 * count
    offsets, body = _lay_out(parts, start)
    table = offsets if parts.table is None else parts.table
    lengths = {
        "content_length": len(content),
        "encoding_length": len(encoding),
        "manifest_length": start,
        "file_length": start + len(body),
        "entries": count,
    }
    header = Header(digest(content), digest(encoding), **(lengths | parts.header))
    packed = struct.pack(f"<{len(table)}Q", *table)
    return header.encode() + content + encoding + pages + packed + body + parts.tail


def _lay_out(parts: Parts, start: int) -> tuple[list[int], bytes]:
    seen: dict[bytes, int] = {}
    body = b""
    rows = [
        (page[1][0][index][0], number, index, chunk)
        for number, (page, chunks) in enumerate(zip(parts.pages, parts.chunks, strict=True))
        for index, chunk in enumerate(chunks)
    ]
    for *_, chunk in sorted(rows, key=lambda row: row[:2]):
        if chunk not in seen:
            seen[chunk] = start + len(body)
            body += chunk
    return [seen[chunk] for *_, chunk in rows], body
