"""Differences of layers (7.4), from the definitions: from words and steps, weight by weight."""

import struct
from collections.abc import Sequence

from source import BlockLayers
from wire import bit_string

BASE, DIGITS, EXACT, OPAQUE = 16, 17, 18, 19
Number = tuple[int, int, int, bool]  # kind, width, value, whether it is signed


def near(value: int, width: int, *, signed: bool) -> int:
    """Return a number modulo 2^width: from 0 on, or around 0."""
    value %= 1 << width
    return value - (1 << width) if signed and value >> (width - 1) else value


def symbol(width: int, value: int, *, signed: bool) -> int:
    """Return what stands for a number's length, and for its sign."""
    length = abs(value).bit_length()
    if not length:
        return 0
    return 2 * (width - length) + 1 + (value < 0) if signed else width + 1 - length


def runs_of(symbols: Sequence[int]) -> tuple[bytes, bytes]:
    """Return runs of zeros and what stands behind each."""
    runs, found, zeros = b"", b"", 0
    for item in symbols:
        if not item:
            zeros += 1
            continue
        runs += b"\xff" * (zeros // 255) + bytes([zeros % 255])
        found += bytes([item])
        zeros = 0
    return runs, found


def sections(numbers: Sequence[Number], kinds: int, *, dense: bool) -> list[bytes]:
    """Return the sections of numbers; dense: all symbols, else runs of zeros."""
    parts: list[bytes] = []
    for kind in range(kinds):
        made = [symbol(w, v, signed=s) for k, w, v, s in numbers if k == kind]
        parts += (b"", bytes(made)) if dense else runs_of(made)
    bits = []
    for _, _, value, _ in numbers:
        low = abs(value).bit_length() - 1
        bits += [(abs(value) - (1 << low), low)] if value else []
    return [*parts, bit_string(bits)]


def level(i: int, rows: Sequence[int], columns: Sequence[int]) -> int:
    """Return the level of a weight."""
    if not columns or i >= len(rows) * len(columns):
        return 0
    moved = rows[i // len(columns)] * columns[i % len(columns)]
    return sum(moved * 2**k > sum(rows) for k in (8, 5, 3, 1))


def counts(moved: Sequence[bool], unit: int) -> tuple[list[int], list[int]]:
    """Return how many weights moved in each row and each column of units."""
    rows = (
        [list(moved[i : i + unit]) for i in range(0, len(moved) - unit + 1, unit)] if unit else []
    )
    return [sum(row) for row in rows], [sum(row[j] for row in rows) for j in range(unit)]


def place(block: BlockLayers, i: int, tier: int) -> int:
    """Return i_t of a plain weight."""
    n = block.n(i, tier)
    return -1 - n if block.words[i] >= block.dtype.sign else n


def code(block: BlockLayers, i: int) -> int:
    """Return a word's place among all of its format."""
    word, sign = block.words[i], block.dtype.sign
    return -1 - (word - sign) if word >= sign else word


def flip(s: int) -> int:
    """Return the place of a symbol."""
    return s if s <= 127 else (127 - s) % 256


def base(old: BlockLayers, new: BlockLayers, unit: int, *, dense: bool) -> list[bytes]:
    """Codec 16."""
    moved = [flip(b) - flip(a) for a, b in zip(old.symbols, new.symbols, strict=True)]
    lengths = [
        [c.bit_length() for c in line] for line in counts([m % 256 != 0 for m in moved], unit)
    ]
    rows, columns = ([1 << n >> 1 for n in line] for line in lengths)
    numbers = [
        (level(i, rows, columns), 8, near(m, 8, signed=True), True) for i, m in enumerate(moved)
    ]
    head = struct.pack("<I", unit) + bytes(lengths[0]) + bytes(lengths[1])
    size = new.dtype.size
    values = [new.words[i] for i, s in enumerate(new.symbols) if s == 127]
    tail = b"".join(word.to_bytes(size, "little") for word in values)
    return [head, *sections(numbers, 5, dense=dense), tail]


def kinds(old: BlockLayers, new: BlockLayers, tier: int, unit: int) -> list[int]:
    """Return the kind of each weight for the layer above a tier."""
    plain = set(old.inner) & set(new.inner)
    apart = [
        place(new, i, tier) - place(old, i, tier) if i in plain else 0
        for i in range(len(new.words))
    ]
    rows, columns = counts([d != 0 for d in apart], unit)
    above = set(range(len(apart))) - set(old.inner)
    return [
        5 if d > 0 or i in above else 6 if d < 0 else level(i, rows, columns)
        for i, d in enumerate(apart)
    ]


def digits(old: BlockLayers, new: BlockLayers, tier: int, unit: int, *, dense: bool) -> list[bytes]:
    """Codec 17."""
    width, of = new.digits[tier] - new.digits[tier - 1], kinds(old, new, tier - 1, unit)
    numbers = []
    for i in new.inner:
        before = place(old, i, tier) if i in set(old.inner) else 0
        moved = place(new, i, tier) - before
        moved = -moved if of[i] == 6 else moved
        numbers.append((of[i], width, near(moved, width, signed=of[i] < 5), of[i] < 5))
    return [struct.pack("<I", unit), *sections(numbers, 7, dense=dense)]


def exact(old: BlockLayers, new: BlockLayers, unit: int, *, dense: bool) -> list[bytes]:
    """Codec 18."""
    import ladder  # noqa: PLC0415 - a name that parameters have too

    last, numbers = len(new.digits) - 1, []
    of = kinds(old, new, last, unit)
    for i in new.inner:
        n, k = new.n(i, last), new.k[i] - new.digits[last]
        width = 8 * new.dtype.size if n == 0 else ladder.remainder_bits(new.dtype, n, k)
        kind = 7 if n == 0 else of[i]
        moved = code(new, i) - code(old, i)
        moved = -moved if kind == 6 else moved
        signed = kind < 5 or kind == 7
        if width:
            numbers.append((kind, width, near(moved, width, signed=signed), signed))
    return [struct.pack("<I", unit), *sections(numbers, 8, dense=dense)]


def opaque(old: bytes, new: bytes, size: int, *, dense: bool) -> list[bytes]:
    """Codec 19."""
    numbers = []
    for i in range(0, len(new), size):
        a, b = (int.from_bytes(data[i : i + size], "little") for data in (old, new))
        numbers.append((0, 8 * size, near(b - a, 8 * size, signed=True), True))
    return sections(numbers, 1, dense=dense)
