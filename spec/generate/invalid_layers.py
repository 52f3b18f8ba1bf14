"""Faults of layers, and digests that do not fit (4, 6, 10)."""

import struct
from collections.abc import Callable
from typing import Any

from builder import Key, Recipe
from recipes import bias, one, pack_words, whole
from source import Tensor
from spoil import (
    DIGEST,
    LIMIT,
    MALFORMED,
    add,
    flip,
    grouped,
    item,
    only,
    put,
    record,
    spoiled,
)
from wire import digest

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
    base(put(23, struct.pack("<2I", 7, 6))),
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
add(
    "file-other-dtype",
    MALFORMED,
    "10",
    "the source file's head gives a tensor another dtype of the same size",
    record(0, 3, "F32"),
)
add(
    "file-other-shape",
    MALFORMED,
    "10",
    "the source file's head gives a tensor another shape of as many elements",
    record(0, 4, [1, 2]),
)
