"""The stream container of a chunk: a pinned header, a table, the streams (SPEC.md, section 7)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2uformat.codec import zstd
from p2uformat.errors import LimitExceeded, Malformed
from p2uformat.limits import MAX_CHUNK_MEMBERS, MAX_STREAM_BYTES, MAX_STREAMS

__all__ = ["Buffer", "Frame", "build_frame", "parse_frame"]

Buffer = bytes | memoryview

_HEAD = struct.Struct("<BBHHH")
_ROW = struct.Struct("<II")
_ZSTD = 1 << 31
_LEAST_FRAME = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """A parsed chunk: its streams are still as stored."""

    members: int
    rows: tuple[tuple[int, int, int, bool], ...]  # start, stored, raw, is zstd
    data: memoryview

    def stream(self, number: int) -> bytes | memoryview:
        """Return one stream, decompressed."""
        start, stored, raw, packed = self.rows[number]
        piece = self.data[start : start + stored]
        return zstd.decompress(piece, raw) if packed else piece

    def raw_length(self, number: int) -> int:
        """Return the length of one stream once decompressed."""
        return self.rows[number][2]


def build_frame(
    codec: int,
    members: int,
    streams: Sequence[Buffer],
    compress: Callable[[Buffer], bytes] = zstd.compress,
) -> bytes:
    """Build a chunk, each stream raw or compressed, whichever is smaller."""
    table = []
    bodies: list[Buffer] = []
    for stream in streams:
        # A frame has at least so many bytes: streams without any need no look.
        packed = compress(stream) if len(stream) > _LEAST_FRAME else stream
        if len(packed) < len(stream):
            table.append(_ROW.pack(len(packed) | _ZSTD, len(stream)))
            bodies.append(packed)
        else:
            table.append(_ROW.pack(len(stream), len(stream)))
            bodies.append(stream)
    return b"".join((_HEAD.pack(codec, 0, members, len(streams), 0), *table, *bodies))


def parse_frame(codec: int, data: bytes | memoryview) -> Frame:
    """Check a chunk's header and table.

    Raises
    ------
    Malformed
        If a rule of SPEC.md, section 7, is broken.
    LimitExceeded
        If a count or length is above its limit.
    """
    view = memoryview(data)
    if len(view) < _HEAD.size:
        raise Malformed(f"a chunk of {len(view)} bytes has no header")
    found, version, members, streams, zero = _HEAD.unpack_from(view)
    if (found, version, zero) != (codec, 0, 0):
        raise Malformed("a chunk's header disagrees with the manifest")
    if members > MAX_CHUNK_MEMBERS or streams > MAX_STREAMS:
        raise LimitExceeded(f"a chunk of {members} members and {streams} streams")
    if members < 1 or streams < 2:
        raise Malformed(f"a chunk of {members} members and {streams} streams")
    start = _HEAD.size + streams * _ROW.size
    if len(view) < start:
        raise Malformed("a chunk ends inside its stream table")
    return Frame(members, _rows(view, streams, start), view)


def _rows(view: memoryview, streams: int, start: int) -> tuple[tuple[int, int, int, bool], ...]:
    table = list(_ROW.iter_unpack(view[_HEAD.size : _HEAD.size + streams * _ROW.size]))
    total = sum(raw for _, raw in table)
    if total > MAX_STREAM_BYTES:
        raise LimitExceeded(f"a chunk's streams of {total} bytes are above the limit")
    rows = []
    for word, raw in table:
        stored, packed = word & (_ZSTD - 1), bool(word & _ZSTD)
        if (stored >= raw) if packed else (stored != raw):
            raise Malformed(f"a stream of {stored} bytes cannot hold {raw}")
        rows.append((start, stored, raw, packed))
        start += stored
    if start != len(view):
        raise Malformed(f"expected a chunk of {start} bytes, got {len(view)}")
    return tuple(rows)
