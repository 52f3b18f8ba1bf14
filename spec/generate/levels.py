"""Tables of levels with norms: sound ones, and others (19.5)."""

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

from builder import CLASSES, SECTIONS, Group, Recipe
from coded import Codes
from quantizers import LOSSY, POLICY, TIERS, sound
from recipes import bias, pack_words, specials, spread, whole
from source import Tensor
from spoil import DIGEST, MALFORMED, UNSUPPORTED, add, flip, item, only
from valid import VECTORS
from vector import Vector

FEATURES = ("levels", "quantizers")
DRAWN = ["blake3", 7, 3, (1 << 64) - 1]
NF4 = (
    "bf800000 bf3239b1 bf066b30 beca32a0 be91a24d be3d353f bdba7871 00000000 3da2faff 3e24cae3"
    " 3e7c04dd 3ead033a 3ee1a4b8 3f1007ab 3f3913b3 3f800000"
)


def table(*levels: float) -> bytes:
    """Return levels as a record has them."""
    return struct.pack(f"<{len(levels)}f", *levels)


def uniform(s: int) -> bytes:
    """Return the table of that name."""
    return table(*(j / s for j in range(-s, s + 1)))


def form(levels: bytes, bucket: int, **more: Any) -> list[Any]:  # noqa: ANN401
    """Return parameters without figures."""
    found = {"name": "table", "norm": "l2", "dtype": "F32", "rounding": DRAWN} | more
    drawn = found["rounding"] and [*found["rounding"]]
    return [levels, found["name"], bucket, found["norm"], found["dtype"], drawn]


def tensor(
    dtype: str, words: Sequence[int], codes: Codes, shape: Sequence[int] = (), name: str = "w"
) -> Tensor:
    """Return a tensor of one block."""
    return Tensor(name, dtype, shape or [len(words)], pack_words(dtype, words), codes=codes)


def artifact(*tensors: Tensor, **more: Any) -> Recipe:  # noqa: ANN401
    """Return a recipe of such tensors, and an opaque one."""
    more.setdefault("tiers", TIERS)
    more.setdefault("features", FEATURES)
    return whole(*tensors, bias(), **more)


def five(**more: Any) -> Recipe:  # noqa: ANN401
    """Return twelve F16 weights in buckets of five, with levels from -1 to 1 in halves."""
    codes = Codes(
        "levels",
        form(uniform(2), 5, name="uniform"),
        [2, 2, 0, 4, 2, 1, 3, 2, 2, 2, 4, 2],
        [0x3F800001, 0x3E4CCCCD, 0],
    )
    words = [0x3C00, 0x8000, 1, 0x7C01, 0xFC00, 0xBC00, 0x3555, 0xB555, 0, 0x0400, 0, 0]
    return artifact(tensor("F16", words, codes, [4, 3]), **more)


def long(count: int, every: int, levels: bytes, **more: Any) -> Recipe:  # noqa: ANN401
    """Return weights most of which rest: long runs, between them each other code."""
    codes, have, others = [], len(levels) // 4, random.Random(count)
    rest = have // 2
    while len(codes) < count:
        run = min(others.choice((0, 1, 3, every)), count - len(codes))
        codes += [rest] * run + [others.randrange(have)]
    codes = codes[:count]
    words = spread("BF16", count, -9, 0, 77)
    bucket = -(-count // 3)
    kept = Codes("levels", form(levels, bucket, norm="max", dtype="BF16"), codes, [0x3F80] * 3)
    return artifact(tensor("BF16", words, kept), **more)


def all_codes(levels: bytes, dtype: str, scale: str, norms: Sequence[int]) -> Recipe:
    """Return each code of a table once, in buckets of 100."""
    count = len(levels) // 4
    words = spread(dtype, count, -6, 0, count)
    kept = Codes("levels", form(levels, 100, dtype=scale, rounding=None), range(count), norms)
    return artifact(tensor(dtype, words, kept))


sound("levels-buckets", "buckets of five, not cut by rows; a norm of 0; specials", five, "19.5")
sound("levels-runs", "runs of all lengths, the longest several times", lambda: long(
    2000, 700, table(*(j / 120 for j in range(-120, 121)))), "19.5")  # fmt: skip
sound("levels-long", "a table of two levels, neither 0; long runs", lambda: long(
    3000, 1700, table(-1, 1)), "19.5")  # fmt: skip
sound("levels-most", "256 levels, from -1 to 0.9921875: one byte for a long run", lambda: all_codes(
    table(*(j / 128 for j in range(-128, 128))), "F32", "F64",
    [0x3FF0000000000001, 0x0000000000000001, 0x3FB999999999999A]), "19.5")  # fmt: skip
sound("levels-nf4", "NormalFloat, norms of F16", lambda: all_codes(
    b"".join(bytes.fromhex(word)[::-1] for word in NF4.split()), "BF16", "F16", [0x2E66]
), "19.5")  # fmt: skip
sound(
    "levels-largest",
    "products above the largest number of the dtype are cut to it",
    lambda: artifact(
        tensor(
            "F8_E4M3",
            [0x7E, 0xFE, 0x00, 0x80, 0x31],
            Codes("levels", form(uniform(1), 3), [2, 0, 1, 1, 2], [0x44000000, 0x00000001]),
        ),
        tensor(
            "F64",
            specials("F64")[:4],
            Codes(
                "levels",
                form(table(-1, -0.25, 0.5, 1), 2, dtype="F64"),
                [3, 0, 1, 2],
                [0x7FEFFFFFFFFFFFFF, 0x000FFFFFFFFFFFFF],
            ),
            name="wide",
        ),
    ),
    "19.5",
)
sound("levels-lossy", "a lossy artifact of levels", lambda: five(
    tiers=LOSSY["tiers"], features=("levels", "lossy", "quantizers")
), "19.4")  # fmt: skip
sound("levels-empty", "the feature, and no tensor of levels but one of integers", lambda: whole(
    Tensor("w", "F32", [2], pack_words("F32", [0x3F800000, 0]), codes=Codes(
        "affine", [2, 1, "tensor", 0, "F32"], [3, 2], [0x3F800000])),
    bias(), tiers=TIERS, features=FEATURES,
), "8.1")  # fmt: skip


def packed(codec: int, **more: Any) -> Recipe:  # noqa: ANN401
    """Return buckets of five whose codes are in a chunk of a codec."""

    def parts(payload: bytes) -> list[bytes]:
        return [payload[:12], payload[12:]]

    return five(groups=[Group(codec, [("w", 0, 0)], parts, zstd=True)], **more)


sound("levels-sections", "norms and codes in two sections", lambda: packed(SECTIONS), "7.1")


def child(**more: Any) -> Recipe:  # noqa: ANN401
    """Return the weights of a parent, with nothing stored anew."""
    shared = [("w", 0, 0), ("w", 1, 0), ("b", 0, 0), ("model.safetensors", 0, 0)]
    more.setdefault("parent", five())
    return five(shared=shared, policy=POLICY, **more)


VECTORS.append(Vector("levels-parent", "8.6", "a parent with levels", five))
VECTORS.append(
    Vector("levels-child", "8.6", "levels that the parent has", child, parents=("levels-parent",))
)


def twin(change: Callable[[Any, Any], Any], stage: str = "records") -> Callable[[], Recipe]:
    """Return a maker of a spoiled artifact."""
    return lambda: five(hooks={stage: change})


def parameter(*path: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes a parameter."""
    return twin(item([1, 6, *path], value))


def layer(change: Callable[[bytes], bytes]) -> Callable[[], Recipe]:
    """Return a maker that changes the layer before it is digested."""
    return twin(only(("w", 0, 0), change), "payload")


def codes(*given: int) -> Callable[[], Recipe]:
    """Return a maker with other bytes for the codes: 12 codes of five levels, A = 4, R = 60."""
    return layer(lambda data: data[:12] + bytes(given))


def many(*given: int, count: int = 2000) -> Callable[[], Recipe]:
    """Return a maker of resting codes of two levels, A = 1, R = 240, with other bytes for them."""
    words = spread("BF16", count, -9, 0, 78)
    kept = Codes("levels", form(table(-1, 1), count, dtype="BF16"), [0] * count, [0x3F80])
    change = only(("w", 0, 0), lambda data: data[:2] + bytes(given))
    return lambda: artifact(tensor("BF16", words, kept), hooks={"payload": change})


HALVES = table(-1, -0.5, 0, 0.5, 1)
add("levels-feature", UNSUPPORTED, "19.5", "levels without the feature", lambda: five(
    features=("quantizers",)))  # fmt: skip
add("levels-alone", MALFORMED, "8.1", "the feature without quantizers", lambda: whole(
    bias(), features=("levels",)))  # fmt: skip
add("levels-one-tier", MALFORMED, "19", "levels where every tier is exact", lambda: five(
    tiers=(("exact", None),), hooks={"records": item([1, 8], lambda layers: layers[:1])}
))  # fmt: skip
add("levels-dtype", MALFORMED, "19", "levels of integers", twin(item([1, 3], "I16")))
add("levels-fields", MALFORMED, "19.5", "parameters with a field more",
    twin(item([1, 6], lambda old: [*old, 0])))  # fmt: skip
add("levels-table-1", MALFORMED, "19.5", "a table of one level", parameter(0, value=table(0)))
add("levels-table-257", MALFORMED, "19.5", "a table of 257 levels",
    parameter(0, value=table(*(j / 128 for j in range(-128, 129)))))  # fmt: skip
add("levels-table-bytes", MALFORMED, "19.5", "a table of nineteen bytes",
    parameter(0, value=HALVES[:-1]))  # fmt: skip
add("levels-table-text", MALFORMED, "19.5", "a table that is text",
    parameter(0, value="uniform"))  # fmt: skip
add("levels-table-order", MALFORMED, "19.5", "two levels that are equal",
    parameter(0, value=table(-1, 0, 0, 0.5, 1)))  # fmt: skip
add("levels-table-range", MALFORMED, "19.5", "a level above 1",
    parameter(0, value=table(-1, -0.5, 0, 1, 1.0000001)))  # fmt: skip
add("levels-table-nan", MALFORMED, "19.5", "a level that is no number",
    parameter(0, value=table(-1, -0.5, 0, float("nan"), 1)))  # fmt: skip
add("levels-table-zero", MALFORMED, "19.5", "a level of -0",
    parameter(0, value=table(-1, -0.5, -0.0, 0.5, 1)))  # fmt: skip
add("levels-table-ends", MALFORMED, "19.5", "stochastic rounding to levels that end at 0.75",
    parameter(0, value=table(-1, -0.5, 0, 0.5, 0.75)))  # fmt: skip
add("levels-name", MALFORMED, "19.5", "a name that is no text", parameter(1, value=4))
add("levels-bucket-0", MALFORMED, "19.5", "buckets of nothing", parameter(2, value=0))
add("levels-bucket-large", MALFORMED, "19.5", "buckets above a block",
    parameter(2, value=(1 << 19) + 1))  # fmt: skip
add("levels-norm", MALFORMED, "19.5", "an unknown norm", parameter(3, value="l1"))
add("levels-norm-dtype", MALFORMED, "19.5", "norms of F8_E5M2", parameter(4, value="F8_E5M2"))
add("levels-rounding", MALFORMED, "19.5", "rounding by name", parameter(5, value="nearest"))
add("levels-rounding-fields", MALFORMED, "19.5", "a generator with a field less",
    parameter(5, value=DRAWN[:3]))  # fmt: skip
add("levels-generator", MALFORMED, "19.5", "an unknown generator",
    parameter(5, value=["mt19937", 7, 3, 1]))  # fmt: skip
add("levels-seed", MALFORMED, "19.5", "a seed below 0", parameter(5, 1, value=-1))
add("levels-norm-negative", MALFORMED, "19.5", "a negative norm",
    layer(lambda data: data[:3] + b"\xbf" + data[4:]))  # fmt: skip
add("levels-norm-infinite", MALFORMED, "19.5", "an infinite norm",
    layer(lambda data: b"\x00\x00\x80\x7f" + data[4:]))  # fmt: skip
add("levels-norms-short", MALFORMED, "19.5", "a layer that ends in its norms",
    layer(lambda data: data[:11]))  # fmt: skip
add("levels-no-codes", MALFORMED, "19.5", "a layer without codes", layer(lambda data: data[:12]))
add("levels-codes-short", MALFORMED, "19.5", "codes that end early", codes(8, 3, 5, 2, 16))
add("levels-codes-long", MALFORMED, "19.5", "codes that go on", codes(8, 3, 5, 2, 15, 8))
add("levels-codes-behind", MALFORMED, "19.5", "a byte behind the last code",
    codes(8, 3, 5, 2, 15, 4, 0))  # fmt: skip
add("levels-end", MALFORMED, "19.5", "another code than number 0 behind the last",
    codes(8, 3, 5, 2, 15, 5))  # fmt: skip
add("levels-end-run", MALFORMED, "19.5", "codes that end with a long run",
    many(247, 240))  # fmt: skip
add("levels-byte", MALFORMED, "19.5", "a byte that stands for nothing", lambda: artifact(
    tensor("F32", [0x3F800000], Codes(
        "levels", form(table(*(j / 120 for j in range(-120, 120))), 1, rounding=None), [7],
        [0x3F800000])),
    hooks={"payload": only(("w", 0, 0), lambda data: data[:4] + bytes([255, 0]))},
))  # fmt: skip
add("levels-run-twice", MALFORMED, "19.5", "a long run in two halves", many(242, 241, 241, 80))
add("levels-run-order", MALFORMED, "19.5", "a shorter long run before a longer one",
    many(240, 241, 242, 80, count=1760))  # fmt: skip
add("levels-run-long", MALFORMED, "19.5", "a run far above the block", many(*[255] * 1999, 0))
add("levels-value", DIGEST, "10", "another code than the exact layer is for", codes(
    9, 3, 5, 2, 15, 4))  # fmt: skip
add("levels-layer-digest", DIGEST, "10", "a layer digest that is not the layer's", lambda: packed(
    SECTIONS, hooks={"records": item([1, 8, 0], flip)}
))  # fmt: skip
add("levels-bound", MALFORMED, "19.4", "a bound that a weight is beyond", parameter(
    6, 0, value=[1, -9]))  # fmt: skip
add("levels-classes", MALFORMED, "8.5", "levels in a chunk of base layers", lambda: packed(
    SECTIONS, hooks={"entries": item([0, 0, 1], CLASSES)}
))  # fmt: skip
