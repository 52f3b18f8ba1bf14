"""Vectors that every reader must read, and the truncated ones that are whole up to a tier."""

import struct
from collections.abc import Callable
from typing import Any

from builder import CLASSES, PLANES, SECTIONS, Build, Group, Key, Recipe
from recipes import (
    SMALL,
    bias,
    by_size,
    cut_behind,
    halves,
    members,
    one,
    pack_words,
    small,
    specials,
    spread,
    three,
    two,
    whole,
)
from source import File as SourceFile
from source import Ladder, Tensor, safetensors
from vector import Vector
from worked_example import recipe as worked_recipe

VECTORS: list[Vector] = []


def vector(name: str, spec: str, description: str, **more: Any) -> Callable[..., Any]:  # noqa: ANN401
    """Register what the function returns."""

    def register(make: Callable[[], Recipe]) -> Callable[[], Recipe]:
        VECTORS.append(Vector(name, spec, description, make, **more))
        return make

    return register


@vector("worked-example", "17", "the artifact of the worked example")
def _() -> Recipe:
    return worked_recipe()


@vector("bf16", "4", "BF16 with outliers, zeros of both signs and a subnormal; three segments")
def _() -> Recipe:
    return small()


@vector("bf16-near-subnormal", "4", "BF16 with steps around and below the smallest normal number")
def _() -> Recipe:
    words = specials("BF16") + spread("BF16", 24, -134, -118, 1)
    return whole(one("BF16", words, [-126, -127, -122, -133, -131, -140, -128, -120], segment=5))


@vector("bf16-wide-steps", "4", "BF16 with steps above most weights: bin 0 and stored exponents")
def _() -> Recipe:
    words = specials("BF16") + spread("BF16", 20, -20, 126, 2)
    return whole(one("BF16", words, [0, 20, 60, 119, 127, 130], segment=6))


@vector("f16-planes-0", "6.3", "F16 without byte planes")
def _() -> Recipe:
    words = specials("F16") + spread("F16", 24, -16, 4, 3)
    return whole(one("F16", words, [-6, -14, -20, -2], segment=11))


@vector("f16-planes-1", "6.3", "F16 with one byte plane, near the subnormals too")
def _() -> Recipe:
    words = specials("F16") + spread("F16", 24, -25, 4, 4)
    return whole(one("F16", words, [-6, -14, -24, 3], segment=11, planes=1))


@vector("f16-wide-steps", "4", "F16 with steps up to and above the largest exponent")
def _() -> Recipe:
    words = specials("F16") + spread("F16", 12, -10, 16, 5)
    return whole(one("F16", words, [9, 15, 16, 24], segment=8))


@vector("f32-planes-1", "6.3", "F32 with one byte plane and fifteen bits behind it")
def _() -> Recipe:
    words = specials("F32") + spread("F32", 20, -12, 3, 6)
    return whole(one("F32", words, [-7, -9, -30], segment=13, planes=1))


@vector("f32-planes-2", "6.3", "F32 with two byte planes, near the subnormals too")
def _() -> Recipe:
    words = specials("F32") + spread("F32", 20, -150, -118, 7)
    return whole(one("F32", words, [-126, -149, -140, -120], segment=10, planes=2))


@vector("f64-planes-5", "6.3", "F64 with five byte planes; exponents take two bytes")
def _() -> Recipe:
    words = specials("F64") + spread("F64", 16, -12, 3, 8)
    return whole(one("F64", words, [-7, 40], segment=24, planes=5))


@vector("f64-planes-6", "6.3", "F64 with six byte planes, near the subnormals too")
def _() -> Recipe:
    words = specials("F64") + spread("F64", 16, -1076, -1010, 9)
    return whole(one("F64", words, [-1022, -1074, -1060], segment=12, planes=6))


@vector(
    "f8-e4m3-all", "4", "every bit pattern of F8_E4M3 at three steps; no bin may rebuild as NaN"
)
def _() -> Recipe:
    tensors = [one("F8_E4M3", range(256), [k], name=f"k{k}") for k in (-9, -3, 2)]
    return whole(*tensors)


@vector("f8-e4m3-clamp", "15", "448 in bins so wide that only the clamp to F keeps it from NaN")
def _() -> Recipe:
    return whole(
        one("F8_E4M3", [0x7E, 0xFE, 0x7D, 0x7F, 0xFF, 1, 0], [8, 9, 4, 5, 7, 8, 9], segment=1)
    )


@vector("f8-e5m2-all", "4", "every bit pattern of F8_E5M2 at three steps")
def _() -> Recipe:
    tensors = [one("F8_E5M2", range(256), [k], name=f"k{k}") for k in (-16, -5, 9)]
    return whole(*tensors)


@vector("step-extremes", "12", "step exponents of 2000 and -2000: all bin 0, all outliers")
def _() -> Recipe:
    words = [0x3F800000, 0x80000001, 0x7F7FFFFF, 0x00000000]
    return whole(one("F32", words * 2, [2000, -2000], segment=4, planes=1))


@vector("sparse", "4", "a sparse block: +0, -0, a negative weight with m = 126, outliers")
def _() -> Recipe:
    words = [0x0000, 0x8000, 0x3F7C, 0xBF7C, 0x3F7E, 0xBF7E, 0x0000, 0x0000, 0x3C01, 0x7FC1, 0x8000]
    return whole(one("BF16", words, [-7], sparse=True))


@vector("not-sparse", "4", "the weights of `sparse` in a block that is not")
def _() -> Recipe:
    words = [0x0000, 0x8000, 0x3F7C, 0xBF7C, 0x3F7E, 0xBF7E, 0x0000, 0x0000, 0x3C01, 0x7FC1, 0x8000]
    return whole(one("BF16", words, [-7]))


@vector(
    "sparse-empty",
    "6",
    "nothing but zeros in a sparse block: refinement and exact layers are empty",
)
def _() -> Recipe:
    return whole(one("F16", [0x0000, 0x8000, 0x0000], [5], sparse=True, planes=1))


@vector("all-outliers", "6.3", "no weight but outliers: digits and planes without meaning, no bits")
def _() -> Recipe:
    return whole(one("F16", [0x7C00, 0xFC00, 0x7E01, 0xFDFF, 0x7BFF], [-10], planes=1))


@vector("opaque-dtypes", "3", "integers, booleans, complex numbers; a packed and an unknown dtype")
def _() -> Recipe:
    rows = [
        ("BOOL", [3], 3),
        ("I64", [2, 1], 16),
        ("C64", [1], 8),
        ("U16", [2, 2], 8),
        ("F8_E8M0", [5], 5),
    ]
    rows += [("F4", [3, 5], 8), ("X_NEW", [4], 7)]
    tensors = [Tensor(name.lower(), name, shape, bytes(range(1, n + 1))) for name, shape, n in rows]
    return whole(*tensors)


@vector("empty-and-scalar", "5", "tensors without elements, and of rank 0, opaque and quantized")
def _() -> Recipe:
    empty = [Tensor("empty", "F32", [0], b""), Tensor("empty2", "BF16", [3, 0, 5], b"")]
    scalars = [
        Tensor("scalar", "I64", [], bytes(8)),
        one("F32", [0x3FC00001], [-3], name="one", planes=1),
    ]
    scalars[1].shape = []
    return whole(*empty, *scalars)


@vector("odd-shapes", "5", "axes of length 1 and odd lengths")
def _() -> Recipe:
    shapes = {"a": [1, 7, 1, 3], "b": [5, 1], "c": [1], "d": [1, 1, 1], "e": [13]}
    tensors = []
    for i, (name, shape) in enumerate(shapes.items()):
        count = 1
        for length in shape:
            count *= length
        words = spread("BF16", count, -6, 1, 20 + i)
        tensors.append(one("BF16", words, [-7] * -(-count // 4), shape, segment=4, name=name))
    return whole(*tensors)


@vector("raw-source-order", "8.3", "tensors lie in the file in another order than their names")
def _() -> Recipe:
    tensors = [one("BF16", SMALL, [-5], name=name) for name in ("z", "a", "m")]
    return whole(*tensors, bias())


@vector("names", "8.2", "names with control characters, of several scripts, and empty")
def _() -> Recipe:
    names = ["", "tab\there", "\x1b[31mred", "\u202eright", "größe", "重み", "a\\b", "\U0001f600"]
    return whole(*(Tensor(name, "U8", [1], bytes([i])) for i, name in enumerate(names)))


@vector("codec-sections", "7.1", "chunks of three members, cut into sections that share streams")
def _() -> Recipe:
    groups = [Group(SECTIONS, members(tier, "t2", "t0", "t1"), halves) for tier in range(3)]
    return whole(*three(), bias(), groups=groups)


@vector("codec-planes", "7.2", "opaque layers with their bytes apart, at widths 1, 3 and 8")
def _() -> Recipe:
    rows = [("a", 5), ("b", 4), ("c", 8), ("d", 16), ("e", 3)]
    tensors = [Tensor(n, "U8", [size], bytes(range(3, size + 3))) for n, size in rows]
    groups = [
        Group(PLANES, members(0, "a", "b"), width=3),
        Group(PLANES, members(0, "d", "c"), width=8),
        Group(PLANES, members(0, "e"), width=1),
    ]
    return whole(*tensors, groups=groups)


@vector(
    "codec-classes",
    "7.3",
    "base layers by class: three members, outliers, a last unit that is short",
)
def _() -> Recipe:
    tensors = [*three(), one("BF16", SMALL, [-4, -5, -6], [3, 4], segment=4)]
    group = Group(CLASSES, members(0, "w", "t0", "t1", "t2"), unit=4, classes=by_size)
    return whole(*tensors, groups=[group])


@vector("codec-classes-transposed", "7.3", "symbols in column-major order")
def _() -> Recipe:
    tensor = one("F16", spread("F16", 12, -6, 1, 40), [-7], [3, 4])
    return whole(tensor, groups=[Group(CLASSES, members(0, "w"), unit=3, axis=1, classes=by_size)])


@vector("zstd-streams", "7", "streams that are zstd frames, in all codecs")
def _() -> Recipe:
    tensors = [
        one("BF16", [0x3F80] * 64, [-7], name="u"),
        one("BF16", [0xBF80] * 64, [-7], name="v"),
    ]
    tensors.append(Tensor("z", "U32", [32], bytes(128)))
    groups = [Group(CLASSES, members(0, "u", "v"), unit=8, zstd=True, classes=lambda u: u[0] >> 7)]
    groups += [Group(SECTIONS, members(tier, "u", "v"), zstd=True) for tier in (1, 2)]
    groups.append(Group(PLANES, members(0, "z"), width=4, zstd=True))
    return whole(*tensors, groups=groups)


@vector("several-blocks", "5", "two blocks of rows, with different steps; every weight equal")
def _() -> Recipe:
    rung = Ladder([[-6] * 65, [-7]], 4096)
    tensor = Tensor("w", "BF16", [257, 1025], pack_words("BF16", [0x3F99]) * 257 * 1025, rung)
    names: list[Key] = [("w", 0, 0), ("w", 0, 1)]
    groups = [Group(CLASSES, names, unit=1025, zstd=True)]
    groups += [
        Group(SECTIONS, [("w", tier, block) for block in (0, 1)], zstd=True) for tier in (1, 2)
    ]
    return whole(tensor, groups=groups)


@vector(
    "huge-rows", "5", "rows longer than a block are cut by themselves; a packed dtype is one row"
)
def _() -> Recipe:
    wide = Tensor("wide", "U8", [2, (1 << 19) + 3], bytes(2 * ((1 << 19) + 3)))
    packed = Tensor("packed", "F4", [4, 1 << 18], bytes(1 << 19))
    keys: list[Key] = [("wide", 0, block) for block in range(4)]
    groups = [Group(PLANES, keys, zstd=True), Group(SECTIONS, [("packed", 0, 0)], zstd=True)]
    recipe = Recipe([wide, packed], groups=groups)
    return recipe


@vector(
    "shared-chunk", "8.5", "two tensors of equal content: raw chunks with one id are stored once"
)
def _() -> Recipe:
    return whole(*(one("BF16", SMALL, [-5], name=name) for name in ("a", "b")))


@vector("shared-chunk-pages", "9", "a chunk that two pages name lies at its first occurrence")
def _() -> Recipe:
    return whole(*(one("BF16", SMALL, [-5], name=name) for name in ("a", "b")), pages=[1])


@vector(
    "shared-chunk-tiers",
    "9",
    "equal chunks of two tiers are stored twice, so that a tier's bytes are its own",
)
def _() -> Recipe:
    data = bytes(range(40))
    recipe = whole(Tensor("a", "U8", [40], data), one("BF16", SMALL, [-5]))
    recipe.files = [*recipe.files, SourceFile("copy.bin", "plain", data, len(data), tier=2)]
    return recipe


@vector("shared-slot", "8.5", "two layers of one tensor each point to the same slot")
def _() -> Recipe:
    tensors = [one("BF16", SMALL, [-5], name=name) for name in ("a", "b")]
    groups = [Group(SECTIONS, members(tier, "a", "b")) for tier in range(3)]

    def point(page: list[Any], _: object) -> list[Any]:
        for layer in page[1]:
            layer[:] = [[chunk, 0] for chunk, _ in layer]
        return page

    return whole(*tensors, groups=groups, hooks={"entries": point})


@vector("two-pages", "8", "records and chunks on several pages, laid out tier by tier")
def _() -> Recipe:
    return whole(*three(), bias(), pages=[2, 1])


@vector("tiers-one", "8.1", "one lossy tier: the exact layer follows the base layer")
def _() -> Recipe:
    return small(tiers=[("q4", 0), ("exact", None)])


@vector("tiers-none", "8.1", "no lossy tier, and so nothing that is quantized")
def _() -> Recipe:
    return whole(bias(), tiers=[("exact", None)])


@vector("tiers-three", "8.1", "three lossy tiers of one, three and nine more digits")
def _() -> Recipe:
    tiers = [("q3", 0), ("q4.5-a_b", 1), ("q7", 4), ("q16", 13), ("exact", None)]
    words = specials("F32") + spread("F32", 20, -12, 3, 50)
    return whole(one("F32", words, [-6, -20], segment=20, planes=1), tiers=tiers)


@vector("digits-most", "12", "24 digits: the last lossy tier is finer than the source")
def _() -> Recipe:
    words = specials("BF16") + spread("BF16", 12, -12, 3, 51)
    tiers = [("q4", 0), ("q28", 24), ("exact", None)]
    return whole(one("BF16", words, [-6, -120], segment=20), tiers=tiers)


@vector("ext", "3", "unknown keys of every `ext` are kept and ignored")
def _() -> Recipe:
    extra: dict[str, Any] = {
        "a": [1, None, -70000, "x" * 40, b"\0" * 300],
        "zz": {"deep": {"": 1 << 40}},
    }
    tensor = one("BF16", SMALL, [-5], ext=dict(extra))
    recipe = whole(tensor, ext=extra)
    recipe.files[0].ext = extra

    def other(root: dict[str, Any], _: object) -> dict[str, Any]:
        return root | {"ext": extra}

    recipe.hooks = {"other": other, "entries": lambda page, _: [*page[:2], extra]}
    return recipe


@vector("opaque-tiers", "10", "opaque tensors in higher tiers are not part of the tiers below")
def _() -> Recipe:
    late = [Tensor(f"t{tier}", "U8", [3], bytes([tier] * 3), tier=tier) for tier in range(3)]
    return whole(*late, one("BF16", SMALL, [-5]))


@vector("newer-minor", "9", "a file of a larger minor version is read")
def _() -> Recipe:
    return small(minor=7)


@vector("plain-file", "8.3", "a configuration travels beside the weights, in the last tier")
def _() -> Recipe:
    text = b'{"layers": 2}\n'
    recipe = small()
    recipe.files = [*recipe.files, SourceFile("sub/config.json", "plain", text, len(text), tier=2)]
    recipe.files = [*recipe.files, SourceFile("empty.txt", "plain", b"", 0)]
    return recipe


@vector("two-files", "8.3", "the tensors of two source files")
def _() -> Recipe:
    a, b = (one("BF16", SMALL, [-5], name=name) for name in ("a", "b"))
    files = [safetensors("x/1.safetensors", [a]), safetensors("x/2.safetensors", [b])]
    return Recipe([a, b], files)


@vector("metadata", "8.3", "the source file's own metadata and padding return")
def _() -> Recipe:
    tensors = [one("BF16", SMALL, [-5]), bias()]
    return Recipe(tensors, [safetensors("model.safetensors", tensors, metadata="a b")])


@vector("no-files", "8", "tensors without a source file")
def _() -> Recipe:
    return Recipe([one("BF16", SMALL, [-5]), bias()])


@vector("nothing", "8", "no tensors, no files, no pages")
def _() -> Recipe:
    return Recipe()


@vector("truncated-base", "9", "cut inside q8: q4 is whole", error="incomplete", complete=1)
def _() -> Recipe:
    return Recipe(two(), hooks={"file": cut_behind(1)})


@vector(
    "truncated-middle", "9", "cut inside exact: q4 and q8 are whole", error="incomplete", complete=2
)
def _() -> Recipe:
    return Recipe(two(), hooks={"file": cut_behind(2)})


@vector(
    "truncated-bare",
    "9",
    "cut at the manifest length: no tier is whole",
    error="incomplete",
    complete=0,
)
def _() -> Recipe:
    def cut(data: bytes, _: object) -> bytes:
        return data[: struct.unpack_from("<Q", data, 88)[0]]

    return Recipe(two(), hooks={"file": cut})


def expected(recipe: Recipe, complete: int) -> dict[str, dict[str, bytes]]:
    """Return what each whole tier must return, from the definitions and the original bytes."""
    build = Build(recipe)
    result: dict[str, dict[str, bytes]] = {}
    for tier, (name, digits) in enumerate(recipe.tiers[:complete]):
        result[name] = {}
        for tensor in sorted(recipe.tensors, key=lambda tensor: tensor.name.encode()):
            if tensor.ladder is None and tensor.tier > tier:
                continue
            if tensor.codes is not None and digits is not None:
                result[name][tensor.name] = build.coded[tensor.name].data()
            elif digits is None or tensor.name not in build.quantized:
                result[name][tensor.name] = tensor.data
            else:
                result[name][tensor.name] = build.quantized[tensor.name].at_tier(tier)
    return result
