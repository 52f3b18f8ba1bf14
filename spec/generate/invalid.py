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


def add(
    name: str, error: str, spec: str, description: str, make: Callable[[], Recipe]
) -> None:
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
add("magic", "not-an-artifact", "9", "a bit of the magic is flipped", spoiled("header", field("magic", lambda m: flip(m, 1))))
add("magic-only", INCOMPLETE, "9", "the file ends behind the magic", spoiled("file", lambda data, _: data[:8]))
add("header-short", INCOMPLETE, "10", "the file ends inside the header", spoiled("file", lambda data, _: data[:127]))
add("empty-file", "not-an-artifact", "9", "a file of no bytes", spoiled("file", lambda _, __: b""))
add("major", UNSUPPORTED, "9", "a newer major version", spoiled("header", field("major", 2)))
add("flag-unknown", UNSUPPORTED, "9", "a flag that is not known", spoiled("header", field("flags", 2)))
add("flag-partial", UNSUPPORTED, "16", "a partial file: reserved, so refused", spoiled("header", field("flags", 1)))
add("header-digest", DIGEST, "9", "a bit of the header changed behind its digest", spoiled("file", lambda data, _: flip(data, 10)))
add("header-lengths", MALFORMED, "10", "a manifest that ends inside its roots", spoiled("header", field("manifest length", 200)))
add("header-file-length", MALFORMED, "10", "a file that ends inside its manifest", spoiled("header", field("file length", 200)))
add("root-length", LIMIT, "12", "a content root one byte above the limit", spoiled("header", field("content length", (1 << 18) + 1)))
add("file-length-limit", LIMIT, "12", "a file length of 2^63", spoiled("header", field("file length", 1 << 63)))
add("truncated-manifest", INCOMPLETE, "10", "the file ends inside the manifest", spoiled("file", lambda data, _: data[:400]))
add("entries", MALFORMED, "10", "one entry more than the pages have chunks", spoiled("header", field("entries", lambda n: n + 1)))
add("manifest-hole", MALFORMED, "10", "eight bytes between the last page and the table", spoiled("gap", lambda _, __: bytes(8)))
add("file-length-long", MALFORMED, "9", "a byte between the last chunk and the end", lambda: small(hooks={"file": lambda d, _: d + b"\0", "header": field("file length", lambda n: n + 1)}))
add("trailing-byte", MALFORMED, "9", "a byte behind the file length", spoiled("file", lambda data, _: data + b"\0"))


# 8 Roots
add("root-digest", DIGEST, "10", "the header names another content root", spoiled("header", field("content", flip)))
add("other-digest", DIGEST, "10", "the header names another encoding root", spoiled("header", field("encoding", flip)))
add("other-content", MALFORMED, "8.4", "the encoding root belongs to another content root", spoiled("other", field("content", flip)))
add("feature", UNSUPPORTED, "3", "a content root feature that is not known", spoiled("root", field("features", ["affine"])))
add("feature-other", UNSUPPORTED, "3", "an encoding root feature that is not known", spoiled("other", field("features", ["diff"])))
add("root-key", MALFORMED, "3", "a key outside of `ext` that is not known", spoiled("root", lambda root, _: root | {"extra": 1}))
add("root-no-ext", MALFORMED, "3", "a key is missing", spoiled("root", lambda root, _: {k: v for k, v in root.items() if k != "ext"}))
add("totals", MALFORMED, "8.1", "a number of parameters that is not theirs", spoiled("root", field("totals", lambda t: [t[0] + 1, *t[1:]])))
add("tier-name", MALFORMED, "8.1", "a tier name with a slash", lambda: small(tiers=[("q/4", 0), ("q8", 4), ("exact", None)]))
add("tier-name-twice", MALFORMED, "8.1", "two tiers of one name", lambda: small(tiers=[("q4", 0), ("q4", 4), ("exact", None)]))
add("tier-exact-first", MALFORMED, "8.1", "`exact` is not last", spoiled("root", field("tiers", [["exact", None], ["q4", 0], ["q8", 4]])))
add("tier-no-exact", MALFORMED, "8.1", "the last tier has digits", spoiled("root", field("tiers", lambda t: [*t[:2], ["exact", 9]])))
add("tier-digits", MALFORMED, "4", "digits that do not ascend", spoiled("root", field("tiers", [["q4", 0], ["q8", 0], ["exact", None]])))
add("tier-first-digits", MALFORMED, "4", "digits that do not start at 0", spoiled("root", field("tiers", [["q4", 1], ["q8", 4], ["exact", None]])))
add("tier-most-digits", LIMIT, "12", "25 digits", lambda: small(tiers=[("q4", 0), ("q29", 25), ("exact", None)]))
add("tiers-most", LIMIT, "12", "17 tiers", lambda: small(tiers=[*((f"q{i}", i) for i in range(16)), ("exact", None)]))
add("pages-differ", MALFORMED, "8.4", "the encoding root has no page for the content root's", spoiled("other", field("pages", [])))


def page_entry(index: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes the content root's entry of the first page."""
    return spoiled("root", field("pages", lambda pages: item([0, index], value)(pages, None)))


add("page-digest", DIGEST, "10", "the content root names another page", page_entry(4, flip))
add("page-overlap", DIGEST, "10", "a page that reaches one byte into the next", page_entry(3, lambda n: n + 1))
add("page-length", LIMIT, "12", "a page one byte above the limit", page_entry(3, (1 << 20) + 1))
add("page-key", MALFORMED, "8.1", "a page's key is not that of its first record", page_entry(1, "a"))
add("page-chunks", MALFORMED, "8.4", "the encoding root gives a page one chunk more", spoiled("other", field("pages", lambda pages: item([0, 2], lambda n: n + 1)(pages, None))))
add("page-empty", MALFORMED, "8.1", "a page without records", lambda: Recipe(hooks={"root": field("pages", [[0, "", 0, 1, digest(b"\x90")]]), "other": field("pages", [[4, digest(b"\x93\x90\x90\x80"), 0]]), "gap": lambda _, __: b"\x90\x93\x90\x90\x80"}))


# 3 Canonical msgpack
def ext(data: bytes) -> Callable[[], Recipe]:
    """Return a maker with bytes as a value inside a record's `ext`."""
    return spoiled("records", item([0, 9], {"a": Raw(data)}))


add("msgpack-int", CANONICAL, "3", "a small integer in two bytes", ext(b"\xcc\x05"))
add("msgpack-int-signed", CANONICAL, "3", "a positive integer in a signed form", ext(b"\xd1\x01\x00"))
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
add("msgpack-nesting", LIMIT, "12", "arrays in arrays, thousands deep", ext(b"\x91" * 3000 + b"\xc0"))
add("msgpack-count", CANONICAL, "3", "an array that claims four thousand million elements", ext(b"\xdd\xff\xff\xff\xff"))
add("msgpack-length", CANONICAL, "3", "a str that claims four thousand million bytes", ext(b"\xdb\xff\xff\xff\xff"))
add("msgpack-trailing", CANONICAL, "3", "a byte behind the records of a page", spoiled("content", lambda page, _: page + b"\xc0"))
add("msgpack-trailing-root", CANONICAL, "3", "a byte behind the content root", spoiled("root_bytes", lambda root, _: root + b"\xc0"))


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
add("records-continuation", MALFORMED, "8.2", "a continuation of a tensor that is whole", spoiled("records", continuation))
add("record-kind", MALFORMED, "8.2", "a record of an unknown kind", record(2, 0, 2))
add("record-fields", MALFORMED, "3", "a record with a field more", spoiled("records", lambda r, _: [[*r[0], 0], *r[1:]]))
add("record-null", MALFORMED, "8.2", "a dtype that is nil", record(0, 3, None))
add("shape-huge", LIMIT, "12", "2^60 elements", shape([1 << 60], 1 << 60))
add("shape-overflow", LIMIT, "12", "2^32 x 2^32 elements, which is none in 64 bits", shape([1 << 32, 1 << 32], 0))
add("shape-bytes", MALFORMED, "8.2", "shape and bytes disagree", shape([9], 8))
add("shape-negative", MALFORMED, "8.2", "a negative dimension", shape([-8], 8))
add("rank", LIMIT, "12", "65 dimensions", shape([8] + [1] * 64, 8))
add("name-length", LIMIT, "12", "a name of 4097 bytes", record(1, 1, "w" * 4097))
add("quantizer", UNSUPPORTED, "13", "a quantizer that is not known", record(1, 5, "levels"))
add("quantizer-dtype", MALFORMED, "3", "a bitplane tensor of integers", record(1, 3, "I16"))
add("opaque-tier", MALFORMED, "8.2", "a tensor in a tier that does not exist", more(0, 0, value=3))
add("segment-zero", MALFORMED, "8.2", "a segment length of 0", more(1, 0, value=0))
add("planes-number", MALFORMED, "6.3", "a byte plane of a dtype that has no eight mantissa bits", more(1, 1, value=1))
add("delta", MALFORMED, "8.2", "a reconstruction byte of 256", more(1, 2, 0, 0, value=256))
add("bound", MALFORMED, "4", "an error bound that does not follow from the steps", more(1, 2, 1, 2, value=lambda b: b - 1))
add("figure", CANONICAL, "8.2", "a figure with an even mantissa", more(1, 3, value=[2, 0]))
add("figures-number", MALFORMED, "8.2", "parameters of three lossy tiers where there are two", more(1, 2, value=lambda t: [*t, t[1]]))
add("block-digests", MALFORMED, "8.2", "a block digest of 31 bytes", record(1, 7, lambda d: d[:31]))
add("block-hole", MALFORMED, "8.2", "no block digest for a tensor with a block", record(1, 7, b""))
add("layer-digests", MALFORMED, "8.2", "layer digests of one tier are missing", record(1, 8, lambda d: d[:2]))
add("opaque-layers", MALFORMED, "8.2", "an opaque tensor with layer digests", record(0, 8, lambda _: [bytes(32)]))
add("path-parent", MALFORMED, "8.3", "a path that climbs out", record(2, 1, "../model.safetensors"))
add("path-absolute", MALFORMED, "8.3", "an absolute path", record(2, 1, "/model.safetensors"))
add("path-backslash", MALFORMED, "8.3", "a path with a backslash", record(2, 1, "a\\model.safetensors"))
add("path-nul", MALFORMED, "8.3", "a path with a NUL", record(2, 1, "a\0b"))
add("layout", MALFORMED, "8.3", "a layout that is not known", record(2, 3, "folder"))
add("blob-length", MALFORMED, "8.3", "a plain file that is longer than its blob", record(2, 3, "plain"))


# 8.5 Encoding pages. In `small` the chunks are w/0, b/0, f/0 of tier 0, then w/1, w/2.
def entry(number: int, index: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes one field of a chunk entry."""
    return spoiled("entries", item([0, number, index], value))


def no_use(page: list[Any], _: object) -> list[Any]:
    """Point the second tensor's base layer to the first one's chunk."""
    page[1][3] = page[1][0]
    return page


def grouped(*tensors: Tensor, **hooks: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker of three tensors whose refinement layers share a chunk."""
    tensors = tensors or tuple(three())
    names = [tensor.name for tensor in tensors]
    return lambda: whole(*tensors, groups=[Group(SECTIONS, members(1, *names))], hooks=hooks)


def same_size() -> list[Tensor]:
    """Return two bitplane tensors of equal shape and different weights."""
    words = [0x3F80, 0x3E80, 0x3F11, 0x3D99]
    return [one("BF16", words, [-7], name="a"), one("BF16", words[::-1], [-7], name="b")]


add("chunk-unused", MALFORMED, "8.5", "a chunk that no layer uses", lambda: whole(*same_size(), hooks={"entries": no_use, "records": item([1, 8, 0], digest(b"")) and same_layer}) if False else no_layer())
