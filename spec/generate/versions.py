"""Children and parents, and partial files: as they are, and as they must not be (7.4, 8.6, 9)."""

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from builder import Key, Recipe
from ladder import DTYPES
from recipes import one, specials, spread
from source import File, Tensor, safetensors
from spoil import INCOMPLETE, MALFORMED
from valid import VECTORS
from vector import Vector

MISMATCH, REQUIRED = "parent-mismatch", "parent-required"
TIERS = (("q4", 0), ("q8", 4), ("exact", None))


def moved(dtype: str, words: Sequence[int], seed: int, most: int) -> list[int]:
    """Return words most of which are a few steps from what they were."""
    source, kind = random.Random(seed), DTYPES[dtype]
    made = []
    for word in words:
        step = source.randrange(-most, most + 1) if source.random() < 0.6 else 0
        magnitude = word % kind.sign + step
        fine = 0 <= magnitude <= kind.largest
        made.append(word - word % kind.sign + magnitude if fine else word ^ kind.sign)
    return made


def every(tensors: Sequence[Tensor], tiers: int = 3) -> list[Key]:
    """Return the layers of tensors: all tiers of ladders, the one of what is opaque."""
    return [
        (t.name, tier, 0)
        for t in tensors
        for tier in (range(tiers) if t.ladder is not None else [t.tier])
    ]


def model(*tensors: Tensor, **more: Any) -> Recipe:  # noqa: ANN401
    """Return a recipe whose file has one name, so that its head is the same in each version."""
    return Recipe(list(tensors), [safetensors("m.safetensors", tensors)], **more)


HEAD: Key = ("m.safetensors", 0, 0)


def pair(
    name: str,
    description: str,
    old: Sequence[Tensor],
    new: Sequence[Tensor],
    **more: Any,  # noqa: ANN401
) -> None:
    """Register a parent and its child, all of whose tensors' layers are differences."""
    tiers = more.pop("tiers", TIERS)
    parent = model(*old, tiers=tiers)
    keys = [key for key in every(new, len(tiers)) if key not in more.get("shared", ())]
    more = {"differences": keys, "shared": [HEAD], **more}
    child = model(*new, tiers=tiers, parent=parent, **more)
    VECTORS.append(Vector(f"{name}-parent", "8.6", f"the parent of {name}", lambda: parent))
    VECTORS.append(Vector(name, "7.4", description, lambda: child, parents=(f"{name}-parent",)))


def ladders(
    dtype: str,
    words: Sequence[int],
    most: int,
    steps: Sequence[int],
    **more: Any,  # noqa: ANN401
) -> tuple[list[Tensor], list[Tensor]]:
    """Return a tensor before and after, on one grid."""
    shape = more.pop("shape", [len(words)])
    old = one(dtype, words, steps, shape, **more)
    new = one(dtype, moved(dtype, words, 9, most), steps, shape, **more)
    return [old], [new]


WORDS = {
    "BF16": (spread("BF16", 40, -8, 1, 51), 3, [-6, -7]),
    "F16": (spread("F16", 40, -9, 1, 52), 20, [-6, -8]),
    "F32": (spread("F32", 40, -9, 1, 53), 90_000, [-6, -7]),
    "F64": (spread("F64", 24, -9, 1, 54), 1 << 44, [-6, -7]),
    "F8_E4M3": (spread("F8_E4M3", 40, -6, 4, 55), 2, [-3, -4]),
    "F8_E5M2": (spread("F8_E5M2", 40, -9, 4, 56), 2, [-4, -6]),
}
PLANES = {"F32": 1, "F64": 5}
for kind, (words, most, steps) in WORDS.items():
    pair(
        f"difference-{kind.lower().replace('_', '-')}",
        f"every layer of {kind} as a difference, numbers dense",
        *ladders(kind, words, most, steps, planes=PLANES.get(kind, 0)),
    )
for kind in ("BF16", "F32"):
    words = specials(kind) + spread(kind, 30, -9, 1, 57)
    pair(
        f"difference-outliers-{kind.lower()}",
        f"{kind} with outliers that come, go and change, zeros and subnormals; runs",
        *ladders(kind, words, 1 << (DTYPES[kind].mantissa), [-5, -7], planes=PLANES.get(kind, 0)),
        dense=False,
    )
pair(
    "difference-units",
    "rows and columns that move in different measure",
    *(
        [one("F32", words, [-5], [16, 24], planes=1)]
        for words in (
            spread("F32", 384, -9, 0, 58),
            [
                a if i // 24 < 8 or i % 24 < 12 else b
                for i, (a, b) in enumerate(
                    zip(
                        spread("F32", 384, -9, 0, 58),
                        moved("F32", spread("F32", 384, -9, 0, 58), 3, 1 << 20),
                        strict=True,
                    )
                )
            ],
        )
    ),
    unit=24,
    dense=False,
)
pair(
    "difference-unit-remainder",
    "a unit that does not divide the block",
    *ladders("BF16", spread("BF16", 50, -8, 1, 59), 4, [-6]),
    unit=7,
    dense=False,
)
pair(
    "difference-long-runs",
    "runs of more than 255 zeros",
    [one("BF16", spread("BF16", 700, -8, 0, 60), [-6])],
    [
        one(
            "BF16",
            [w ^ (i in (0, 256, 699)) for i, w in enumerate(spread("BF16", 700, -8, 0, 60))],
            [-6],
        )
    ],
    dense=False,
)
SPARSE = [w if i % 3 else (i % 2) * 0x8000 for i, w in enumerate(spread("BF16", 36, -8, 0, 61))]
pair(
    "difference-sparse",
    "a sparse block whose zeros come, go and change their sign",
    [one("BF16", SPARSE, [-6], sparse=True)],
    [
        one(
            "BF16",
            [*moved("BF16", SPARSE, 4, 3)[5:], 0, 0x8000, 0x3C01, 0, 0x8000],
            [-6],
            sparse=True,
        )
    ],
    dense=False,
)
pair(
    "difference-wide-digits",
    "refinements of 1, 11 and 12 bits",
    *ladders("F32", spread("F32", 30, -7, 1, 62), 1 << 15, [-4], planes=1),
    tiers=(("q4", 0), ("q5", 1), ("q16", 12), ("q28", 24), ("exact", None)),
)
OPAQUE = [
    Tensor("a8", "U8", [5], bytes(range(5))),
    Tensor("b16", "I16", [3], struct.pack("<3h", 1, -2, 300)),
    Tensor("c32", "F32", [3], struct.pack("<3f", 1, -2, 0)),
    Tensor("d64", "I64", [3], struct.pack("<3q", 1, -(1 << 63), 7)),
]
NEXT = [
    Tensor("a8", "U8", [5], bytes([0, 2, 1, 255, 4])),
    Tensor("b16", "I16", [3], struct.pack("<3h", 1, -32768, 301)),
    Tensor("c32", "F32", [3], struct.pack("<3f", 1.5, 2, -0.0)),
    Tensor("d64", "I64", [3], struct.pack("<3q", 2, (1 << 63) - 1, 7)),
]
pair("difference-opaque", "elements of 1, 2, 4 and 8 bytes", OPAQUE, NEXT)


def plain(data: bytes) -> Recipe:
    """Return a recipe of a single plain file."""
    return Recipe([], [File("notes.txt", "plain", data, len(data))])


VECTORS.append(Vector("difference-file-parent", "8.6", "a plain file", lambda: plain(b"first")))
VECTORS.append(
    Vector(
        "difference-file",
        "7.4",
        "the blob of a plain file as a difference",
        lambda: replace(
            plain(b"fifty"), parent=plain(b"first"), differences=[("notes.txt", 0, 0)], dense=False
        ),
        parents=("difference-file-parent",),
    )
)


def version(number: int, **more: Any) -> Recipe:  # noqa: ANN401
    """Return the first, second or third version of a small model."""
    words = spread("BF16", 30, -8, 0, 70)
    for seed in range(number - 1):
        words = moved("BF16", words, 80 + seed, 3)
    tensors = [
        one("BF16", words, [-6], name="w"),
        one("BF16", spread("BF16", 20, -8, 0, 71), [-7], name="fixed"),
        Tensor("step", "I32", [1], struct.pack("<i", number)),
    ]
    return model(*tensors, **more)


CHANGED: list[Key] = [("w", 0, 0), ("w", 1, 0), ("w", 2, 0), ("step", 0, 0)]
SAME: list[Key] = [("fixed", 0, 0), ("fixed", 1, 0), ("fixed", 2, 0), HEAD]


def second(**more: Any) -> Recipe:  # noqa: ANN401
    """Return the second version as a child of the first."""
    return version(2, **{"parent": version(1), "differences": CHANGED, "shared": SAME, **more})


def third(**more: Any) -> Recipe:  # noqa: ANN401
    """Return the third version as a child of the second."""
    more = {"parent": second(), "depth": 2, "differences": CHANGED, "shared": SAME, **more}
    return version(3, **more)


def known(
    name: str,
    spec: str,
    description: str,
    make: Callable[[], Recipe],
    *parents: str,
    error: str | None = None,
    complete: int | None = None,
) -> None:
    """Register a vector with its parents."""
    VECTORS.append(Vector(name, spec, description, make, error, complete, parents))


known("version-1", "8.6", "a model, which the next ones need", lambda: version(1))
known("version-2", "8.6", "its next version: shared layers and differences", second, "version-1")
known("version-3", "8.6", "a chain of two", third, "version-2", "version-1")
known(
    "version-fresh",
    "8.6",
    "a child of which some layers are stored as they are",
    lambda: second(differences=CHANGED[:2]),
    "version-1",
)
known(
    "version-renamed",
    "8.6",
    "a shared layer that the parent has under another name",
    lambda: model(
        one("BF16", spread("BF16", 20, -8, 0, 71), [-7], name="other"),
        parent=version(1),
        shared=[("other", tier, 0) for tier in range(3)],
    ),
    "version-1",
)
known(
    "version-pages",
    "8.6",
    "an inherited page between pages that changed",
    lambda: second(pages=[1, 1, 1], inherited=[0], parent=version(1, pages=[1, 1, 1])),
    "version-pages-parent",
)
known("version-pages-parent", "8.6", "a record a page", lambda: version(1, pages=[1, 1, 1]))
known("version-alone", "8.6", "a child without its parent", second, error=REQUIRED)
known("version-other", "8.6", "another parent", second, "version-pages-other", error=MISMATCH)
known("version-pages-other", "8.6", "a stranger", lambda: model(OPAQUE[0]))
known(
    "version-truncated",
    "9",
    "a child that is cut off behind its base tier",
    lambda: second(hooks={"file": lambda data, _: data[: _behind_base(data)]}),
    "version-1",
    error=INCOMPLETE,
    complete=1,
)


def _behind_base(data: bytes) -> int:
    """Return where the second tier of a child of two base chunks begins, and a little more."""
    manifest, _, entries = struct.unpack_from("<QQQ", data, 88)
    table = struct.unpack_from(f"<{entries}Q", data, manifest - 8 * entries)
    return sorted(table)[2] + 1


known(
    "partial-all", "9", "a partial file that holds all", lambda: version(1, partial=lambda *_: True)
)
for name, count, holds in (
    ("partial-q4", 1, lambda tier, _: tier == 0),
    ("partial-q8", 2, lambda tier, _: tier < 2),
    ("partial-none", 0, lambda *_: False),
    ("partial-holes", 0, lambda _, entry: entry % 2 == 0),
):
    known(
        name,
        "9",
        "a partial file",
        lambda holds=holds: version(1, partial=holds),
        error=INCOMPLETE,
        complete=count or None,
    )
known(
    "partial-cut",
    "9",
    "a partial file whose bitmap is cut short",
    lambda: version(1, partial=lambda *_: True, hooks={"file": lambda data, _: data[:-1]}),
    error=INCOMPLETE,
)
known(
    "partial-child",
    "9",
    "a partial child",
    lambda: second(partial=lambda tier, _: tier < 2),
    "version-1",
    error=INCOMPLETE,
    complete=2,
)
known(
    "partial-padding",
    "9",
    "a bit behind the last table entry",
    lambda: second(partial=lambda *_: True, hooks={"bitmap": lambda bits, _: bits | 1 << 7}),
    "version-1",
    error=MALFORMED,
)
known(
    "partial-trailing",
    "9",
    "a byte behind the bitmap",
    lambda: version(1, partial=lambda *_: True, hooks={"file": lambda data, _: data + b"\0"}),
    error=MALFORMED,
)
