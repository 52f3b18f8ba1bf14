"""Vectors that every reader must refuse, each for one reason.

A fault is put where it belongs and all digests above it are computed again, so that it is met by
the check it is meant for and by no earlier one.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from builder import CLASSES, PLANES, SECTIONS, Group, Key, Recipe, Stream, Tensor
from valid import bias, members, one, pack_words, small, three, whole
from vector import Vector
from wire import Raw, digest, zstd_block, zstd_frame, zstd_header

VECTORS: list[Vector] = []
MALFORMED, LIMIT, DIGEST = "malformed", "limit-exceeded", "digest-mismatch"
CANONICAL, UNSUPPORTED, INCOMPLETE = "non-canonical", "unsupported-format", "incomplete"


def add(name: str, error: str, spec: str, description: str, make: Callable[[], Recipe]) -> None:
    """Register a vector."""
    VECTORS.append(Vector(name, spec, description, make, error))


def spoiled(stage: str, change: Callable[[Any, Any], Any], **more: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker of the small recipe with one hook."""
    return lambda: small(hooks={stage: change}, **more)


def field(key: str, value: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401
    """Return a hook that sets one key of a map; a function changes what is there."""
    return lambda old, _: old | {key: value(old[key]) if callable(value) else value}


def item(path: Sequence[int], value: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401
    """Return a hook that sets one element of nested arrays; a function changes what is there."""

    def change(top: Any, _: object) -> Any:  # noqa: ANN401
        inner = top
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value(inner[path[-1]]) if callable(value) else value
        return top

    return change


def flip(data: bytes, at: int = 0) -> bytes:
    """Flip one bit of a byte."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def only(key: Key, change: Callable[[bytes], bytes]) -> Callable[[Any, Any], Any]:
    """Return a hook on payloads that changes one of them."""
    return lambda payload, this: change(payload) if this == key else payload


def put(at: int, data: bytes) -> Callable[[bytes], bytes]:
    """Return a change that overwrites bytes."""
    return lambda payload: payload[:at] + data + payload[at + len(data) :]


# 9 Header. In `small`, record 0 is the opaque `b`, record 1 the bitplane `w`, record 2 the file.
add(
    "magic",
    "not-an-artifact",
    "9",
    "a bit of the magic is flipped",
    spoiled("header", field("magic", lambda m: flip(m, 1))),
)
add(
    "magic-only",
    INCOMPLETE,
    "9",
    "the file ends behind the magic",
    spoiled("file", lambda data, _: data[:8]),
)
add(
    "header-short",
    INCOMPLETE,
    "10",
    "the file ends inside the header",
    spoiled("file", lambda data, _: data[:127]),
)
add("empty-file", "not-an-artifact", "9", "a file of no bytes", spoiled("file", lambda _, __: b""))
add("major", UNSUPPORTED, "9", "a newer major version", spoiled("header", field("major", 2)))
add(
    "flag-unknown",
    UNSUPPORTED,
    "9",
    "a flag that is not known",
    spoiled("header", field("flags", 2)),
)
add(
    "flag-partial",
    UNSUPPORTED,
    "16",
    "a partial file: reserved, so refused",
    spoiled("header", field("flags", 1)),
)
add(
    "header-digest",
    DIGEST,
    "9",
    "a bit of the header changed behind its digest",
    spoiled("file", lambda data, _: flip(data, 10)),
)
add(
    "header-lengths",
    MALFORMED,
    "10",
    "a manifest that ends inside its roots",
    spoiled("header", field("manifest length", 200)),
)
add(
    "header-file-length",
    MALFORMED,
    "10",
    "a file that ends inside its manifest",
    spoiled("header", field("file length", 200)),
)
add(
    "root-length",
    LIMIT,
    "12",
    "a content root one byte above the limit",
    spoiled("header", field("content length", (1 << 18) + 1)),
)
add(
    "file-length-limit",
    LIMIT,
    "12",
    "a file length of 2^63",
    spoiled("header", field("file length", 1 << 63)),
)
add(
    "truncated-manifest",
    INCOMPLETE,
    "10",
    "the file ends inside the manifest",
    spoiled("file", lambda data, _: data[:400]),
)
add(
    "entries",
    MALFORMED,
    "10",
    "one entry more than the pages have chunks",
    spoiled("header", field("entries", lambda n: n + 1)),
)
add(
    "manifest-hole",
    MALFORMED,
    "10",
    "eight bytes between the last page and the table",
    spoiled("gap", lambda _, __: bytes(8)),
)
add(
    "file-length-long",
    MALFORMED,
    "9",
    "a byte between the last chunk and the end",
    lambda: small(
        hooks={"file": lambda d, _: d + b"\0", "header": field("file length", lambda n: n + 1)}
    ),
)
add(
    "trailing-byte",
    MALFORMED,
    "9",
    "a byte behind the file length",
    spoiled("file", lambda data, _: data + b"\0"),
)


# 8 Roots
add(
    "root-digest",
    DIGEST,
    "10",
    "the header names another content root",
    spoiled("header", field("content", flip)),
)
add(
    "other-digest",
    DIGEST,
    "10",
    "the header names another encoding root",
    spoiled("header", field("encoding", flip)),
)
add(
    "other-content",
    MALFORMED,
    "8.4",
    "the encoding root belongs to another content root",
    spoiled("other", field("content", flip)),
)
add(
    "feature",
    UNSUPPORTED,
    "3",
    "a content root feature that is not known",
    spoiled("root", field("features", ["affine"])),
)
add(
    "feature-other",
    UNSUPPORTED,
    "3",
    "an encoding root feature that is not known",
    spoiled("other", field("features", ["diff"])),
)
add(
    "root-key",
    MALFORMED,
    "3",
    "a key outside of `ext` that is not known",
    spoiled("root", lambda root, _: root | {"extra": 1}),
)
add(
    "root-no-ext",
    MALFORMED,
    "3",
    "a key is missing",
    spoiled("root", lambda root, _: {k: v for k, v in root.items() if k != "ext"}),
)
add(
    "totals",
    MALFORMED,
    "8.1",
    "a number of parameters that is not theirs",
    spoiled("root", field("totals", lambda t: [t[0] + 1, *t[1:]])),
)
add(
    "tier-name",
    MALFORMED,
    "8.1",
    "a tier name with a slash",
    lambda: small(tiers=[("q/4", 0), ("q8", 4), ("exact", None)]),
)
add(
    "tier-name-twice",
    MALFORMED,
    "8.1",
    "two tiers of one name",
    lambda: small(tiers=[("q4", 0), ("q4", 4), ("exact", None)]),
)
add(
    "tier-exact-first",
    MALFORMED,
    "8.1",
    "`exact` is not last",
    spoiled("root", field("tiers", [["exact", None], ["q4", 0], ["q8", 4]])),
)
add(
    "tier-no-exact",
    MALFORMED,
    "8.1",
    "the last tier has digits",
    spoiled("root", field("tiers", lambda t: [*t[:2], ["exact", 9]])),
)
add(
    "tier-digits",
    MALFORMED,
    "4",
    "digits that do not ascend",
    spoiled("root", field("tiers", [["q4", 0], ["q8", 0], ["exact", None]])),
)
add(
    "tier-first-digits",
    MALFORMED,
    "4",
    "digits that do not start at 0",
    spoiled("root", field("tiers", [["q4", 1], ["q8", 4], ["exact", None]])),
)
add(
    "tier-most-digits",
    LIMIT,
    "12",
    "25 digits",
    lambda: small(tiers=[("q4", 0), ("q29", 25), ("exact", None)]),
)
add(
    "tiers-most",
    LIMIT,
    "12",
    "17 tiers",
    lambda: small(tiers=[*((f"q{i}", i) for i in range(16)), ("exact", None)]),
)
add(
    "pages-differ",
    MALFORMED,
    "8.4",
    "the encoding root has no page for the content root's",
    spoiled("other", field("pages", [])),
)


def page_entry(index: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes the content root's entry of the first page."""
    return spoiled("root", field("pages", lambda pages: item([0, index], value)(pages, None)))


add("page-digest", DIGEST, "10", "the content root names another page", page_entry(4, flip))
add(
    "page-overlap",
    DIGEST,
    "10",
    "a page that reaches one byte into the next",
    page_entry(3, lambda n: n + 1),
)
add("page-length", LIMIT, "12", "a page one byte above the limit", page_entry(3, (1 << 20) + 1))
add(
    "page-key", MALFORMED, "8.1", "a page's key is not that of its first record", page_entry(1, "a")
)
add(
    "page-chunks",
    MALFORMED,
    "8.4",
    "the encoding root gives a page one chunk more",
    spoiled("other", field("pages", lambda pages: item([0, 2], lambda n: n + 1)(pages, None))),
)
add(
    "page-empty",
    MALFORMED,
    "8.1",
    "a page without records",
    lambda: Recipe(
        hooks={
            "root": field("pages", [[0, "", 0, 1, digest(b"\x90")]]),
            "other": field("pages", [[4, digest(b"\x93\x90\x90\x80"), 0]]),
            "gap": lambda _, __: b"\x90\x93\x90\x90\x80",
        }
    ),
)


# 3 Canonical msgpack
def ext(data: bytes) -> Callable[[], Recipe]:
    """Return a maker with bytes as a value inside a record's `ext`."""
    return spoiled("records", item([0, 9], {"a": Raw(data)}))


add("msgpack-int", CANONICAL, "3", "a small integer in two bytes", ext(b"\xcc\x05"))
add(
    "msgpack-int-signed",
    CANONICAL,
    "3",
    "a positive integer in a signed form",
    ext(b"\xd1\x01\x00"),
)
add("msgpack-negative", CANONICAL, "3", "-1 in two bytes", ext(b"\xd0\xff"))
add("msgpack-str", CANONICAL, "3", "a short str with a long length", ext(b"\xd9\x01a"))
add("msgpack-bin", CANONICAL, "3", "a short bin with a long length", ext(b"\xc5\x00\x01a"))
add("msgpack-array", CANONICAL, "3", "a short array with a long length", ext(b"\xdc\x00\x01\xc0"))
add("msgpack-map", CANONICAL, "3", "a short map with a long length", ext(b"\xde\x00\x01\xa1a\xc0"))
add("msgpack-float", CANONICAL, "3", "a float", ext(b"\xcb" + bytes(8)))
add("msgpack-bool", CANONICAL, "3", "a boolean", ext(b"\xc3"))
add("msgpack-extension", CANONICAL, "3", "an extension type", ext(b"\xd4\x01\x00"))
add("msgpack-utf8", CANONICAL, "3", "a str that is not UTF-8", ext(b"\xa2\xff\xfe"))
add("msgpack-surrogate", CANONICAL, "3", "a surrogate in a str", ext(b"\xa3\xed\xa0\x80"))
add("msgpack-key", CANONICAL, "3", "a map key that is an integer", ext(b"\x81\x01\x01"))
add("msgpack-unsorted", CANONICAL, "3", "map keys that descend", ext(b"\x82\xa1b\x01\xa1a\x01"))
add("msgpack-key-twice", CANONICAL, "3", "a map key twice", ext(b"\x82\xa1a\x01\xa1a\x01"))
add(
    "msgpack-nesting",
    LIMIT,
    "12",
    "arrays in arrays, thousands deep",
    ext(b"\x91" * 3000 + b"\xc0"),
)
add(
    "msgpack-count",
    CANONICAL,
    "3",
    "an array that claims four thousand million elements",
    ext(b"\xdd\xff\xff\xff\xff"),
)
add(
    "msgpack-length",
    CANONICAL,
    "3",
    "a str that claims four thousand million bytes",
    ext(b"\xdb\xff\xff\xff\xff"),
)
add(
    "msgpack-trailing",
    CANONICAL,
    "3",
    "a byte behind the records of a page",
    spoiled("content", lambda page, _: page + b"\xc0"),
)
add(
    "msgpack-trailing-root",
    CANONICAL,
    "3",
    "a byte behind the content root",
    spoiled("root_bytes", lambda root, _: root + b"\xc0"),
)


# 8.2, 8.3 Records
def record(number: int, index: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes one field of a record."""
    return spoiled("records", item([number, index], value))


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
    extra[2], extra[7], extra[8] = 4096, b"", [b"", b"", b""]
    return [*records[:2], extra, *records[2:]]


def shape(dims: list[int], size: int) -> Callable[[], Recipe]:
    """Return a maker with an opaque U8 tensor of a shape and so many bytes."""

    def change(records: list[Any], _: object) -> list[Any]:
        records[0][3:5], records[0][6] = ["U8", dims], [0, size]
        return records

    return spoiled("records", change)


add("records-order", MALFORMED, "8.2", "records out of order", spoiled("records", swap))
add("records-twice", MALFORMED, "8.2", "a record comes back", spoiled("records", again))
add("records-start", MALFORMED, "8.2", "a tensor starts with a continuation", record(0, 2, 4096))
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


def grouped(*tensors: Tensor, **hooks: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker of tensors whose refinement layers share a chunk of codec `sections`."""
    tensors = tensors or tuple(three())
    names = [tensor.name for tensor in tensors]
    return lambda: whole(*tensors, groups=[Group(SECTIONS, members(1, *names))], hooks=hooks)


def alike() -> list[Tensor]:
    """Return two bitplane tensors of equal shape and different weights."""
    words = [0x3E12, 0x3E33, 0x3E5B, 0x3D99]
    return [one("BF16", words, [-6], name="a"), one("BF16", words[::-1], [-6], name="b")]


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
    grouped(entries=item([0, 4, 1], 16)),
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


# 7 Streams
def stream(number: int, stored: bytes, raw: int, *, packed: bool) -> Callable[[Any, Any], Any]:
    """Return a hook that replaces one stream."""

    def change(streams: list[Stream], _: object) -> list[Stream]:
        streams[number] = Stream(stored, raw, packed)
        return streams

    return change


def constant(change: Callable[[bytes], tuple[bytes, int]]) -> Callable[[], Recipe]:
    """Return a maker of an opaque tensor of 64 zeros; ``change`` gives the stored stream and its raw length."""
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
    lambda: overflow(),
)
add(
    "stream-raw-limit",
    LIMIT,
    "12",
    "a stream that claims 64 MiB and a byte",
    constant(lambda z: (zstd_frame(z), (1 << 26) + 1)),
)
add("stream-sum-limit", LIMIT, "12", "streams that claim 80 MiB together", lambda: forty())
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
    constant(lambda z: ((zstd_header(32) + body(32)) * 2, 64)),
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
    constant(lambda z: (zstd_header(None, window_log=10) + body(64), 64)),
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
    constant(lambda z: (zstd_header(64) + body(60), 64)),
)
add(
    "zstd-smaller",
    MALFORMED,
    "7",
    "a frame that goes on behind its declared size",
    constant(lambda z: (zstd_header(64) + body(65), 64)),
)
add(
    "zstd-bomb",
    MALFORMED,
    "7",
    "128 MiB behind a declared size of 5000 bytes",
    constant(lambda z: (bomb(5000, 1024), 5000)),
)
add(
    "zstd-window",
    LIMIT,
    "12",
    "a window of 2^24",
    constant(lambda z: (zstd_header(64, window_log=24) + body(64), 64)),
)
add(
    "zstd-dictionary",
    MALFORMED,
    "7",
    "a frame that wants a dictionary",
    constant(lambda z: (zstd_header(64, dictionary=9) + body(64), 64)),
)
add(
    "zstd-checksum",
    MALFORMED,
    "7",
    "a frame whose checksum is wrong",
    constant(lambda z: (CHECKED + body(64) + bytes(4), 64)),
)


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
    """Return a maker that changes the streams of a `classes` chunk: 7 weights, units of 3, two classes."""

    def hook(streams: list[Stream], _: object) -> list[Stream]:
        return [plain(data) for data in change([s.stored for s in streams])]

    group = Group(CLASSES, members(0, "w"), unit=3, classes=lambda unit: unit[0] >> 7)
    tensor = one("BF16", CLASS_WORDS, [-7])
    return lambda: whole(tensor, groups=[group], hooks={"streams": hook})


def part(number: int, change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    """Return a change of one stream."""
    return lambda streams: [*streams[:number], change(streams[number]), *streams[number + 1 :]]


add("sections-none", MALFORMED, "7.1", "a chunk with meta only", sections(lambda s: [plain(b"")]))
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
    planes(lambda s: [plain(struct.pack("<2I", 17, 17)), *(plain(b"\0") for _ in range(17))]),
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


# 6 Layers, 4 Numbers
W, V = ("w", 0, 0), ("w", 2, 0)


def base(change: Callable[[bytes], bytes], **recipe: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes the base layer of twelve weights in three segments.

    Symbols start at byte 7; weights 6 and 7 are the outliers, their indices start at byte 23.
    """
    return spoiled("payload", only(W, change), **recipe)


def lone(key: Key, change: Callable[[bytes], bytes], tensor: Tensor) -> Callable[[], Recipe]:
    """Return a maker that changes one layer of a tensor."""
    return lambda: whole(tensor, hooks={"payload": only(key, change)})


def f16(planes: int = 1) -> Tensor:
    """Return F16 weights: 1.25 in a bin of width 2^-10, an outlier, and 3 subnormal in bin 0."""
    return one("F16", [0x3D00, 0x7C00, 0x0003], [-6], planes=planes)


def live_zero() -> Recipe:
    """Return a sparse block in which the first weight lost its last bit and so became zero.

    The block digest follows, for the weight's bytes are what the layers say.
    """
    tensor = one("BF16", [0x0001, 0x3F80, 0x8000], [-7], sparse=True)
    block = pack_words("BF16", [0x0000, 0x3F80, 0x8000])

    def change(records: list[Any], _: object) -> list[Any]:
        records[0][7] = digest(block)
        return records

    hooks = {"payload": only(V, lambda d: put(1, bytes([d[1] & 0xFE]))(d)), "records": change}
    return Recipe([tensor], hooks=hooks)


def missing() -> Recipe:
    """Return a source file with a tensor that is not stored."""
    recipe = whole(bias(), one("BF16", [0x3F80], [-7]))
    recipe.tensors = recipe.tensors[:1]
    return recipe


add("base-flag", MALFORMED, "6.1", "a flag that is not known", base(put(0, b"\x02")))
add("base-short", MALFORMED, "6.1", "a byte is missing at the end", base(lambda d: d[:-1]))
add("base-long", MALFORMED, "6.1", "a byte behind the outliers", base(lambda d: d + b"\0"))
add(
    "base-count",
    MALFORMED,
    "6.1",
    "an outlier count of four thousand million",
    base(put(19, b"\xff" * 4)),
)
add("step-limit", LIMIT, "12", "K = 2001", base(put(1, struct.pack("<h", 2001))))
add("step-limit-negative", LIMIT, "12", "K = -2001", base(put(1, struct.pack("<h", -2001))))
add(
    "symbol-255",
    MALFORMED,
    "4",
    "the symbol of a sparse zero in a block that is not sparse",
    base(put(7, b"\xff")),
)
add(
    "outlier-order",
    MALFORMED,
    "6.1",
    "outliers that descend",
    base(lambda d: put(23, struct.pack("<2I", 7, 6))(d)),
)
add(
    "outlier-index",
    MALFORMED,
    "6.1",
    "an outlier beyond the block",
    base(put(27, struct.pack("<I", 12))),
)
add("outlier-symbol", MALFORMED, "6.1", "symbol 127 without an outlier", base(put(7, b"\x7f")))
add(
    "outlier-needless",
    MALFORMED,
    "4",
    "an outlier that has a symbol of its own",
    base(put(31, struct.pack("<H", 0x3C00))),
)
add(
    "digits-short",
    MALFORMED,
    "6.2",
    "a refinement layer without its last byte",
    lone(("w", 1, 0), lambda d: d[:-1], f16()),
)
add(
    "digits-pad",
    MALFORMED,
    "3",
    "unused bits of a refinement layer that are not zero",
    lone(("w", 1, 0), lambda d: put(1, bytes([d[1] | 0x80]))(d), f16()),
)
add(
    "digits-outlier",
    MALFORMED,
    "4",
    "an outlier with a digit",
    lone(("w", 1, 0), lambda d: put(0, bytes([d[0] | 0x10]))(d), f16()),
)
add(
    "exact-short",
    MALFORMED,
    "6.3",
    "an exact layer without its last byte",
    lone(V, lambda d: d[:-1], f16()),
)
add(
    "exact-long",
    MALFORMED,
    "6.3",
    "a byte behind the exact layer",
    lone(V, lambda d: d + b"\0", f16()),
)
add(
    "exact-pad",
    MALFORMED,
    "3",
    "unused bits of an exact layer that are not zero",
    lone(V, lambda d: d[:-1] + bytes([d[-1] | 0x80]), f16(0)),
)
add("exact-x", MALFORMED, "4", "x > top", lone(V, put(0, b"\x05"), f16()))
add(
    "exact-plane",
    MALFORMED,
    "4",
    "a plane byte with bits that the weight does not lack",
    lone(V, put(1, b"\x80"), f16()),
)
add(
    "exact-plane-outlier",
    MALFORMED,
    "6.3",
    "an outlier with a plane byte",
    lone(V, put(2, b"\x01"), f16()),
)
add(
    "exact-nan",
    MALFORMED,
    "4",
    "bits that make NaN of a weight that is no outlier",
    lone(V, lambda d: bytes([d[0] | 3]), one("F8_E4M3", [0x7C], [11])),
)
add(
    "exact-above",
    MALFORMED,
    "4",
    "a bin above the largest finite value",
    lone(W, put(3, b"\x7e"), one("F8_E4M3", [0x7C], [3])),
)
add(
    "exact-grid",
    MALFORMED,
    "4",
    "a bin that is not on the source grid",
    lone(W, put(3, b"\x7d"), one("F8_E4M3", [0x48], [-4])),
)
add("sparse-live-zero", MALFORMED, "4", "a zero of a sparse block with a live symbol", live_zero)
add(
    "layer-digest",
    DIGEST,
    "10",
    "the record names another layer",
    grouped(records=item([0, 8, 1], flip)),
)
add("block-digest", DIGEST, "10", "the record names another block", record(1, 7, flip))
add("file-digest", DIGEST, "10", "the record names another file", record(2, 5, flip))
add(
    "file-unknown-tensor",
    MALFORMED,
    "10",
    "the source file lists a tensor that is not there",
    missing,
)
