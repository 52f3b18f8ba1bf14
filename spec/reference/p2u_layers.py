"""Layers and chunks of the p2u format, version 1, written from SPEC.md alone: sections 4, 6 and 7.

The part of the independent reader that turns bytes into weights; ``p2u_ref.py`` is the rest.
"""
# ruff: noqa: ANN401, D102, D103 - SPEC.md says what a function does

import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, islice
from typing import Any

from zstandard import ZstdDecompressor, ZstdError, get_frame_parameters

# 12 Limits
MAX_ROOT_BYTES, MAX_PAGE_BYTES, MAX_PAGES, MAX_NESTING = 1 << 18, 1 << 20, 65536, 16
MAX_BLOCK_ELEMENTS, MAX_RECORD_BLOCKS, MAX_RANK, MAX_NAME_BYTES = 1 << 19, 1024, 64, 4096
MAX_ELEMENTS, MAX_TIERS, MAX_DIGITS, MAX_CHUNK_BYTES = 1 << 48, 16, 24, 1 << 26
MAX_CHUNK_MEMBERS, MAX_STREAMS, MAX_STREAM_BYTES, MAX_WINDOW_LOG = 4096, 300, 1 << 26, 23
MAX_STEP_EXPONENT, MAX_FILE_BYTES, MAX_FILES, MAX_DEPTH = 2000, (1 << 63) - 1, 65536, 16
# 3 Source dtypes: bytes, M, emin - M, magnitude word of F
FLOATS: dict[str, tuple[int, int, int, int]] = {"F64": (8, 52, -1074, (0x7FF << 52) - 1)}
FLOATS |= {"F32": (4, 23, -149, 0x7F7FFFFF), "F16": (2, 10, -24, 0x7BFF)}
FLOATS |= {"BF16": (2, 7, -133, 0x7F7F), "F8_E4M3": (1, 3, -9, 0x7E), "F8_E5M2": (1, 2, -16, 0x7B)}
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4}
SIZES |= {"U64": 8, "I64": 8, "C64": 8} | {name: dtype[0] for name, dtype in FLOATS.items()}
TWO = Fraction(2)


class RefError(Exception):
    """A file that is refused; ``code`` is one of those of section 13."""

    code = "malformed"


def need(condition: object, message: str, code: str = "malformed") -> None:
    if not condition:
        error = RefError(message)
        error.code = code
        raise error


def limit(value: int, most: int, what: str) -> None:
    need(value <= most, f"{what}: {value} is above the limit {most}", "limit-exceeded")


# 3 Conventions
class Cursor:
    """Takes fields off bytes; a length is compared with what is there before anything is read."""

    def __init__(self, data: bytes, what: str, code: str = "malformed") -> None:
        self.data, self.what, self.code, self.at, self.pool, self.have = data, what, code, 0, 0, 0

    def take(self, count: int) -> bytes:
        need(count <= len(self.data) - self.at, f"{self.what}: too short", self.code)
        self.at += count
        return self.data[self.at - count : self.at]

    def numbers(self, count: int, form: str) -> list[int]:
        return list(struct.unpack(f"<{count}{form}", self.take(count * struct.calcsize(form))))

    def bits(self, width: int) -> int:
        more = max(0, width - self.have + 7) // 8
        self.pool |= int.from_bytes(self.take(more), "little") << self.have
        self.have += 8 * more - width
        self.pool, value = divmod(self.pool, 1 << width)
        return value

    def done(self) -> None:
        need(self.at == len(self.data) and not self.pool, f"{self.what}: too long", self.code)


def source_value(dtype: tuple[int, int, int, int], word: int) -> Fraction:
    exponent, fraction = divmod(word, 1 << dtype[1])
    return (fraction + ((exponent > 0) << dtype[1])) * TWO ** (max(exponent, 1) - 1 + dtype[2])


# 4 Numbers
@lru_cache(1 << 16)
def magnitude(dtype: tuple[int, int, int, int], n: int, step: int, deltas: tuple[int, ...]) -> int:
    """Return the magnitude word of n * 2^step or, given deltas, of what stands for the bin n."""
    _, mantissa, floor, largest = dtype
    value, most = n * TWO**step, source_value(dtype, largest)
    unit = max((n.bit_length() - 1 if n else -1) + step - mantissa, floor)
    need(value % TWO**unit == 0 and value <= most, "n * 2^Kt is not a source value")
    if deltas and unit < step:
        guess = value + deltas[n > 0] * TWO ** (step - 8)
        value = min(guess, (n + 1) * TWO**step - TWO**unit, most)
    log2 = value.numerator.bit_length() - value.denominator.bit_length()
    unit = max(log2 - mantissa, floor) if value else floor
    return ((unit - floor) << mantissa) + round(value / TWO**unit)


# 6 Layers
def rebuild(record: Any, weights: int, layers: list[bytes], digits: list[int]) -> bytes:
    """Return the bytes of a bitplane block at the tier of the last of ``layers``."""
    dtype, cursor = FLOATS[record.dtype], Cursor(layers[0], "base layer")  # 6.1
    size, mantissa, floor, largest = dtype
    sign, lossy = 128 << 8 * (size - 1), min(len(layers), len(digits))
    (flags,) = cursor.take(1)
    steps = cursor.numbers(-(-weights // record.segment), "h")
    record.largest = max(record.largest, *steps)
    symbols = cursor.take(weights)
    index = cursor.numbers(cursor.numbers(1, "I")[0], "I")
    outliers = {i: int.from_bytes(cursor.take(size), "little") for i in index}
    cursor.done()
    limit(max(map(abs, steps)), MAX_STEP_EXPONENT, "step exponent")
    need(flags < 2 and (flags or 255 not in symbols), "base layer: unknown flag or symbol")
    need(index == [i for i, s in enumerate(symbols) if s == 127], "outliers and symbols differ")
    for i, bits in outliers.items():
        m = source_value(dtype, bits % sign) / TWO ** steps[i // record.segment]
        need(bits % sign > largest or m + (flags and bits // sign) >= 127, f"{i} is no outlier")
    live = [i for i, symbol in enumerate(symbols) if not (flags and symbol >= 254)]
    rows = [(i, symbols[i] & 127, steps[i // record.segment]) for i in live]
    for t in range(1, lossy):  # 6.2
        cursor, width = Cursor(layers[t], "refinement layer"), digits[t] - digits[t - 1]
        rows = [(i, n << width | cursor.bits(width), k - width) for i, n, k in rows]
        cursor.done()
    need(all(n == 127 << digits[lossy - 1] for i, n, _ in rows if i in outliers), "outlier digits")
    result = [outliers.get(i, sign * (127 < s < 255)) for i, s in enumerate(symbols)]
    if len(layers) <= len(digits):
        deltas = tuple(record.figures[lossy - 1][:2])
        for i, n, k in rows:
            result[i] += 0 if i in outliers else magnitude(dtype, n, k, deltas)
    else:  # 6.3
        cursor = Cursor(layers[-1], "exact layer")
        fields = iter(cursor.numbers(sum(not n for _, n, _ in rows), "BH"[size == 8]))
        planes = [cursor.take(len(rows)) for _ in range(record.planes)]
        for j, (i, n, k) in enumerate(rows):
            lacks = min(mantissa - max(n.bit_length() - 1, 0), k - floor)
            lacks = 0 if i in outliers else max(0, lacks)
            word = int.from_bytes(bytes(plane[j] for plane in planes), "little")
            word |= cursor.bits(max(0, lacks - 8 * len(planes))) << 8 * len(planes)
            need(word >> lacks == 0, "a plane holds bits that the weight does not lack")
            if n and i not in outliers:
                word |= magnitude(dtype, n, k, ())
            elif not n:
                exponent = min(max(k - floor - mantissa, 0), largest >> mantissa) - next(fields)
                need(exponent >= 0, "x > top")
                word |= exponent << mantissa
            need(word <= largest and (word or not flags or i in outliers), "not a live weight")
            result[i] += word
        cursor.done()
    return struct.pack(f"<{weights}{' BH I   Q'[size]}", *result)


# 7 Chunks
def read_chunk(data: bytes, codec: int) -> list[Any]:
    """Return the payload of each member, or the sections of its difference."""
    cursor, streams, payloads = Cursor(data, "chunk"), list[Cursor](), list[Any]()
    (stated, zero), (members, count, zero2) = cursor.take(2), cursor.numbers(3, "H")
    need(stated == codec and zero == zero2 == 0 and members and count, "chunk: a wrong head")
    limit(members, MAX_CHUNK_MEMBERS, "members")
    limit(count, MAX_STREAMS, "streams")
    table = [cursor.numbers(2, "I") for _ in range(count)]
    limit(sum(raw for _, raw in table), MAX_STREAM_BYTES, "raw bytes of a chunk")
    for word, raw in table:
        stored = cursor.take(word & 0x7FFFFFFF)
        if word >> 31:
            need(len(stored) < raw and stored[:4] == b"\x28\xb5\x2f\xfd", "not a shorter frame")
            try:
                frame = get_frame_parameters(stored)
                need(frame.content_size == raw and not frame.dict_id, "a frame of another kind")
                limit(frame.window_size, 1 << MAX_WINDOW_LOG, "zstd window")
                stored = ZstdDecompressor().decompress(stored, raw, allow_extra_data=False)
            except ZstdError as error:
                raise RefError(f"a zstd frame does not decode: {error}") from None
        need(len(stored) == raw, "a stream has another length than it declares")
        streams.append(Cursor(stored, "stream"))
    cursor.done()
    meta, *parts = streams
    need(len(parts) >= {1: 1, 2: 1, 3: 4}.get(codec, 1), "too few streams")
    if codec == 1 or codec > 3:  # 7.1, 7.4
        lengths = [meta.numbers(len(parts), "I") for _ in range(members)]
        members_sections = [list(map(Cursor.take, parts, row)) for row in lengths]
        payloads = [cut if codec > 3 else b"".join(cut) for cut in members_sections]
    elif codec == 2:  # 7.2
        width, *sizes = meta.numbers(1 + members, "I")
        need(1 <= width <= 16 and len(parts) == width and sum(sizes) % width == 0, "planes")
        rows = zip(*(part.take(sum(sizes) // width) for part in parts), strict=True)
        joined = Cursor(bytes(byte for row in rows for byte in row), "planes")
        payloads = [joined.take(size) for size in sizes]
    else:  # 7.3
        steps, numbers, gaps, values, *classes = parts
        heads = [struct.unpack("<IIIIBBH", meta.take(20)) for _ in range(members)]
        halves = [steps.take(sum(head[1] for head in heads)) for _ in range(2)]
        chain = accumulate(low | high << 8 for low, high in zip(*halves, strict=True))
        quarters = [gaps.take(sum(head[2] for head in heads)) for _ in range(4)]
        jumps = (int.from_bytes(bytes(row), "little") for row in zip(*quarters, strict=True))
        for n, segments, outliers, unit, flags, size, axis in heads:
            limit(n, MAX_BLOCK_ELEMENTS, "weights of a member")
            need(unit and flags < 2 and axis < 2 and not (axis and n % unit), "classes: meta")
            units = list(enumerate(numbers.take(-(-n // unit))))
            need(all(c < len(classes) for _, c in units), "classes: class number out of range")
            symbols = b"".join(classes[c].take(min(unit, n - i * unit)) for i, c in units)
            symbols = b"".join(symbols[i::unit] for i in range(min(n, unit))) if axis else symbols
            ks = struct.pack(f"<{segments}H", *(k & 0xFFFF for k in islice(chain, segments)))
            index = list(accumulate(islice(jumps, outliers)))
            need(max(index, default=0) <= n, "classes: outlier index out of range")
            tail = struct.pack(f"<I{outliers}I", outliers, *index) + values.take(size * outliers)
            payloads.append(bytes([flags]) + ks + symbols + tail)
    for cursor in streams:
        cursor.done()
    return payloads


# 7.4 Differences
def numbers(sections: Sequence[bytes], kinds: int, scope: Sequence[tuple[int, int, bool]]) -> Any:
    """Return the number of each weight in scope, given its kind, its width and its sign rule."""
    need(len(sections) == 2 * kinds + 1, "a difference of another number of sections")
    symbols = list[Iterator[int]]()
    for kind in range(kinds):
        runs, given = sections[2 * kind : 2 * kind + 2]
        count = sum(row[0] == kind for row in scope)
        if runs or len(given) != count:
            need(runs[-1:] != b"\xff" and 0 not in given, "runs that end in 255, or a zero")
            need(len(given) == len(runs) - runs.count(255), "runs and symbols")
            rest = iter(given)
            given = b"".join(bytes(g) + bytes([next(rest)] if g < 255 else []) for g in runs)
            need(len(given) <= count, "runs behind the end")
            given += bytes(count - len(given))
        symbols.append(iter(given))
    cursor, result = Cursor(sections[-1], "bits of a difference"), list[int]()
    for kind, width, signed in scope:
        symbol = next(symbols[kind])
        need(symbol <= (2 * width if signed else width), "a symbol above its range")
        length = width - (symbol - 1) // 2 if signed else width + 1 - symbol
        x = 1 << (length - 1) | cursor.bits(length - 1) if symbol else 0
        result.append(-x if signed and symbol % 2 == 0 else x)
    cursor.done()
    return result


def levels(a: Sequence[int], b: Sequence[int]) -> Callable[[int], int]:
    """Return the function that gives each weight of a block its level."""
    total, end = sum(a), len(a) * len(b)

    def level(i: int) -> int:
        moved = a[i // len(b)] * b[i % len(b)] if i < end else 0
        return sum(moved << k > total for k in (8, 5, 3, 1))

    return level


class Known:
    """What a block's layers from the base upward say: symbols, and i of each lossy tier."""

    def __init__(self, layers: Sequence[bytes], weights: int, segment: int, digits: Any) -> None:
        cursor = Cursor(layers[0], "base layer")
        self.head = cursor.take(1 + 2 * -(-weights // segment))
        self.symbols = cursor.take(weights)
        self.live = [not (self.head[0] and s >= 254) for s in self.symbols]
        self.plain = [a and s != 127 for a, s in zip(self.live, self.symbols, strict=True)]
        n = [s & 127 for s in self.symbols]
        self.n, self.i = [n], [self.places(n)]
        for t, layer in enumerate(layers[1 : len(digits)], 1):
            cursor, r = Cursor(layer, "refinement layer"), digits[t] - digits[t - 1]
            pairs = zip(n, self.live, strict=True)
            n = [m << r | (cursor.bits(r) if live else 0) for m, live in pairs]
            cursor.done()
            self.n.append(n)
            self.i.append(self.places(n))

    def places(self, n: list[int]) -> list[int]:
        return [~m if s > 127 else m for m, s in zip(n, self.symbols, strict=True)]


def flip(symbol: int) -> int:
    return symbol if symbol <= 127 else (127 - symbol) % 256


def undo(
    codec: int,
    record: Any,
    weights: int,
    old: Sequence[bytes],
    new: Sequence[bytes],
    words: bytes,
    sections: Sequence[bytes],
    digits: Sequence[int],
) -> bytes:
    """Return a layer's payload, given those of both up to it, and the words of the old block."""
    if codec == 19:
        size = record.unit
        need(len(old[0]) == weights * size, "a block of another length")
        xs = numbers(sections, 1, [(0, 8 * size, True)] * weights)
        values = Cursor(old[0], "block")
        made = (int.from_bytes(values.take(size), "little") + x for x in xs)
        return b"".join((v % (1 << 8 * size)).to_bytes(size, "little") for v in made)
    before, head = Known(old, weights, record.segment, digits), Cursor(sections[0], "head")
    (unit,) = head.numbers(1, "I")
    need(unit <= weights, "a unit above its block")
    rows = weights // unit if unit else 0
    if codec == 16:
        lengths = head.take(rows + unit)
        head.done()
        need(max(lengths, default=0) <= 20, "more than a unit holds")
        counts = [1 << length >> 1 for length in lengths]
        level = levels(counts[:rows], counts[rows:])
        scope = [(level(i), 8, True) for i in range(weights)]
        xs = numbers(sections[1:-1], 5, scope)
        pairs = zip(before.symbols, xs, strict=True)
        symbols = bytes(flip((flip(s) + x) % 256) for s, x in pairs)
        index = [i for i, s in enumerate(symbols) if s == 127]
        size = FLOATS[record.dtype][0]
        need(len(sections[-1]) == size * len(index), "values of outliers")
        tail = struct.pack(f"<I{len(index)}I", len(index), *index)
        return before.head + symbols + tail + sections[-1]
    head.done()
    tier = len(new)
    after = Known(new, weights, record.segment, digits)
    need(before.head == after.head, "other flags or K than the parent's")
    both = [a and b for a, b in zip(before.plain, after.plain, strict=True)]
    last = zip(both, after.i[tier - 1], before.i[tier - 1], strict=True)
    apart = [a - b if plain else 0 for plain, a, b in last]
    moved = [[int(apart[i * unit + j] != 0) for j in range(unit)] for i in range(rows)]
    level = levels([sum(row) for row in moved], [sum(row) for row in zip(*moved, strict=True)])

    def kind(i: int) -> int:
        return 5 if apart[i] > 0 or not before.plain[i] else 6 if apart[i] < 0 else level(i)

    if codec == 17:
        r = digits[tier] - digits[tier - 1]
        where = [i for i in range(weights) if after.plain[i]]
        scope = [(kind(i), r, kind(i) < 5) for i in where]
        rest = [0] * weights
        for i, x in zip(where, numbers(sections[1:], 7, scope), strict=True):
            e = before.i[tier][i] if before.plain[i] else 0
            made = e + (-x if kind(i) == 6 else x)
            rest[i] = (~made if after.symbols[i] > 127 else made) % (1 << r)
        return bit_string([(rest[i], r) for i in range(weights) if after.live[i]])
    return exact_layer(record, after, words, sections, digits, kind)


def exact_layer(
    record: Any,
    after: Known,
    words: bytes,
    sections: Sequence[bytes],
    digits: Sequence[int],
    kind: Callable[[int], int],
) -> bytes:
    size, mantissa, floor, largest = FLOATS[record.dtype]
    steps = Cursor(after.head[1:], "K").numbers(len(after.head) // 2, "h")
    n, source = after.n[-1], Cursor(words, "block")
    fine = [steps[i // record.segment] - digits[-1] for i in range(len(n))]
    width = [0] * len(n)
    for i in range(len(n)):
        if after.plain[i]:
            room = min(mantissa - max(n[i].bit_length() - 1, 0), fine[i] - floor)
            width[i] = max(0, room)
    tiny = [plain and not m for plain, m in zip(after.plain, n, strict=True)]
    where = [i for i in range(len(n)) if tiny[i] or width[i] > 0]
    scope = [(7, 8 * size, True) if tiny[i] else (kind(i), width[i], kind(i) < 5) for i in where]
    codes = [int.from_bytes(source.take(size), "little") for _ in n]
    half, rest, fields = 1 << (8 * size - 1), [0] * len(n), b""
    for i, x in zip(where, numbers(sections[1:], 8, scope), strict=True):
        code = -1 - codes[i] % half if codes[i] >= half else codes[i]
        made = code + (-x if kind(i) == 6 and not tiny[i] else x)
        made = ~made if after.symbols[i] > 127 else made
        rest[i] = made % (1 << width[i])
        if tiny[i]:
            top = min(max(fine[i] - floor - mantissa, 0), largest >> mantissa)
            field = (top - (made % half >> mantissa)) % (1 << 8 * (1 + (size == 8)))
            fields += field.to_bytes(1 + (size == 8), "little")
    low = 8 * record.planes
    live = [i for i in range(len(n)) if after.live[i]]
    planes = b"".join(bytes(rest[i] >> 8 * j & 255 for i in live) for j in range(record.planes))
    bits = [(rest[i] >> low, max(0, width[i] - low)) for i in live]
    return fields + planes + bit_string(bits)


def bit_string(values: Sequence[tuple[int, int]]) -> bytes:
    pool, have, made = 0, 0, bytearray()
    for value, width in values:
        pool, have = pool | value << have, have + width
        while have >= 8:
            made.append(pool & 255)
            pool, have = pool >> 8, have - 8
    return bytes(made) + (bytes([pool]) if have else b"")
