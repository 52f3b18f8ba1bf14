"""Chunks of every codec (SPEC.md, 7): the frame, and each layer taken out every way there is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np

from p2uformat import kernels
from p2uformat.chunk import DIFFERENCES, Codec, open_chunk
from p2uformat.chunk.views import ChunkView
from p2uformat.codec.frame import build_frame, parse_frame
from p2uformat.errors import P2UError
from p2uformat.floats import FORMATS
from p2uformat.limits import MAX_STREAM_BYTES
from tests.fuzz.driver import CORPUS
from tests.fuzz.parsers.blocks import FASTEST, NUMPY
from tests.fuzz.parsers.files import take_apart
from tests.fuzz.parsers.harness import REFUSED, Form, Harness, expect, room_of_manifest
from tests.fuzz.parsers.sources import reference, vectors

# In front of a chunk: its codec, and what a record says of a base layer that may be in it.
_FRONT = struct.Struct("<BBHH")  # codec, format, weights, segments
_ROW = struct.Struct("<IIIIBBH")  # SPEC.md, 7.3
_KERNELS = (NUMPY, FASTEST)
_FORMATS = list(FORMATS.values())
_MOST_RAW = 1 << 16
_MOST_SLOTS = 4


def _chunk(data: bytes) -> bool:
    if len(data) < _FRONT.size:
        return False
    codec, fmt, weights, segments = _FRONT.unpack_from(data)
    chunk = data[_FRONT.size :]
    views = [_opened(codec, chunk, number) for number in range(2)]
    expect(isinstance(views[0], str) == isinstance(views[1], str), "all kernels refuse alike")
    if isinstance(views[0], str):
        expect(views[0] == views[1], "all kernels refuse for the same reason")
        return False
    assert not isinstance(views[1], str)
    slots = range(min(views[0].members, _MOST_SLOTS))
    for slot in (*slots, views[0].members - 1):
        payload = _check_slot(views[0], slot)
        expect(payload == _check_slot(views[1], slot), "all kernels take out the same")
        _check_base(views[0], slot, payload, fmt, weights, segments)
    for slot in (-1, views[0].members):
        expect(_code(views[0].payload, slot) == "malformed", "there are no other slots")
    return True


def _opened(codec: int, chunk: bytes, number: int) -> ChunkView | str:
    kernels._current = _KERNELS[number]  # to make them anew each time would take longer
    try:
        return open_chunk(codec, chunk)
    except REFUSED as error:
        return error.code
    finally:
        kernels._current = FASTEST


def _code(function: Any, *arguments: object) -> str | None:
    try:
        function(*arguments)
    except REFUSED as error:
        return error.code
    return None


def _check_slot(view: ChunkView, slot: int) -> bytes:
    parts = view.parts(slot)
    payload = bytes(view.payload(slot))
    expect(payload == b"".join(parts), "a payload is its parts")
    return payload


def _check_base(
    view: ChunkView, slot: int, payload: bytes, number: int, weights: int, segments: int
) -> None:
    fmt = _FORMATS[number % len(_FORMATS)]
    try:
        base = view.base(slot, fmt, weights, segments)
    except REFUSED:
        return
    expect(base.payload() == payload, "a base layer encodes to the same bytes")
    expect(len(base.symbols) == weights and len(base.steps) == segments, "it is of that size")


def _chunk_twice(data: bytes) -> bool:
    """Compare with the independent reader, on chunks that do not keep it long."""
    codec, chunk = data[0] if data else 0, data[_FRONT.size :]
    if codec == Codec.RAW or _declared(data) > _MOST_RAW:
        return False
    ours = _opened(codec, chunk, 1)
    if isinstance(ours, str) and ours == "unsupported-format":
        return False  # whom it asks for other codecs has looked at the manifest before
    try:
        theirs = reference.read_chunk(chunk, codec)
    except reference.RefError:
        # Flags and indices of a base layer are for the library to see when it decodes that.
        expect(isinstance(ours, str) or codec == Codec.CLASSES, "the reference refuses a chunk")
        return False
    expect(not isinstance(ours, str), f"the library calls {ours} what the reference reads")
    assert not isinstance(ours, str)
    expect(ours.members == len(theirs), "both see as many layers")
    for slot, found in enumerate(theirs):
        known = ours.parts(slot) if codec in DIFFERENCES else ours.payload(slot)
        alike = list(map(bytes, known)) == found if codec in DIFFERENCES else known == found
        expect(alike, "both take out the same layers")
    return True


def _open(data: bytes) -> Any:
    front = list(_FRONT.unpack_from(data))
    frame = parse_frame(front[0], data[_FRONT.size :])
    if sum(row[2] for row in frame.rows) > _MOST_RAW:
        raise ValueError
    return [front, frame.members, [bytes(frame.stream(i)) for i in range(len(frame.rows))]]


def _close(value: Any) -> bytes:
    front, members, streams = value
    return _FRONT.pack(*front) + build_frame(front[0], members, streams)


def _mend(value: Any) -> Any:
    """Let the streams have the lengths that the first of them asks for."""
    front, members, streams = value
    mend = {2: _mended_planes, 3: _mended_classes}.get(front[0], _mended_sections)
    return [front, members, mend(members, list(streams))]


def _sized(stream: bytes, length: int) -> bytes:
    return stream[: min(length, _MOST_RAW)].ljust(min(length, _MOST_RAW), b"\1")


def _mended_sections(members: int, streams: list[bytes]) -> list[bytes]:
    count = len(streams) - 1
    meta = _sized(streams[0], 4 * count * members)
    lengths = [n % 512 for n in struct.unpack(f"<{count * members}I", meta)]
    meta = struct.pack(f"<{len(lengths)}I", *lengths)
    return [meta, *(_sized(s, sum(lengths[i::count])) for i, s in enumerate(streams[1:]))]


def _mended_planes(members: int, streams: list[bytes]) -> list[bytes]:
    width = max(len(streams) - 1, 1)
    meta = _sized(streams[0], 4 + 4 * members)
    lengths = [n % 64 * width for n in struct.unpack_from(f"<{members}I", meta, 4)]
    total = sum(lengths) // width
    meta = struct.pack(f"<{members + 1}I", width, *lengths)
    return [meta, *(_sized(stream, total) for stream in streams[1:])]


def _mended_classes(members: int, streams: list[bytes]) -> list[bytes]:
    rows = [list(row) for row in _ROW.iter_unpack(_sized(streams[0], 20 * members))]
    for row in rows:
        row[0], row[1], row[2] = row[0] % 2048, row[1] % 64, row[2] % 64
        row[3], row[5], row[6] = max(row[3] % 4096, 1), row[5] % 9, row[6] % 2
        if row[6]:
            row[3] = min(row[3], max(row[0], 1))
            row[0] -= row[0] % row[3]
    units = [(unit, min(row[3], row[0] - start)) for row in rows
             for unit, start in enumerate(range(0, row[0], row[3]))]  # fmt: skip
    classes = max(len(streams) - 5, 1)
    numbers = bytes(n % classes for n in _sized(streams[2], len(units)))
    need = [0] * classes
    for number, (_, size) in zip(numbers, units, strict=True):
        need[number] += size
    own = [*streams[5:], b""][:classes]
    return [
        b"".join(_ROW.pack(*row) for row in rows),
        _sized(streams[1], 2 * sum(row[1] for row in rows)),
        numbers,
        _sized(streams[3], 4 * sum(row[2] for row in rows)),
        _sized(streams[4], sum(row[2] * row[5] for row in rows)),
        *(_sized(stream, size) for stream, size in zip(own, need, strict=True)),
    ]


def _declared(data: bytes) -> int:
    """Return the bytes that a chunk's stream table declares, raw."""
    head = _FRONT.size
    table = b""
    if len(data) >= head + 8 and data[0]:
        (count,) = struct.unpack_from("<H", data, head + 4)
        table = data[head + 8 : head + 8 + 8 * count]
    return sum(row[1] for row in struct.iter_unpack("<II", table[: len(table) // 8 * 8]))


def _room(data: bytes) -> int:
    """A chunk may unfold to what its stream table declares, if that is below the limit."""
    raw = _declared(data)
    return room_of_manifest(data) + (24 * raw + (1 << 23) if raw <= MAX_STREAM_BYTES else 0)


def _front(codec: int, payloads: int = 0) -> bytes:
    return _FRONT.pack(codec & 255, payloads % 6, 64, 1)


def _seeds() -> Iterator[bytes]:
    for name, data in vectors().items():
        try:
            yield from _chunks_of(data)
        except (LookupError, ValueError, TypeError, struct.error, P2UError) as error:
            if name == "bf16":
                raise AssertionError("a sound vector has no chunks") from error
    for item in msgpack.unpackb((CORPUS / "blocks.msgpack").read_bytes())[::5]:
        segments = -(-item["weights"] // item["segment"])
        number = list(FORMATS).index(item["format"])
        for codec, chunk in item["layers"]:
            yield _FRONT.pack(codec, number, item["weights"], segments & 0xFFFF) + chunk
    yield from _empty()
    yield from _bombs()


def _chunks_of(data: bytes) -> Iterator[bytes]:
    parts = take_apart(data)
    for (_, page), chunks in zip(parts["pages"], parts["chunks"], strict=True):
        for entry, (_, chunk) in zip(page[0], chunks, strict=True):
            stored = chunk if isinstance(chunk, bytes) else build_frame(*chunk)
            yield _front(entry[1], len(stored)) + stored


def _empty() -> Iterator[bytes]:
    """Yield chunks of base layers without weights, cut in every way."""
    for axis in (0, 1, 2):
        for unit in (0, 1, 5):
            row = struct.pack("<IIIIBBH", 0, 0, 0, unit, 0, 4, axis)
            yield _front(3) + build_frame(3, 1, [row, b"", b"", b"", b""])


def _bombs() -> Iterator[bytes]:
    """Yield chunks of a few bytes that ask for much."""
    most = 0xFFFFFFFF
    for codec in (1, 2, 3, 16, 17, 18, 19):
        head = struct.pack("<BBHHH", codec, 0, 4096, 300, 0)
        yield _front(codec) + head + struct.pack("<II", most, most) * 300
        yield _front(codec) + head + struct.pack("<II", 0, 0) * 300
        few = struct.pack("<BBHHH", codec, 0, 1, 6, 0) + struct.pack("<II", 20, 20)
        body = struct.pack("<IIIIBBH", most, most, most, 1, 0, 8, 0)
        yield _front(codec) + few + struct.pack("<II", 0, 0) * 5 + body
        yield _front(codec) + few + struct.pack("<II", 0x80000000, 1 << 26) * 5 + body
        wide = np.array([most] * 5, "<u4").tobytes()
        yield _front(codec) + few + struct.pack("<II", 0, 0) * 5 + wide


_FORM = Form(_open, _close, mend=_mend)
HARNESSES = (
    Harness("chunk", _chunk, _seeds, 50, _FORM, 4096, _room),
    Harness("chunk-reference", _chunk_twice, _seeds, 15, _FORM, 4096, _room),
)
