"""One zstd stream of a chunk (SPEC.md, 7): bounded before anything is allocated."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from p2uformat.codec import zstd
from p2uformat.limits import MAX_STREAM_BYTES
from p2uformat.native import native_module
from tests.fuzz.driver import CORPUS
from tests.fuzz.parsers.harness import REFUSED, Form, Harness, expect, room_of_manifest

# The declared length stands in front of the frame, as it does in a stream table.
_LENGTH = 4
_MOST_WINDOW = 1 << 23


def _declared(data: bytes) -> int:
    return int.from_bytes(data[:_LENGTH], "little")


def _stream(data: bytes) -> bool:
    size, frame = _declared(data), data[_LENGTH:]
    try:
        found = zstd.decompress(memoryview(frame), size)
    except REFUSED:
        _check_native(frame, size, None)
        return False
    expect(len(found) == size <= MAX_STREAM_BYTES, "a frame holds what its stream declares")
    _check_native(frame, size, found)
    return True


def _check_native(frame: bytes, size: int, expected: bytes | None) -> None:
    """The compiled decoder may decline a frame, but not read it otherwise."""
    native = native_module()
    if native is None or size > MAX_STREAM_BYTES:
        return
    found = native.zstd_frame(frame, size)
    expect(found is None or found == expected, "both decoders read a frame alike")


def _open(data: bytes) -> Any:
    return [_declared(data), data[_LENGTH:]]


def _close(value: Any) -> bytes:
    return struct.pack("<I", value[0]) + value[1]


def _room(data: bytes) -> int:
    # A decoder may take a window, and what was declared; twice for the compiled one.
    size = _declared(data)
    return room_of_manifest(data) + (2 * size + _MOST_WINDOW if size <= MAX_STREAM_BYTES else 0)


def _seeds() -> Iterator[bytes]:
    frames = msgpack.unpackb((CORPUS / "frames.msgpack").read_bytes())
    for frame, raw in frames[::3]:
        yield struct.pack("<I", raw) + frame
    magic = bytes.fromhex("28b52ffd")
    for bomb in ("a4ffffff7f0100", "e0ffffffffffffffff", "00ff", "c0ffffffffff0f0000", "04f8"):
        yield struct.pack("<I", 0x7FFFFFFF) + magic + bytes.fromhex(bomb)


HARNESSES = (Harness("zstd", _stream, _seeds, 110, Form(_open, _close), 4096, _room, blind=True),)
