"""Faults of records, encoding pages and the location table (8.2, 8.3, 8.5, 9)."""

import struct
from collections.abc import Callable
from typing import Any

from builder import PLANES, RAW, SECTIONS, Group, Recipe
from recipes import members, one, whole
from source import File, Tensor
from spoil import (
    CANONICAL,
    DIGEST,
    LIMIT,
    MALFORMED,
    UNSUPPORTED,
    add,
    alike,
    flip,
    grouped,
    item,
    put,
    record,
    spoiled,
)


# 8.2, 8.3 Records
def more(number: int, *path: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes the parameters of a record."""
    return spoiled("records", item([number, 6, *path], value))


def swap(records: list[Any], _: object) -> list[Any]:
    """Put the second record first."""
    return [records[1], records[0], *records[2:]]


def again(records: list[Any], _: object) -> list[Any]:
    """Write the first record twice."""
    return [records[0], *records]


def continuation(records: list[Any], _: object) -> list[Any]:
    """Add a continuation of a tensor that has no more blocks."""
    extra = list(records[1])
    extra[2], extra[7], extra[8] = 1024, b"", [b"", b"", b""]
    return [*records[:2], extra, *records[2:]]


def shape(dims: list[int], size: int) -> Callable[[], Recipe]:
    """Return a maker with an opaque U8 tensor of a shape and so many bytes."""

    def change(records: list[Any], _: object) -> list[Any]:
        records[0][3:5], records[0][6] = ["U8", dims], [0, size]
        return records

    return spoiled("records", change)


add("records-order", MALFORMED, "8.2", "records out of order", spoiled("records", swap))
add("records-twice", MALFORMED, "8.2", "a record comes back", spoiled("records", again))
add("records-start", MALFORMED, "8.2", "a tensor starts with a continuation", record(0, 2, 1024))
add(
    "records-continuation",
    MALFORMED,
    "8.2",
    "a continuation of a tensor that is whole",
    spoiled("records", continuation),
)
add("record-kind", MALFORMED, "8.2", "a record of an unknown kind", record(2, 0, 2))
add(
    "record-fields",
    MALFORMED,
    "3",
    "a record with a field more",
    spoiled("records", lambda r, _: [[*r[0], 0], *r[1:]]),
)
add("record-null", MALFORMED, "8.2", "a dtype that is nil", record(0, 3, None))
add("shape-huge", LIMIT, "12", "2^60 elements", shape([1 << 60], 1 << 60))
add(
    "shape-overflow",
    LIMIT,
    "12",
    "2^32 x 2^32 elements, which is none in 64 bits",
    shape([1 << 32, 1 << 32], 0),
)
add("shape-bytes", MALFORMED, "8.2", "shape and bytes disagree", shape([9], 8))
add("shape-negative", MALFORMED, "8.2", "a negative dimension", shape([-8], 8))
add("rank", LIMIT, "12", "65 dimensions", shape([8] + [1] * 64, 8))
add("name-length", LIMIT, "12", "a name of 4097 bytes", record(1, 1, "w" * 4097))
add("quantizer", UNSUPPORTED, "13", "a quantizer that is not known", record(1, 5, "levels"))
add("quantizer-dtype", MALFORMED, "3", "a bitplane tensor of integers", record(1, 3, "I16"))
add("opaque-tier", MALFORMED, "8.2", "a tensor in a tier that does not exist", more(0, 0, value=3))
add("segment-zero", MALFORMED, "8.2", "a segment length of 0", more(1, 0, value=0))
add(
    "planes-number",
    MALFORMED,
    "6.3",
    "a byte plane of a dtype that has no eight mantissa bits",
    more(1, 1, value=1),
)
add("delta", MALFORMED, "8.2", "a reconstruction byte of 256", more(1, 2, 0, 0, value=256))
add(
    "bound",
    MALFORMED,
    "4",
    "an error bound that does not follow from the steps",
    more(1, 2, 1, 2, value=lambda b: b - 1),
)
add("figure", CANONICAL, "8.2", "a figure with an even mantissa", more(1, 3, value=[2, 0]))
add(
    "figures-number",
    MALFORMED,
    "8.2",
    "parameters of three lossy tiers where there are two",
    more(1, 2, value=lambda t: [*t, t[1]]),
)
add("block-digests", MALFORMED, "8.2", "a block digest of 31 bytes", record(1, 7, lambda d: d[:31]))
add("block-hole", MALFORMED, "8.2", "no block digest for a tensor with a block", record(1, 7, b""))
add(
    "layer-digests",
    MALFORMED,
    "8.2",
    "layer digests of one tier are missing",
    record(1, 8, lambda d: d[:2]),
)
add(
    "opaque-layers",
    MALFORMED,
    "8.2",
    "an opaque tensor with layer digests",
    record(0, 8, lambda _: [bytes(32)]),
)
add("path-parent", MALFORMED, "8.3", "a path that climbs out", record(2, 1, "../model.safetensors"))
add("path-absolute", MALFORMED, "8.3", "an absolute path", record(2, 1, "/model.safetensors"))
add(
    "path-backslash",
    MALFORMED,
    "8.3",
    "a path with a backslash",
    record(2, 1, "a\\model.safetensors"),
)
add("path-empty", MALFORMED, "8.3", "a path of no characters", record(2, 1, ""))
add("path-nul", MALFORMED, "8.3", "a path with a NUL", record(2, 1, "a\0b"))
add("layout", MALFORMED, "8.3", "a layout that is not known", record(2, 3, "folder"))
add(
    "blob-length",
    MALFORMED,
    "8.3",
    "a plain file that is longer than its blob",
    record(2, 3, "plain"),
)


# 8.5 Encoding pages. In `small` the chunks are w/0, b/0, f/0 of tier 0, then w/1, w/2.
def entry(number: int, index: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes one field of a chunk entry."""
    return spoiled("entries", item([0, number, index], value))


def swap_slots(page: list[Any], _: object) -> list[Any]:
    """Give the refinement layers of two tensors each other's slots."""
    page[1][1], page[1][4] = page[1][4], page[1][1]
    return page


def swap_chunks(page: list[Any], _: object) -> list[Any]:
    """Put an entry of a higher tier first."""
    page[0][2], page[0][3] = page[0][3], page[0][2]
    for layer in page[1]:
        for use in layer:
            use[0] = {2: 3, 3: 2}.get(use[0], use[0])
    return page


def unused() -> Recipe:
    """Return a recipe with two chunks for one layer, so that one chunk is not used."""
    groups = [Group(SECTIONS, members(1, "a")), Group(SECTIONS, members(1, "a", "b"))]
    return whole(*alike(), groups=groups)


def misplaced(codec: int, tier: int, dtype: str) -> Callable[[], Recipe]:
    """Return a maker of a chunk whose codec is not for such layers."""
    tensor = one(dtype, [0x3F80, 0x3E80, 0x3F11, 0x3D99], [-7])
    return lambda: whole(tensor, groups=[Group(codec, members(tier, "w"), width=1)])


add("chunk-unused", MALFORMED, "8.5", "a chunk that no layer uses", unused)
add(
    "chunk-missing",
    MALFORMED,
    "8.5",
    "a layer in a chunk that does not exist",
    spoiled("entries", item([1, 1, 0, 0], 9)),
)
add(
    "chunk-tier",
    MALFORMED,
    "8.5",
    "a base layer in a chunk of tier 1",
    spoiled("entries", item([1, 1, 0, 0], 3)),
)
add(
    "chunk-order",
    MALFORMED,
    "8.5",
    "chunks that do not ascend by tier",
    spoiled("entries", swap_chunks),
)
add(
    "chunk-codec",
    UNSUPPORTED,
    "13",
    "a codec that is not known",
    grouped(entries=item([0, 4, 1], 20)),
)
add("chunk-raw-id", MALFORMED, "8.5", "a raw chunk with an id", entry(0, 3, bytes(32)))
add(
    "chunk-no-id",
    MALFORMED,
    "8.5",
    "a chunk of codec `sections` without an id",
    grouped(entries=item([0, 4, 3], None)),
)
add(
    "chunk-raw-slot",
    MALFORMED,
    "8.5",
    "slot 1 of a raw chunk",
    spoiled("entries", item([1, 0, 0, 1], 1)),
)
add("chunk-length", LIMIT, "12", "a chunk one byte above the limit", entry(0, 2, (1 << 26) + 1))
add(
    "layers-missing",
    MALFORMED,
    "8.5",
    "the layers of the last record are missing",
    spoiled("entries", lambda p, _: [p[0], p[1][:-1], p[2]]),
)
add(
    "layers-extra",
    MALFORMED,
    "8.5",
    "layers of a record more",
    spoiled("entries", lambda p, _: [p[0], [*p[1], []], p[2]]),
)
add(
    "layer-blocks",
    MALFORMED,
    "8.5",
    "a layer of two blocks where the tensor has one",
    spoiled("entries", lambda p, _: [p[0], [p[1][0] * 2, *p[1][1:]], p[2]]),
)
add(
    "layer-triple",
    MALFORMED,
    "16",
    "a layer that names a parent: reserved",
    spoiled("entries", item([1, 0, 0], [0, 0, bytes(32)])),
)
add(
    "slot-range",
    MALFORMED,
    "7",
    "a slot that the chunk does not have",
    grouped(entries=item([1, 1, 0, 1], 5)),
)
add(
    "slot-swapped",
    DIGEST,
    "10",
    "two layers at each other's slots",
    grouped(*alike(), entries=swap_slots),
)
add(
    "codec-planes-bitplane",
    MALFORMED,
    "7",
    "codec `planes` for a layer that is not opaque",
    misplaced(PLANES, 1, "BF16"),
)


# 9 Location table and chunks
def first_of(table: list[int], _: object) -> list[int]:
    """Let the second chunk start where the first does."""
    return [table[0], table[0], *table[2:]]


def second_copy() -> Recipe:
    """Return a tensor and a file of equal bytes in two tiers, the later ones with a flipped bit."""
    content = bytes(range(40))
    late = File("copy.bin", "plain", content, len(content), tier=2)
    hooks = {"file": lambda file, _: flip(file, len(file) - 1)}
    return Recipe([Tensor("a", "U8", [40], content)], [late], hooks=hooks)


def behind_empty() -> Recipe:
    """Return zeros, whose refinement layer has no bytes, and behind it a damaged file."""
    zeros = one("F16", [0, 0, 0], [5], sparse=True)
    late = File("late.bin", "plain", b"abcdefgh", 8, tier=1)
    return Recipe([zeros], [late], hooks={"file": lambda file, _: flip(file, len(file) - 1)})


def empty_layer(tier: int) -> Recipe:
    """Return zeros in a sparse block, with a byte stored for the layer of a tier that has none."""
    tensor = one("F16", [0, 0, 0], [5], sparse=True)
    groups = [Group(RAW, [("w", tier, 0)])]
    return whole(tensor, groups=groups, hooks={"chunk": lambda d, n: b"\0" if n == 0 else d})


def damage(data: bytes, _: object) -> bytes:
    """Flip a bit in the middle of the chunks."""
    return flip(data, (struct.unpack_from("<Q", data, 88)[0] + len(data)) // 2)


add("table-overlap", MALFORMED, "9", "two chunks at one place", spoiled("table", first_of))
add(
    "table-hole",
    MALFORMED,
    "9",
    "the last chunk one byte later",
    spoiled("table", lambda t, _: [*t[:-1], t[-1] + 1]),
)
add(
    "table-outside",
    MALFORMED,
    "9",
    "a chunk beyond the end of the file",
    spoiled("table", lambda t, _: [*t[:-1], (1 << 63) - 1]),
)
add("chunk-id", DIGEST, "10", "a bit of a chunk is flipped", spoiled("file", damage))
add(
    "chunk-second-copy",
    DIGEST,
    "9",
    "of two chunks with one id in two tiers the second is damaged",
    second_copy,
)
add(
    "chunk-behind-empty",
    DIGEST,
    "9",
    "a damaged chunk at the offset of one without bytes",
    behind_empty,
)
add(
    "chunk-empty",
    DIGEST,
    "10",
    "a byte is stored for a layer without bytes",
    lambda: empty_layer(1),
)
add(
    "chunk-empty-twice",
    DIGEST,
    "10",
    "two layers have no bytes; for the second, in a higher tier, a byte is stored",
    lambda: empty_layer(2),
)
add(
    "chunk-head-codec",
    MALFORMED,
    "7",
    "page and chunk name different codecs",
    grouped(chunk=lambda d, n: put(0, b"\x02")(d) if n == 0 else d),
)
add(
    "chunk-head-zero",
    MALFORMED,
    "7",
    "a reserved byte that is not zero",
    grouped(chunk=lambda d, n: put(1, b"\x01")(d) if n == 0 else d),
)
add(
    "chunk-members",
    MALFORMED,
    "7",
    "a chunk without members",
    grouped(chunk=lambda d, n: put(2, b"\0\0")(d) if n == 0 else d),
)
add(
    "chunk-members-most",
    LIMIT,
    "12",
    "a chunk of 4097 members",
    grouped(chunk=lambda d, n: put(2, b"\x01\x10")(d) if n == 0 else d),
)
add(
    "chunk-streams-most",
    LIMIT,
    "12",
    "a chunk of 301 streams",
    grouped(chunk=lambda d, n: put(4, b"\x2d\x01")(d) if n == 0 else d),
)
add(
    "chunk-short",
    MALFORMED,
    "7",
    "a chunk that ends in its stream table",
    grouped(chunk=lambda d, n: d[:12] if n == 0 else d),
)
add(
    "chunk-trailing",
    MALFORMED,
    "7",
    "a byte behind the last stream",
    grouped(chunk=lambda d, n: d + b"\0" if n == 0 else d),
)
