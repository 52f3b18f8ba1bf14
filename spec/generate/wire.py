"""Bytes: canonical msgpack (3), bit strings (3), and zstd frames that are written by hand.

Frames made of raw and run-length blocks are legal zstd, need no compressor, and are the same
whatever version of a library is installed, so vectors are reproduced byte for byte.
"""

import struct
from dataclasses import dataclass

from blake3 import blake3

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_BLOCK = 1 << 17


def digest(data: bytes) -> bytes:
    """Return BLAKE3-256."""
    return blake3(data).digest()


@dataclass(frozen=True)
class Raw:
    """Bytes that stand for themselves inside a value: the way to write what no encoder would."""

    data: bytes


Value = None | int | str | bytes | list["Value"] | dict[str, "Value"] | Raw


def head(number: int, short: int | None, most: int, long: tuple[int, ...], first: int) -> bytes:
    """Return the shortest head: ``short + number`` up to ``most``, else type byte and number."""
    if short is not None and number <= most:
        return bytes([short + number])
    for i, width in enumerate(long):
        if number < 1 << 8 * width:
            return bytes([first + i]) + number.to_bytes(width, "big")
    raise ValueError(number)


def pack_int(number: int) -> bytes:
    """Return an integer in its shortest form."""
    if number >= 0:
        return head(number, 0, 127, (1, 2, 4, 8), 0xCC)
    if number >= -32:
        return bytes([256 + number])
    for i, form in enumerate("bhiq"):
        if number >= -1 << 8 * (1 << i) - 1:
            return bytes([0xD0 + i]) + struct.pack(">" + form, number)
    raise ValueError(number)


def pack(value: Value) -> bytes:
    """Encode canonical msgpack."""
    match value:
        case Raw(data):
            return data
        case None:
            return b"\xc0"
        case int():
            return pack_int(value)
        case str():
            data = value.encode()
            return head(len(data), 0xA0, 31, (1, 2, 4), 0xD9) + data
        case bytes():
            return head(len(value), None, 0, (1, 2, 4), 0xC4) + value
        case list():
            return head(len(value), 0x90, 15, (2, 4), 0xDC) + b"".join(map(pack, value))
        case dict():
            rows = sorted((key.encode(), key, item) for key, item in value.items())
            return head(len(rows), 0x80, 15, (2, 4), 0xDE) + b"".join(
                pack(key) + pack(item) for _, key, item in rows
            )


def bit_string(values: list[tuple[int, int]]) -> bytes:
    """Return (value, width) pairs as a bit string."""
    total, at = 0, 0
    for value, width in values:
        total |= value << at
        at += width
    return total.to_bytes((at + 7) // 8, "little")


def runs(data: bytes) -> list[tuple[bool, bytes]]:
    """Cut bytes into blocks: (True, run of one byte) or (False, anything)."""
    result: list[tuple[bool, bytes]] = []
    at = 0
    while at < len(data):
        end = at + 1
        while end < len(data) and data[end] == data[at] and end - at < ZSTD_BLOCK:
            end += 1
        piece = data[at:end]
        if len(piece) >= 8:
            result.append((True, piece))
        elif result and not result[-1][0] and len(result[-1][1]) + len(piece) <= ZSTD_BLOCK:
            result[-1] = (False, result[-1][1] + piece)
        else:
            result.append((False, piece))
        at = end
    return result


def zstd_block(kind: int, size: int, content: bytes, *, last: bool) -> bytes:
    """Return a block: kind 0 raw, 1 run-length."""
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + content


def zstd_header(
    declared: int | None, *, window_log: int | None = None, dictionary: int = 0
) -> bytes:
    """Return magic and frame header; without a window log the frame is a single segment."""
    flags = (1 << 5 if window_log is None else 0) | (1 if dictionary else 0)
    parts = b"" if window_log is None else bytes([(window_log - 10) << 3])
    parts += bytes([dictionary]) if dictionary else b""
    if declared is not None:
        flags |= 2 << 6
        parts += struct.pack("<I", declared)
    return ZSTD_MAGIC + bytes([flags]) + parts


def zstd_blocks(data: bytes) -> bytes:
    """Return the blocks of a frame."""
    pieces = runs(data)
    return b"".join(
        zstd_block(int(run), len(piece), piece[:1] if run else piece, last=i == len(pieces) - 1)
        for i, (run, piece) in enumerate(pieces)
    )


def zstd_frame(data: bytes) -> bytes:
    """Return a frame of non-empty data; shorter than the data where that has long runs."""
    return zstd_header(len(data)) + zstd_blocks(data)
