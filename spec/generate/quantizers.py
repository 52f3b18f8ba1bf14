"""Quantizers without a ladder, lossy artifacts and policies: sound ones, and others (19)."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from builder import CLASSES, PLANES, SECTIONS, Group, Key, Recipe
from coded import Coded, Codes
from ladder import DTYPES
from recipes import bias, one, pack_words, specials, spread, whole
from source import Tensor
from spoil import CANONICAL, DIGEST, MALFORMED, UNSUPPORTED, add, field, flip, item, only
from valid import VECTORS
from vector import Vector

TIERS = (("codes", 0), ("exact", None))
LOSSY = {"tiers": (("codes", 0),), "features": ("lossy", "quantizers")}
POLICY = {
    "client": 3,
    "generator": "blake3",
    "keep": 100000,
    "matrices": 1,
    "only": ["*"],
    "round": 300,
    "seed": (1 << 64) - 1,
    "skip": ["*.norm"],
}


def tensor(
    dtype: str,
    words: Sequence[int],
    codes: Codes,
    shape: Sequence[int] = (),
    name: str = "w",
) -> Tensor:
    """Return a coded tensor of one block."""
    return Tensor(name, dtype, shape or [len(words)], pack_words(dtype, words), codes=codes)


def artifact(*tensors: Tensor, **more: Any) -> Recipe:  # noqa: ANN401
    """Return a recipe of such tensors, and an opaque one."""
    more.setdefault("tiers", TIERS)
    more.setdefault("features", ("quantizers",))
    return whole(*tensors, bias(), **more)


def groups(**more: Any) -> Recipe:  # noqa: ANN401
    """Return twelve F16 weights of three bits, in groups of two, with zero points."""
    words = [
        0x3C00,
        0x8000,
        0x0001,
        0x7C01,
        0xFC00,
        0xBC00,
        0x3555,
        0xB555,
        0,
        0x0400,
        0x2E66,
        0xC000,
    ]
    codes = Codes(
        "affine",
        [3, 0, "group", 2, "BF16"],
        [7, 0, 3, 3, 1, 2, 5, 6, 0, 4, 7, 1],
        [0x3E80, 0x3F00, 0x0000, 0x0001, 0x3D80, 0x4000, 0x3F80, 0x3A00],
        [3, 0, 7, 2, 4, 1, 5, 6],
    )
    return artifact(tensor("F16", words, codes, [4, 3]), **more)


def floats(dtype: str = "F32", **more: Any) -> Recipe:  # noqa: ANN401
    """Return all 64 codes of S1E2M3, whose largest exponent is an ordinary one."""
    words = spread(dtype, 64, -4, 3, 90)
    return artifact(tensor(dtype, words, Codes("minifloat", SMALL, range(64))), **more)


SMALL = (1, 2, 3, 1, "finite", None)


def sound(name: str, description: str, make: Callable[[], Recipe], spec: str = "19") -> None:
    """Register a vector that every reader must read."""
    VECTORS.append(Vector(name, spec, description, make))


def every_code(dtype: str, form: Sequence[Any], codes: Sequence[int] = ()) -> Recipe:
    """Return codes of a format, of weights that are near: what they stand for."""
    chosen = list(codes) or list(range(1 << sum(form[:3])))
    first = tensor(dtype, [0] * len(chosen), Codes("minifloat", form, chosen))
    assert first.codes is not None
    kind = DTYPES[dtype]
    # Weights that the codes have as infinity or NaN are so themselves, else no bound would hold.
    near = Coded(dtype, [len(chosen)], first.words(), first.codes).near
    words = [
        n if not kind.finite(n) else n ^ (i % 3) * (n % kind.sign > 2) for i, n in enumerate(near)
    ]
    words = [
        w if kind.finite(w) or not kind.finite(n) else n for w, n in zip(words, near, strict=True)
    ]
    return artifact(tensor(dtype, words, first.codes))


HALVES = [0, 1, 0x3FF, 0x400, 0x3C01, 0x7BFF, 0x7C00, 0x7C01, 0x7E00, 0x7FFF]
HALVES += [code | 0x8000 for code in HALVES]
SINGLES = [0, 1, 0x7FFFFF, 0x800000, 0x3F800001, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0xFFC00000]
MOVED = struct.pack("<dd", 1.0625, -(2.0**-9))
TURNED = struct.pack("<dd", -3.0, 2.0**-3)

sound(
    "affine-group",
    "groups of two in rows of three, zero points, scales of BF16; a NaN, an infinity and -0",
    groups,
    "19.1",
)
sound(
    "affine-tensor",
    "four bits, one scale; the lowest code of symmetric ones too",
    lambda: artifact(
        tensor(
            "F32",
            spread("F32", 16, -9, 1, 91),
            Codes("affine", [4, 1, "tensor", 0, "F32"], range(16), [0x3D4CCCCD]),
            [4, 4],
        )
    ),
    "19.1",
)
sound(
    "affine-channel",
    "five bits; channels along the middle axis of three",
    lambda: artifact(
        tensor(
            "BF16",
            spread("BF16", 24, -9, 1, 92),
            Codes("affine", [5, 1, "channel", 1, "F16"], range(3, 27), [0x2E66, 0x3001, 0x03FF]),
            [2, 3, 4],
        )
    ),
    "19.1",
)
sound(
    "affine-largest",
    "products above the largest number of the dtype are cut to it, whatever binary64 makes of them",
    lambda: artifact(
        tensor(
            "F64",
            [0x7FEFFFFFFFFFFFFF, 0xFFE0000000000000, 0, 0x7FE0000000000001],
            Codes(
                "affine",
                [8, 0, "tensor", 0, "F64"],
                [255, 0, 128, 129],
                [0x7FE0000000000001],
                [128],
            ),
        ),
        tensor(
            "F8_E4M3",
            [0x7E, 0xFE, 0x00, 0x80],
            Codes("affine", [2, 1, "tensor", 0, "F32"], [3, 0, 2, 1], [0x44000000]),
            name="e4m3",
        ),
    ),
    "19.1",
)
sound("minifloat-finite", "every code of S1E2M3 without infinity and NaN", floats, "19.2")
sound(
    "minifloat-ieee",
    "every code of S1E3M4 with infinities and NaNs, in F32",
    lambda: every_code("F32", (1, 3, 4, 3, "ieee", None)),
    "19.2",
)
sound(
    "minifloat-nan",
    "every code of S1E4M3 with a single NaN, in F8_E4M3",
    lambda: every_code("F8_E4M3", (1, 4, 3, 7, "nan", None)),
    "19.2",
)
sound(
    "minifloat-half",
    "S1E5M10 in F16: zeros, subnormals, the largest number, infinities, NaNs",
    lambda: every_code("F16", (1, 5, 10, 15, "ieee", None), HALVES),
    "19.2",
)
sound(
    "minifloat-single",
    "S1E8M23 in F32: codes of 32 bits",
    lambda: every_code("F32", (1, 8, 23, 127, "ieee", None), SINGLES),
    "19.2",
)
sound(
    "minifloat-unsigned",
    "S0E3M2 with a bias of its own and a NaN, in BF16",
    lambda: every_code("BF16", (0, 3, 2, -5, "nan", None)),
    "19.2",
)
sound(
    "minifloat-narrow",
    "infinities, NaN payloads and numbers of S1E5M10 in F8_E5M2, which is narrower",
    lambda: every_code(
        "F8_E5M2", (1, 5, 10, 15, "ieee", None), [0x3C00, 0x3C80, 0x3D80, 0x7C00, 0xFC01]
    ),
    "19.2",
)
sound(
    "minifloat-transform",
    "a scale and an offset: two roundings in binary64, then one to BF16",
    lambda: every_code("BF16", (1, 3, 4, 3, "finite", MOVED)),
    "19.2",
)
sound(
    "minifloat-transform-turned",
    "a negative scale turns infinities round, and leaves NaNs",
    lambda: every_code("F32", (1, 2, 2, 1, "ieee", TURNED)),
    "19.2",
)
sound(
    "ulp-specials",
    "every special word of each dtype comes back from a code for something else",
    lambda: artifact(
        *(
            tensor(
                dtype,
                specials(dtype),
                Codes(
                    "affine",
                    [2, 1, "tensor", 0, "F32"],
                    [0, 3] * (len(specials(dtype)) // 2),
                    [0x3F800000],
                ),
                name=dtype,
            )
            for dtype in ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
        )
    ),
    "19.3",
)
sound(
    "quantizers-mixed",
    "codes, a ladder of three tiers and an opaque tensor; a policy",
    lambda: artifact(
        *groups().tensors[:1],
        one("BF16", spread("BF16", 12, -6, 1, 93), [-7], name="ladder"),
        tiers=(("q4", 0), ("q8", 4), ("exact", None)),
        policy=POLICY,
    ),
)
sound("lossy-affine", "a lossy artifact: groups", lambda: groups(**LOSSY), "19.4")
sound("lossy-minifloat", "a lossy artifact: small floats", lambda: floats("F16", **LOSSY), "19.4")


def packed(codec: int, tier: int, **more: Any) -> Recipe:  # noqa: ANN401
    """Return groups one of whose layers is in a chunk of a codec."""

    def parts(payload: bytes) -> list[bytes]:
        return [payload[:16], payload[16:19], payload[19:]] if tier == 0 else [payload]

    return groups(groups=[Group(codec, [("w", tier, 0)], parts, width=2, zstd=True)], **more)


sound("codec-sections-codes", "codes in three sections", lambda: packed(SECTIONS, 0), "7.1")
sound("codec-planes-ulp", "an exact layer in byte planes", lambda: packed(PLANES, 1), "8.5")


# A child, and what does not fit its parent
def child(**more: Any) -> Recipe:  # noqa: ANN401
    """Return groups with layers that the parent has."""
    shared: list[Key] = [("w", 0, 0), ("w", 1, 0), ("b", 0, 0), ("model.safetensors", 0, 0)]
    more.setdefault("parent", groups())
    return groups(shared=shared, policy=POLICY, **more)


VECTORS.append(Vector("codes-parent", "8.6", "a parent with codes", groups))
VECTORS.append(
    Vector("codes-child", "8.6", "codes that the parent has", child, parents=("codes-parent",))
)


def twin(change: Callable[[Any, Any], Any], stage: str = "records") -> Callable[[], Recipe]:
    """Return a maker of a spoiled artifact of groups."""
    return lambda: groups(hooks={stage: change})


def form(*path: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes a parameter of `affine`."""
    return twin(item([1, 6, *path], value))


def small(*path: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes a parameter of `minifloat`."""
    return lambda: floats(hooks={"records": item([1, 6, *path], value)})


def root(key: str, value: Any, **more: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes a key of the root."""
    return lambda: groups(hooks={"root": field(key, value)}, **more)


def payload(tier: int, change: Callable[[bytes], bytes]) -> Callable[[], Recipe]:
    """Return a maker that changes a layer before it is digested."""
    return twin(only(("w", tier, 0), change), "payload")


def last(data: bytes) -> bytes:
    """Set the highest bit."""
    return data[:-1] + bytes([data[-1] | 128])


def laddered(records: list[Any], _: object) -> list[Any]:
    """Call codes a ladder."""
    records[1][5:7] = ["bitplane", [4, 0, [], [0, 0]]]
    return records


def without(name: str) -> Callable[[], Recipe]:
    """Return a maker without a key in the root."""
    return twin(lambda top, _: {key: value for key, value in top.items() if key != name}, "root")


add("codes-feature", UNSUPPORTED, "8.2", "affine without the feature", lambda: groups(features=()))
add("lossy-alone", MALFORMED, "8.1", "lossy without quantizers", lambda: whole(
    bias(), tiers=(("codes", 0),), features=("lossy",)
))  # fmt: skip
add("lossy-exact", MALFORMED, "19.4", "a lossy artifact with an exact tier", lambda: groups(
    features=("lossy", "quantizers"), tiers=TIERS
))  # fmt: skip
add("lossy-tiers", MALFORMED, "19.4", "a lossy artifact of two tiers", lambda: groups(
    features=("lossy", "quantizers"), tiers=(("a", 0), ("b", 4))
))  # fmt: skip
add("lossy-digits", MALFORMED, "19.4", "a lossy tier with digits", lambda: groups(
    features=("lossy", "quantizers"), tiers=(("a", 1),)
))  # fmt: skip
add("lossy-ladder", MALFORMED, "19.4", "a ladder in a lossy artifact", lambda: groups(
    **LOSSY, hooks={"records": laddered}
))  # fmt: skip
add("lossy-block-digest", DIGEST, "19.4", "a lossy artifact with the digests of its source",
    lambda: groups(**LOSSY, hooks={"records": item([1, 7], bytes(32))}))  # fmt: skip
add("codes-one-tier", MALFORMED, "19", "codes where every tier is exact", lambda: groups(
    tiers=(("exact", None),), hooks={"records": item([1, 8], lambda layers: layers[:1])}
))  # fmt: skip
add(
    "codes-dtype",
    MALFORMED,
    "19",
    "codes of a dtype that is not a float's",
    twin(item([1, 3], "I16")),
)
add("codes-layers", MALFORMED, "8.2", "codes without digests of the exact layer",
    twin(item([1, 8], lambda layers: layers[:1])))  # fmt: skip
add("affine-bits-1", MALFORMED, "19.1", "one bit", form(0, value=1))
add("affine-bits-9", MALFORMED, "19.1", "nine bits", form(0, value=9))
add("affine-symmetric", MALFORMED, "19.1", "neither symmetric nor not", form(1, value=2))
add("affine-cut", MALFORMED, "19.1", "an unknown cut", form(2, value="row"))
add("affine-tensor-size", MALFORMED, "19.1", "one scale, of size 2", form(2, value="tensor"))
add("affine-axis", MALFORMED, "19.1", "an axis that is not there", form(2, value="channel"))
add("affine-group-0", MALFORMED, "19.1", "groups of nothing", form(3, value=0))
add("affine-scale-dtype", MALFORMED, "19.1", "scales of F8_E5M2", form(4, value="F8_E5M2"))
add("affine-fields", MALFORMED, "19.1", "parameters with a field more",
    twin(item([1, 6], lambda old: [*old, 0])))  # fmt: skip
add("affine-scale-negative", MALFORMED, "19.1", "a negative scale",
    payload(0, lambda data: data[:1] + b"\xbe" + data[2:]))  # fmt: skip
add("affine-scale-infinite", MALFORMED, "19.1", "an infinite scale",
    payload(0, lambda data: b"\x80\x7f" + data[2:]))  # fmt: skip
add("affine-short", MALFORMED, "19.1", "codes that end early", payload(0, lambda data: data[:-1]))
add("affine-long", MALFORMED, "19.1", "codes that go on", payload(0, lambda data: data + b"\0"))
add("affine-padding", MALFORMED, "3", "padding of codes that is not zero", payload(0, last))
add("minifloat-wide", MALFORMED, "19.2", "codes of 33 bits", small(2, value=30))
add("minifloat-exponent", MALFORMED, "19.2", "no exponent bits", small(1, value=0))
add("minifloat-bias", MALFORMED, "19.2", "numbers below binary64", small(3, value=1080))
add("minifloat-bias-high", MALFORMED, "19.2", "numbers above binary64", small(3, value=-1030))
add("minifloat-specials", MALFORMED, "19.2", "unknown specials", small(4, value="some"))
add("minifloat-no-nan", MALFORMED, "19.2", "NaN without a fraction", lambda: artifact(
    tensor("F32", [0] * 8, Codes("minifloat", (1, 2, 0, 1, "finite", None), range(8))),
    hooks={"records": item([1, 6, 4], "ieee")},
))  # fmt: skip
add("minifloat-transform-short", MALFORMED, "19.2", "a transform of 15 bytes",
    small(5, value=bytes(15)))  # fmt: skip
add("minifloat-transform-infinite", MALFORMED, "19.2", "a transform that is not finite",
    small(5, value=struct.pack("<dd", float("inf"), 0)))  # fmt: skip
add("minifloat-short", MALFORMED, "19.2", "codes that end early", lambda: floats(
    hooks={"payload": only(("w", 0, 0), lambda data: data[:-1])}
))  # fmt: skip
add("ulp-short", MALFORMED, "19.3", "an exact layer that ends early", payload(1, lambda d: d[:-1]))
add("ulp-value", DIGEST, "10", "an exact layer that leads elsewhere", payload(1, flip))
add("codes-value", DIGEST, "10", "another code than the exact layer is for",
    payload(0, lambda data: data[:-1] + bytes([data[-1] ^ 1])))  # fmt: skip
add("codes-layer-digest", DIGEST, "10", "a layer digest that is not the layer's", lambda: packed(
    SECTIONS, 0, hooks={"records": item([1, 8, 0], flip)}
))  # fmt: skip
add("codes-figure", CANONICAL, "8.2", "a figure with an even mantissa", form(5, 1, value=[2, 0]))
add("codes-bound", MALFORMED, "19.4", "a bound that a weight is beyond", form(5, 0, value=[1, -9]))
add("codes-classes", MALFORMED, "8.5", "codes in a chunk of base layers", lambda: packed(
    SECTIONS, 0, hooks={"entries": item([0, 0, 1], CLASSES)}
))  # fmt: skip
add("codes-planes", MALFORMED, "8.5", "codes in byte planes", lambda: packed(
    SECTIONS, 0, hooks={"entries": item([0, 0, 1], PLANES)}
))  # fmt: skip
add("policy-missing", MALFORMED, "19.4", "no policy, not even nil", without("policy"))
add("policy-key", MALFORMED, "19.4", "a policy with a key more",
    root("policy", POLICY | {"zeal": 1}))  # fmt: skip
add("policy-keep", MALFORMED, "19.4", "more kept than there is",
    root("policy", POLICY | {"keep": 1000001}))  # fmt: skip
add(
    "policy-glob",
    MALFORMED,
    "19.4",
    "a pattern that is not text",
    root("policy", POLICY | {"only": [1]}),
)
add("policy-alone", MALFORMED, "8.1", "a policy without quantizers", lambda: whole(
    bias(), hooks={"root": lambda top, _: top | {"policy": None}}
))  # fmt: skip
VECTORS.append(
    Vector(
        "codes-child-features",
        "8.6",
        "a child without the feature of its parent",
        lambda: whole(bias(), tiers=TIERS, parent=groups(), shared=[("b", 0, 0)]),
        MALFORMED,
        parents=("codes-parent",),
    )
)
