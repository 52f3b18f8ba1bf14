"""Weights and recipes that vectors are made of."""

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from builder import Key, Recipe
from ladder import DTYPES
from source import Ladder, Tensor, safetensors


def pack_words(dtype: str, words: Iterable[int]) -> bytes:
    """Return bit patterns as little-endian bytes."""
    return b"".join(word.to_bytes(DTYPES[dtype].size, "little") for word in words)


def spread(dtype: str, count: int, low: int, high: int, seed: int) -> list[int]:
    """Return weights with exponents between 2^low and 2^high, in both signs, from a fixed seed."""
    kind, source = DTYPES[dtype], random.Random(seed)
    words = []
    for _ in range(count):
        exponent = source.randrange(low, high) - kind.emin + 1
        exponent = min(max(exponent, 0), kind.top_exponent)
        word = min(exponent << kind.mantissa | source.getrandbits(kind.mantissa), kind.largest)
        words.append(word | (kind.sign if source.random() < 0.5 else 0))
    return words


def specials(dtype: str) -> list[int]:
    """Return zeros, the smallest and largest values, infinities or what is in their place, NaNs."""
    kind = DTYPES[dtype]
    one = 1 << kind.mantissa
    positive = [0, 1, one - 1, one, one + 1, kind.largest, kind.largest - 1, kind.largest + 1]
    positive += [kind.sign - 1, min(kind.largest + 2, kind.sign - 1)]
    return positive + [word | kind.sign for word in positive]


def one(
    dtype: str,
    words: Sequence[int],
    steps: Sequence[int],
    shape: Sequence[int] = (),
    **more: Any,  # noqa: ANN401
) -> Tensor:
    """Return a bitplane tensor of a single block, named `w`; steps are used in turn."""
    sparse = (more.pop("sparse", False),)
    segment = more.pop("segment", -(-len(words) // max(len(steps), 1)))
    cycled = [steps[i % len(steps)] for i in range(-(-len(words) // segment))]
    rung = Ladder([cycled], segment, more.pop("planes", 0), sparse)
    data = pack_words(dtype, words)
    return Tensor(more.pop("name", "w"), dtype, shape or [len(words)], data, rung, **more)


def bias() -> Tensor:
    """Return a small opaque tensor."""
    return Tensor("b", "I32", [2], struct.pack("<2i", 7, -1))


def whole(*tensors: Tensor, **more: Any) -> Recipe:  # noqa: ANN401
    """Return a recipe whose tensors make up one safetensors file."""
    return Recipe(list(tensors), [safetensors("model.safetensors", tensors)], **more)


SMALL = [
    0x3F80,
    0xBF00,
    0x3E12,
    0x8000,
    0x0000,
    0x0001,
    0x7F80,
    0x4F12,
    0xBE77,
    0x3D01,
    0x3F1F,
    0xC000,
]


def small(**more: Any) -> Recipe:  # noqa: ANN401
    """Return twelve BF16 weights, with two outliers, and an opaque tensor."""
    return whole(one("BF16", SMALL, [-4, -5, -6], [3, 4], segment=4), bias(), **more)


def members(tier: int, *names: str) -> list[Key]:
    """Return the first layers of tensors at a tier."""
    return [(name, tier, 0) for name in names]


def halves(payload: bytes) -> list[bytes]:
    """Cut a payload into three uneven sections, one of them empty."""
    return [payload[:1], b"", payload[1:]]


def three() -> list[Tensor]:
    """Return three bitplane tensors."""
    return [one("BF16", spread("BF16", 9 + i, -6, 1, 30 + i), [-7], name=f"t{i}") for i in range(3)]


def by_size(unit: bytes) -> int:
    """Return a class of symbols: how many bits the largest takes."""
    return max(s & 127 for s in unit).bit_length() // 2


def cut_behind(tier: int) -> Callable[[bytes, object], bytes]:
    """Return a hook that cuts the file in the middle of the chunks of a tier."""

    def cut(data: bytes, _: object) -> bytes:
        start, end, entries = struct.unpack_from("<QQQ", data, 88)
        table = sorted(set(struct.unpack_from(f"<{entries}Q", data, start - 8 * entries)))
        edges = [*table, end]
        per_tier = len(table) // 3
        return data[: (edges[tier * per_tier] + edges[tier * per_tier + 1]) // 2]

    return cut


def two() -> list[Tensor]:
    """Return two tensors whose chunks are all different."""
    return three()[:2]
