"""Faults of streams and codecs (7)."""

import struct
from collections.abc import Callable
from typing import Any

from builder import CLASSES, PLANES, SECTIONS, Group, Recipe, Stream
from recipes import members, one, small, whole
from source import Tensor
from spoil import (
    LIMIT,
    MALFORMED,
    add,
    grouped,
    put,
)
from wire import zstd_block, zstd_frame, zstd_header


# 7 Streams
def stream(number: int, stored: bytes, raw: int, *, packed: bool) -> Callable[[Any, Any], Any]:
    """Return a hook that replaces one stream."""

    def change(streams: list[Stream], _: object) -> list[Stream]:
        streams[number] = Stream(stored, raw, packed)
        return streams

    return change


def constant(change: Callable[[bytes], tuple[bytes, int]]) -> Callable[[], Recipe]:
    """Return a maker of 64 zeros; ``change`` gives the stored stream and its raw length."""
    stored, raw = change(bytes(64))
    tensor = Tensor("z", "U8", [64], bytes(64))
    hooks = {"streams": stream(1, stored, raw, packed=True)}
    return lambda: whole(tensor, groups=[Group(SECTIONS, members(0, "z"))], hooks=hooks)


def bomb(declared: int, blocks: int) -> bytes:
    """Return a frame of run-length blocks of 128 KiB each."""
    most = 1 << 17
    body = b"".join(zstd_block(1, most, b"\0", last=i == blocks - 1) for i in range(blocks))
    return zstd_header(declared) + body


def body(size: int) -> bytes:
    """Return the only block of a frame of zeros."""
    return zstd_block(1, size, b"\0", last=True)


def forty() -> Recipe:
    """Return a recipe of one chunk with two streams of 40 MiB, which no block can have."""
    size = 40 << 20
    frame = zstd_header(size) + b"".join(
        zstd_block(1, 1 << 17, b"\0", last=i == 319) for i in range(320)
    )

    def change(streams: list[Stream], _: object) -> list[Stream]:
        return [streams[0], *(Stream(frame, size, packed=True) for _ in range(2))]

    group = Group(SECTIONS, members(0, "z"), lambda payload: [payload, b""])
    return whole(Tensor("z", "U8", [64], bytes(64)), groups=[group], hooks={"streams": change})


def overflow() -> Recipe:
    """Return a recipe with three streams whose stored lengths end with the chunk modulo 2^32."""

    def change(data: bytes, number: int) -> bytes:
        if number:
            return data
        lengths = [(1 << 31) - 1, (1 << 31) - 1, len(data) - 8 - 24 + 2]
        table = b"".join(struct.pack("<II", length, 0) for length in lengths)
        return data[:8] + table + data[32:]

    group = Group(SECTIONS, members(0, "b"), lambda payload: [payload, b""])
    return small(groups=[group], hooks={"chunk": change})


SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + bytes(4)
CHECKED = zstd_header(64)[:4] + bytes([zstd_header(64)[4] | 4]) + zstd_header(64)[5:]
add(
    "stream-lengths",
    MALFORMED,
    "7",
    "a plain stream with two lengths",
    grouped(streams=lambda s, _: [s[0], Stream(s[1].stored, s[1].raw + 1)]),
)
add(
    "stream-beyond",
    MALFORMED,
    "7",
    "a stream that reaches beyond the chunk",
    grouped(chunk=lambda d, n: put(8, struct.pack("<II", 9999, 9999))(d) if n == 0 else d),
)
add(
    "stream-overflow",
    MALFORMED,
    "7",
    "lengths whose sum is right in 32 bits only",
    overflow,
)
add(
    "stream-raw-limit",
    LIMIT,
    "12",
    "a stream that claims 64 MiB and a byte",
    constant(lambda z: (zstd_frame(z), (1 << 26) + 1)),
)
add("stream-sum-limit", LIMIT, "12", "streams that claim 80 MiB together", forty)
add(
    "zstd-not-shorter",
    MALFORMED,
    "7",
    "a frame that is as long as its content",
    constant(lambda z: (zstd_header(64) + zstd_block(0, 50, z[:50], last=True), 62)),
)
add("zstd-magic", MALFORMED, "7", "a stream that is no frame", constant(lambda z: (z[:20], 64)))
add(
    "zstd-skippable",
    MALFORMED,
    "7",
    "a skippable frame in front",
    constant(lambda z: (SKIPPABLE + zstd_frame(z), 64)),
)
add(
    "zstd-two-frames",
    MALFORMED,
    "7",
    "two frames that make up the raw length together",
    constant(lambda _: ((zstd_header(32) + body(32)) * 2, 64)),
)
add(
    "zstd-trailing",
    MALFORMED,
    "7",
    "bytes behind the frame",
    constant(lambda z: (zstd_frame(z) + b"\0", 64)),
)
add(
    "zstd-trailing-frame",
    MALFORMED,
    "7",
    "an empty frame behind the frame",
    constant(lambda z: (zstd_frame(z) + zstd_header(0) + zstd_block(0, 0, b"", last=True), 64)),
)
add(
    "zstd-truncated",
    MALFORMED,
    "7",
    "a frame that ends inside a block",
    constant(lambda z: (zstd_frame(z)[:-1], 64)),
)
add(
    "zstd-no-size",
    MALFORMED,
    "7",
    "a frame without its content size",
    constant(lambda _: (zstd_header(None, window_log=10) + body(64), 64)),
)
add(
    "zstd-other-size",
    MALFORMED,
    "7",
    "a frame that declares another size than the stream",
    constant(lambda z: (zstd_frame(z), 63)),
)
add(
    "zstd-larger",
    MALFORMED,
    "7",
    "a frame that ends before its declared size",
    constant(lambda _: (zstd_header(64) + body(60), 64)),
)
add(
    "zstd-smaller",
    MALFORMED,
    "7",
    "a frame that goes on behind its declared size",
    constant(lambda _: (zstd_header(64) + body(65), 64)),
)
add(
    "zstd-bomb",
    MALFORMED,
    "7",
    "128 MiB behind a declared size of 5000 bytes",
    constant(lambda _: (bomb(5000, 1024), 5000)),
)
add(
    "zstd-window",
    LIMIT,
    "12",
    "a window of 2^24",
    constant(lambda _: (zstd_header(64, window_log=24) + body(64), 64)),
)
add(
    "zstd-dictionary",
    MALFORMED,
    "7",
    "a frame that wants a dictionary",
    constant(lambda _: (zstd_header(64, dictionary=9) + body(64), 64)),
)
add(
    "zstd-checksum",
    MALFORMED,
    "7",
    "a frame whose checksum is wrong",
    constant(lambda _: (CHECKED + body(64) + bytes(4), 64)),
)


# 7.1 - 7.3 Codecs
def sections(change: Callable[[list[Stream]], list[Stream]]) -> Callable[[], Recipe]:
    """Return a maker that changes the streams of a `sections` chunk of three members."""
    return grouped(streams=lambda streams, _: change(streams))


def plain(data: bytes) -> Stream:
    """Return a plain stream."""
    return Stream(data, len(data))


def planes(change: Callable[[list[Stream]], list[Stream]]) -> Callable[[], Recipe]:
    """Return a maker that changes the streams of a `planes` chunk of width 2."""
    tensor = Tensor("z", "U16", [3], bytes(range(6)))
    hooks = {"streams": lambda streams, _: change(streams)}
    return lambda: whole(tensor, groups=[Group(PLANES, members(0, "z"), width=2)], hooks=hooks)


CLASS_WORDS = [0x3F80, 0x3E12, 0x7F80, 0x3D01, 0xBF00, 0x3E77, 0x3F1F]


def classes(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[], Recipe]:
    """Return a maker that changes the streams of 7 weights, in units of 3 and two classes."""

    def hook(streams: list[Stream], _: object) -> list[Stream]:
        return [plain(data) for data in change([s.stored for s in streams])]

    group = Group(CLASSES, members(0, "w"), unit=3, classes=lambda unit: unit[0] >> 7)
    tensor = one("BF16", CLASS_WORDS, [-7])
    return lambda: whole(tensor, groups=[group], hooks={"streams": hook})


def part(number: int, change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    """Return a change of one stream."""
    return lambda streams: [*streams[:number], change(streams[number]), *streams[number + 1 :]]


add("sections-none", MALFORMED, "7.1", "a chunk with meta only", sections(lambda _: [plain(b"")]))
add(
    "sections-long",
    MALFORMED,
    "7.1",
    "sections that leave a byte of their stream",
    sections(lambda s: [s[0], plain(s[1].stored + b"\0")]),
)
add(
    "sections-short",
    MALFORMED,
    "7.1",
    "sections longer than their stream",
    sections(lambda s: [plain(struct.pack("<3I", 99, 1, 1)), s[1]]),
)
add(
    "sections-meta",
    MALFORMED,
    "7.1",
    "meta of another length",
    sections(lambda s: [plain(s[0].stored + bytes(4)), s[1]]),
)
add(
    "planes-width",
    MALFORMED,
    "7.2",
    "a width of 0",
    planes(lambda s: [plain(struct.pack("<2I", 0, 6)), *s[1:]]),
)
add(
    "planes-width-most",
    MALFORMED,
    "7.2",
    "a width of 17",
    planes(lambda _: [plain(struct.pack("<2I", 17, 17)), *(plain(b"\0") for _ in range(17))]),
)
add(
    "planes-uneven",
    MALFORMED,
    "7.2",
    "payloads that the width does not divide",
    planes(lambda s: [plain(struct.pack("<2I", 2, 5)), *s[1:]]),
)
add(
    "planes-streams",
    MALFORMED,
    "7.2",
    "a plane of another length",
    planes(lambda s: [s[0], plain(s[1].stored + b"\0"), s[2]]),
)
add(
    "classes-number",
    MALFORMED,
    "7.3",
    "a class number beyond the streams",
    classes(part(2, lambda d: b"\x02" + d[1:])),
)
add(
    "classes-left",
    MALFORMED,
    "7.3",
    "a class stream that is not used up",
    classes(part(5, lambda d: d + b"\0")),
)
add(
    "classes-short",
    MALFORMED,
    "7.3",
    "a class stream that runs out",
    classes(part(5, lambda d: d[:-1])),
)
add("classes-unit", MALFORMED, "7.3", "a unit of 0", classes(part(0, put(12, bytes(4)))))
add("classes-axis", MALFORMED, "7.3", "an axis of 2", classes(part(0, put(18, b"\x02"))))
add(
    "classes-divide",
    MALFORMED,
    "7.3",
    "column-major order with units that do not divide",
    classes(part(0, put(18, b"\x01"))),
)
add(
    "classes-flags",
    MALFORMED,
    "7.3",
    "a flag that is not known",
    classes(part(0, put(16, b"\x02"))),
)
add("classes-few", MALFORMED, "7.3", "four streams", classes(lambda s: s[:4]))
add(
    "classes-index",
    MALFORMED,
    "7.3",
    "an outlier index that overflows",
    classes(part(3, lambda d: b"\xff" * len(d))),
)
