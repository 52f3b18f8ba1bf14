"""Tensors, files, and the layers that the tiers of a tensor consist of (4, 5, 6)."""

import json
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import ladder
from coded import Codes
from ladder import DTYPES, SIZES, Dtype
from wire import Value, bit_string

BLOCK = 1 << 19


@dataclass
class Ladder:
    """How a bitplane tensor is quantized: ``steps`` has K per block and segment."""

    steps: Sequence[Sequence[int]]
    segment: int = 1 << 19
    planes: int = 0
    sparse: Sequence[bool] = ()


@dataclass
class Tensor:
    """A tensor of the source: its little-endian bytes; opaque (in ``tier``) without a ladder."""

    name: str
    dtype: str
    shape: Sequence[int]
    data: bytes
    ladder: Ladder | None = None
    tier: int = 0
    ext: dict[str, Value] = field(default_factory=dict)
    codes: Codes | None = None

    def words(self) -> list[int]:
        """Return the bit patterns of the elements."""
        size = SIZES[self.dtype]
        return [
            int.from_bytes(self.data[i : i + size], "little")
            for i in range(0, len(self.data), size)
        ]


@dataclass
class File:
    """A file of the source; ``tensors`` are its tensors in file order for layout `safetensors`."""

    path: str
    layout: str
    data: bytes
    blob: int
    tier: int = 0
    ext: dict[str, Value] = field(default_factory=dict)


def safetensors(path: str, tensors: Sequence[Tensor], *, metadata: str | None = None) -> File:
    """Return a source file that holds tensors in the order given, by the names they have there."""
    header: dict[str, Any] = {"__metadata__": {"note": metadata}} if metadata else {}
    at = 0
    for tensor in tensors:
        span = [at, at + len(tensor.data)]
        header[tensor.name.removeprefix(f"{path}:")] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": span,
        }
        at = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    blob = struct.pack("<Q", len(text)) + text
    return File(path, "safetensors", blob + b"".join(t.data for t in tensors), len(blob))


def block_sizes(total: int, row: int) -> list[int]:
    """Cut a tensor into blocks (5), by listing them."""
    if total == 0:
        return []
    if row > BLOCK:
        one = [min(BLOCK, row - at) for at in range(0, row, BLOCK)]
        return one * (total // row)
    rows = 1
    while 2 * rows * row <= BLOCK:
        rows *= 2
    return [min(rows * row, total - at) for at in range(0, total, rows * row)]


def tensor_blocks(tensor: Tensor) -> list[int]:
    """Return the elements of each block; bytes for a dtype without an element size."""
    size = SIZES.get(tensor.dtype)
    if size is None:
        return block_sizes(len(tensor.data), len(tensor.data))
    total = len(tensor.data) // size
    return block_sizes(total, tensor.shape[-1] if len(tensor.shape) > 1 else total)


@dataclass
class BlockLayers:
    """A bitplane block on its way: original words, K per weight, symbols and bin numbers."""

    dtype: Dtype
    words: list[int]
    ladder: Ladder
    number: int
    digits: list[int]

    def __post_init__(self) -> None:
        self.steps = list(self.ladder.steps[self.number])
        self.sparse = bool(self.ladder.sparse) and self.ladder.sparse[self.number]
        self.k = [self.steps[i // self.ladder.segment] for i in range(len(self.words))]
        cache: dict[tuple[int, int], int] = {}
        for pair in zip(self.words, self.k, strict=True):
            if pair not in cache:
                cache[pair] = ladder.symbol(self.dtype, *pair, sparse=self.sparse)
        pairs = zip(self.words, self.k, strict=True)
        self.symbols = bytes(cache[pair] for pair in pairs)
        self.live = [i for i, s in enumerate(self.symbols) if not (self.sparse and s >= 254)]
        self.inner = [i for i in self.live if self.symbols[i] != 127]

    def n(self, i: int, tier: int) -> int:
        """Return the bin number of a weight that is not an outlier."""
        return ladder.bin_number(self.dtype, self.words[i], self.k[i] - self.digits[tier])

    def base(self) -> bytes:
        """6.1."""
        outliers = [i for i, s in enumerate(self.symbols) if s == 127]
        return (
            struct.pack(f"<B{len(self.steps)}h", self.sparse, *self.steps)
            + self.symbols
            + struct.pack(f"<I{len(outliers)}I", len(outliers), *outliers)
            + b"".join(self.words[i].to_bytes(self.dtype.size, "little") for i in outliers)
        )

    def refinement(self, tier: int) -> bytes:
        """6.2."""
        width = self.digits[tier] - self.digits[tier - 1]
        outliers = set(self.live) - set(self.inner)
        cells = [(0 if i in outliers else self.n(i, tier) % (1 << width), width) for i in self.live]
        return bit_string(cells)

    def exact(self) -> bytes:
        """6.3."""
        last, planes = len(self.digits) - 1, self.ladder.planes
        outliers = set(self.live) - set(self.inner)
        exponents, cells = b"", list[tuple[int, int]]()
        columns = [bytearray() for _ in range(planes)]
        for i in self.live:
            rest, r = 0, 0
            if i not in outliers:
                n, k = self.n(i, last), self.k[i] - self.digits[last]
                r = ladder.remainder_bits(self.dtype, n, k)
                word = self.words[i] % self.dtype.sign
                rest = word % (1 << r)
                if n == 0:
                    x = ladder.top_exponent(self.dtype, k) - (word >> self.dtype.mantissa)
                    exponents += x.to_bytes(2 if self.dtype.size == 8 else 1, "little")
                cells.append((rest >> 8 * planes, max(0, r - 8 * planes)))
            for j, column in enumerate(columns):
                column.append(rest >> 8 * j & 255)
        return exponents + b"".join(map(bytes, columns)) + bit_string(cells)

    def payloads(self) -> list[bytes]:
        """Return the layers of all tiers."""
        middle = [self.refinement(t) for t in range(1, len(self.digits))]
        return [self.base(), *middle, self.exact()]


class Quantized:
    """A bitplane tensor: its blocks, its parameters (8.2) and what each tier returns."""

    def __init__(self, tensor: Tensor, digits: list[int]) -> None:
        assert tensor.ladder is not None
        self.tensor, self.digits, self.dtype = tensor, digits, DTYPES[tensor.dtype]
        words, at = tensor.words(), 0
        self.blocks: list[BlockLayers] = []
        for number, size in enumerate(tensor_blocks(tensor)):
            part = words[at : at + size]
            self.blocks.append(BlockLayers(self.dtype, part, tensor.ladder, number, digits))
            at += size
        self.tiers = [self.tier_figures(t) for t in range(len(digits))]

    def weights(self) -> Counter[tuple[int, int]]:
        """Return the (word, K) pairs of live weights that are not outliers, counted."""
        pairs: Counter[tuple[int, int]] = Counter()
        for block in self.blocks:
            pairs.update((block.words[i], block.k[i]) for i in block.inner)
        return pairs

    def tier_figures(self, tier: int) -> list[Any]:
        """Return `[delta0, delta1, B, error]`."""
        places: tuple[list[tuple[Fraction, int]], list[tuple[Fraction, int]]] = ([], [])
        rows = []
        for (word, k), times in self.weights().items():
            kt = k - self.digits[tier]
            value = self.dtype.magnitude(word) / ladder.step(kt)
            n = int(value)
            if ladder.bin_is_wide(self.dtype, n, kt):
                places[n > 0].append((value - n, times))
                rows.append((n, kt, value - n, times))
        deltas = [ladder.delta_byte(part) for part in places]
        error = Fraction(0)
        for n, kt, place, times in rows:
            near = ladder.representative(self.dtype, n, kt, *deltas)
            offset = (near - n * ladder.step(kt)) / ladder.step(kt - 8)
            error += times * ((int(256 * place) - offset) * ladder.step(kt - 8)) ** 2
        steps = [k for block in self.blocks for k in block.steps]
        bound = max(steps, default=0) - self.digits[tier]
        return [*deltas, bound, ladder.figure(error)]

    def parameters(self) -> list[Any]:
        """Return field 6 of the record."""
        assert self.tensor.ladder is not None
        words = Counter(word for block in self.blocks for word in block.words)
        finite = [(w, times) for w, times in words.items() if self.dtype.finite(w)]
        cut = [(ladder.leading(self.dtype.magnitude(w), 12), times) for w, times in finite]
        energy = sum((times * value**2 for value, times in cut), Fraction(0))
        rung = self.tensor.ladder
        return [rung.segment, rung.planes, self.tiers, ladder.figure(energy)]

    def at_tier(self, tier: int) -> bytes:
        """Return the tensor's bytes at a lossy tier, by the definitions of section 4."""
        delta0, delta1 = self.tiers[tier][:2]
        cache: dict[tuple[int, int], bytes] = {}
        parts = []
        for block in self.blocks:
            inner = set(block.inner)
            for i, pair in enumerate(zip(block.words, block.k, strict=True)):
                if i in inner and pair not in cache:
                    word, k = pair[0], pair[1] - self.digits[tier]
                    n = ladder.bin_number(self.dtype, word, k)
                    near = ladder.representative(self.dtype, n, k, delta0, delta1)
                    result = self.dtype.nearest(near) + (word - word % self.dtype.sign)
                    cache[pair] = result.to_bytes(self.dtype.size, "little")
                original = pair[0].to_bytes(self.dtype.size, "little")
                parts.append(cache[pair] if i in inner else original)
        return b"".join(parts)
