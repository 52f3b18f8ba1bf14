"""Independent reader of the p2u format, version 1, written from SPEC.md alone.

``python p2u_ref.py FILE.p2u [--tier T]`` prints name, dtype, shape and BLAKE3 of each tensor at a
tier. Meant to be read beside the specification, whose section numbers stand here; it is not fast.
"""
# ruff: noqa: ANN401, D102, D103 - `conform` says what a value is, and SPEC.md what a function does

import argparse
import json
import math
import re
import struct
import sys
from collections import namedtuple
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import zstandard
from blake3 import blake3

# 12 Limits
MAX_ROOT_BYTES, MAX_PAGE_BYTES, MAX_PAGES, MAX_NESTING = 1 << 18, 1 << 20, 65536, 16
MAX_BLOCK_ELEMENTS, MAX_RECORD_BLOCKS, MAX_RANK, MAX_NAME_BYTES = 1 << 19, 4096, 64, 4096
MAX_ELEMENTS, MAX_TIERS, MAX_DIGITS, MAX_CHUNK_BYTES = 1 << 48, 16, 24, 1 << 26
MAX_CHUNK_MEMBERS, MAX_STREAMS, MAX_STREAM_BYTES, MAX_WINDOW_LOG = 4096, 300, 1 << 26, 23
MAX_STEP_EXPONENT, MAX_FILE_BYTES = 2000, (1 << 63) - 1

# 13 Errors
EXIT = {"not-an-artifact": 5, "unsupported-format": 5, "incomplete": 6}
EXIT |= dict.fromkeys(("digest-mismatch", "non-canonical", "malformed", "limit-exceeded"), 3)


class RefError(Exception):
    """A file that is refused; ``code`` is one of those of section 13."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def need(condition: object, message: str, code: str = "malformed") -> None:
    if not condition:
        raise RefError(code, message)


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
        while self.have < width:
            self.pool |= self.take(1)[0] << self.have
            self.have += 8
        value, self.pool = self.pool & ((1 << width) - 1), self.pool >> width
        self.have -= width
        return value

    def done(self) -> None:
        good = self.at == len(self.data) and self.pool == 0
        need(good, f"{self.what}: too long, or unused bits that are not zero", self.code)


# Canonical msgpack: head byte -> kind, bytes of the number behind it, least magnitude it may have
HEADS = {0xC4 + i: ("bin", 1 << i, (0, 256, 65536)[i]) for i in range(3)}
HEADS |= {0xD9 + i: ("str", 1 << i, (32, 256, 65536)[i]) for i in range(3)}
HEADS |= {0xCC + i: ("int", 1 << i, (128, 256, 65536, 1 << 32)[i]) for i in range(4)}
HEADS |= {0xD0 + i: ("neg", 1 << i, (33, 129, 32769, (1 << 31) + 1)[i]) for i in range(4)}
HEADS |= {0xDC + i: ("array", 2 << i, (16, 65536)[i]) for i in range(2)}
HEADS |= {0xDE + i: ("map", 2 << i, (16, 65536)[i]) for i in range(2)}
SHORT = 8 * [("int", 0)] + [("map", 0x80), ("array", 0x90), ("str", 0xA0), ("str", 0xA0)]
SHORT += 2 * [("nil", 0)] + 2 * [("int", 256)]


def unpack(cursor: Cursor, depth: int = 0) -> Any:
    byte = cursor.take(1)[0]
    kind, number = SHORT[byte >> 4][0], byte - SHORT[byte >> 4][1]
    if 0xC0 < byte < 0xE0:
        need(byte in HEADS, f"type byte {byte:#x} is not allowed", "non-canonical")
        kind, width, least = HEADS[byte]
        number = int.from_bytes(cursor.take(width), "big", signed=kind == "neg")
        shortest = (-number if kind == "neg" else number) >= least
        need(shortest, f"{number} is not in its shortest form", "non-canonical")
    if kind in ("bin", "str"):
        try:
            return cursor.take(number) if kind == "bin" else cursor.take(number).decode()
        except UnicodeDecodeError:
            raise RefError("non-canonical", "a str is not UTF-8") from None
    if kind not in ("array", "map"):
        return None if kind == "nil" else number
    limit(depth + 1, MAX_NESTING, "nesting")
    values = [unpack(cursor, depth + 1) for _ in range(number * (2 if kind == "map" else 1))]
    if kind == "array":
        return values
    keys = [key.encode() for key in values[::2] if isinstance(key, str)]
    good = len(keys) == number and sorted(set(keys)) == keys
    need(good, "map keys are not ascending strings", "non-canonical")
    return dict(zip(values[::2], values[1::2], strict=True))


def conform(value: Any, form: Any, what: str) -> None:
    """Check against a range, a bin's length, a type, (a, b) fields, [a] for any number, {keys}."""
    if isinstance(form, dict) and isinstance(value, dict) and value.keys() == form.keys():
        value, form = list(value.values()), tuple(form[key] for key in value)
    if isinstance(form, tuple | list):
        good = isinstance(value, list) and (isinstance(form, list) or len(value) == len(form))
        for i, item in enumerate(value if good else ()):
            conform(item, form[i % len(form)], what)
    elif isinstance(form, range):
        good = isinstance(value, int) and value in form
    elif isinstance(form, int):
        good = isinstance(value, bytes) and len(value) == form
    else:
        good = isinstance(form, type) and isinstance(value, form)
    need(good, f"{what}: another type, range or number of values than stated")


# Source dtypes: bytes, M, emin - M, magnitude word of F
TWO, Float = Fraction(2), namedtuple("Float", "size mantissa floor largest")
FLOATS = {"F64": Float(8, 52, -1074, 0x7FEFFFFFFFFFFFFF), "F32": Float(4, 23, -149, 0x7F7FFFFF)}
FLOATS |= {"F16": Float(2, 10, -24, 0x7BFF), "BF16": Float(2, 7, -133, 0x7F7F)}
FLOATS |= {"F8_E4M3": Float(1, 3, -9, 0x7E), "F8_E5M2": Float(1, 2, -16, 0x7B)}
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4}
SIZES |= {"U64": 8, "I64": 8, "C64": 8} | {name: dtype.size for name, dtype in FLOATS.items()}


def source_value(dtype: Float, word: int) -> Fraction:
    exponent, fraction = divmod(word, 1 << dtype.mantissa)
    significand = fraction + (1 << dtype.mantissa if exponent else 0)
    return significand * TWO ** (max(exponent, 1) - 1 + dtype.floor)


# 4 Numbers
@lru_cache(1 << 16)
def magnitude(dtype: Float, n: int, step: int, deltas: tuple[int, ...]) -> int:
    """Return the magnitude word of n * 2^step or, given deltas, of what stands for the bin n."""
    value, largest = n * TWO**step, source_value(dtype, dtype.largest)
    unit = max((n.bit_length() - 1 if n else -1) + step - dtype.mantissa, dtype.floor)
    need(value % TWO**unit == 0 and value <= largest, "n * 2^Kt is not a source value")
    if deltas and unit < step:
        guess = value + deltas[n > 0] * TWO ** (step - 8)
        value = min(guess, (n + 1) * TWO**step - TWO**unit, largest)
    log2 = value.numerator.bit_length() - value.denominator.bit_length()
    unit = max(log2 - dtype.mantissa, dtype.floor) if value else dtype.floor
    return ((unit - dtype.floor) << dtype.mantissa) + round(value / TWO**unit)


# 6 Layers
def rebuild(record: Any, weights: int, layers: list[bytes], digits: list[int]) -> bytes:
    """Return the bytes of a bitplane block at the tier of the last of ``layers``."""
    dtype, cursor = FLOATS[record.dtype], Cursor(layers[0], "base layer")  # 6.1
    sign, lossy = 128 << 8 * (dtype.size - 1), min(len(layers), len(digits))
    (flags,) = cursor.take(1)
    steps = cursor.numbers(-(-weights // record.segment), "h")
    limit(max(map(abs, steps)), MAX_STEP_EXPONENT, "step exponent")
    record.largest = max(record.largest, *steps)
    symbols = cursor.take(weights)
    index = cursor.numbers(*cursor.numbers(1, "I"), "I")
    outliers = {i: int.from_bytes(cursor.take(dtype.size), "little") for i in index}
    cursor.done()
    good = index == [i for i, symbol in enumerate(symbols) if symbol == 127]
    need(good and flags < 2 and (flags or 255 not in symbols), "base layer: flags or symbols")
    for i, (negative, word) in ((i, divmod(bits, sign)) for i, bits in outliers.items()):
        m = source_value(dtype, word) / TWO ** steps[i // record.segment]
        good = word > dtype.largest or m + (flags & negative) >= 127
        need(good, f"weight {i} is no outlier")
    result = [outliers.get(i, sign * (symbol == 254)) for i, symbol in enumerate(symbols)]
    live = [i for i, symbol in enumerate(symbols) if not (flags and symbol >= 254)]
    rows = [(i, symbols[i] & 127, steps[i // record.segment]) for i in live]
    for t in range(1, lossy):  # 6.2
        cursor, width = Cursor(layers[t], "refinement layer"), digits[t] - digits[t - 1]
        rows = [(i, n << width | cursor.bits(width), k - width) for i, n, k in rows]
        cursor.done()
    good = all(n == 127 << digits[lossy - 1] for i, n, _ in rows if i in outliers)
    need(good, "an outlier has digits")
    rest = [row for row in rows if row[0] not in outliers]
    if len(layers) <= len(digits):
        deltas = tuple(record.figures[lossy - 1][:2])
        for i, n, k in rest:
            result[i] = magnitude(dtype, n, k, deltas) + sign * (symbols[i] >> 7)
    else:  # 6.3
        cursor = Cursor(layers[-1], "exact layer")
        fields = iter(cursor.numbers(sum(not n for _, n, _ in rest), "BH"[dtype.size == 8]))
        planes = [cursor.take(len(live)) for _ in range(record.planes)]
        for j, (i, n, k) in enumerate(rows):
            lacks = max(0, min(dtype.mantissa - max(n.bit_length() - 1, 0), k - dtype.floor))
            lacks = 0 if i in outliers else lacks
            low = int.from_bytes(bytes(plane[j] for plane in planes), "little")
            low |= cursor.bits(max(0, lacks - 8 * len(planes))) << 8 * len(planes)
            need(low >> lacks == 0, "a plane holds bits that the weight does not lack")
            if i in outliers:
                continue
            if n:
                word = magnitude(dtype, n, k, ()) | low
            else:
                top = max(k - dtype.floor - dtype.mantissa, 0)
                exponent = min(top, dtype.largest >> dtype.mantissa) - next(fields)
                need(exponent >= 0, "x > top")
                word = exponent << dtype.mantissa | low
            good = word <= dtype.largest and (word or not flags)
            need(good, "a weight that is not finite, or is a live zero of a sparse block")
            result[i] = word + sign * (symbols[i] >> 7)
        cursor.done()
    return struct.pack(f"<{weights}{' BH I   Q'[dtype.size]}", *result)


# 7 Chunks
def read_stream(stored: bytes, word: int, raw: int) -> bytes:
    if word < 1 << 31:
        need(len(stored) == raw, "a plain stream has two lengths")
        return stored
    need(len(stored) < raw and stored[:4] == b"\x28\xb5\x2f\xfd", "not a zstd frame, or too long")
    try:
        frame = zstandard.get_frame_parameters(stored)
        need(frame.content_size == raw and not frame.dict_id, "a zstd frame of another kind")
        limit(frame.window_size, 1 << MAX_WINDOW_LOG, "zstd window")
        plain = zstandard.ZstdDecompressor().decompress(stored, raw, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise RefError("malformed", f"a zstd frame does not decode: {error}") from None
    need(len(plain) == raw, "a zstd frame has another length than it declares")
    return plain


def read_chunk(data: bytes, codec: int) -> list[bytes]:
    """Return the payloads of a chunk's members."""
    if codec == 0:
        return [data]
    cursor = Cursor(data, "chunk")
    (stated, zero), (members, count, zero2) = cursor.take(2), cursor.numbers(3, "H")
    need(stated == codec and zero == zero2 == 0 and members and count, "chunk: a wrong head")
    limit(members, MAX_CHUNK_MEMBERS, "members")
    limit(count, MAX_STREAMS, "streams")
    table = [cursor.numbers(2, "I") for _ in range(count)]
    limit(sum(raw for _, raw in table), MAX_STREAM_BYTES, "raw bytes of a chunk")
    stored = [(cursor.take(word & 0x7FFFFFFF), word, raw) for word, raw in table]
    cursor.done()
    meta, *streams = [Cursor(read_stream(*stream), "stream") for stream in stored]
    if codec == 1:  # 7.1
        need(streams, "sections: no section")
        lengths = [meta.numbers(len(streams), "I") for _ in range(members)]
        payloads = [b"".join(map(Cursor.take, streams, row)) for row in lengths]
    elif codec == 2:  # 7.2
        width, *sizes = meta.numbers(1 + members, "I")
        good = 1 <= width <= 16 and len(streams) == width and sum(sizes) % width == 0
        need(good, "planes: wrong width")
        rows = zip(*(stream.take(sum(sizes) // width) for stream in streams), strict=True)
        joined = Cursor(bytes(byte for row in rows for byte in row), "planes")
        payloads = [joined.take(size) for size in sizes]
    else:
        need(len(streams) >= 4, "classes: too few streams")
        payloads = read_classes(members, meta, *streams)
    for cursor in (meta, *streams):
        cursor.done()
    return payloads


def read_classes(members: int, meta: Cursor, *streams: Cursor) -> list[bytes]:  # 7.3
    steps, numbers, gaps, values, *classes = streams
    rows = [struct.unpack("<IIIIBBH", meta.take(20)) for _ in range(members)]
    halves = [steps.take(sum(row[1] for row in rows)) for _ in range(2)]
    chain = accumulate(low | high << 8 for low, high in zip(*halves, strict=True))
    quarters = [gaps.take(sum(row[2] for row in rows)) for _ in range(4)]
    jumps = (int.from_bytes(bytes(row), "little") for row in zip(*quarters, strict=True))
    payloads = []
    for n, segments, outliers, unit, flags, size, axis in rows:
        limit(n, MAX_BLOCK_ELEMENTS, "weights of a member")
        need(unit and flags < 2 and axis < 2 and not (axis and n % unit), "classes: wrong meta")
        units = list(enumerate(numbers.take(-(-n // unit))))
        need(all(c < len(classes) for _, c in units), "classes: class number out of range")
        symbols = b"".join(classes[c].take(min(unit, n - i * unit)) for i, c in units)
        symbols = b"".join(symbols[i::unit] for i in range(unit)) if axis else symbols
        ks = struct.pack(f"<{segments}H", *(k & 0xFFFF for k in islice(chain, segments)))
        index = list(accumulate(islice(jumps, outliers)))
        need(max(index, default=0) <= n, "classes: outlier index out of range")
        tail = struct.pack(f"<I{outliers}I", outliers, *index) + values.take(size * outliers)
        payloads.append(bytes([flags]) + ks + symbols + tail)
    return payloads


# 8 Manifest: the forms of its values
UINT, SIGNED = range(1 << 64), range(-1 << 63, 1 << 64)
ROOT = {"ext": dict, "features": [str], "version": UINT}
CONTENT_ROOT = ROOT | {"kind": str, "pages": [(UINT, str, UINT, UINT, 32)]}
CONTENT_ROOT |= {"tiers": [(str, object)], "totals": (UINT, UINT, UINT)}
ENCODING_ROOT = ROOT | {"content": 32, "pages": [(UINT, 32, UINT)]}
TENSOR = (range(2), str, UINT, str, [UINT], str, list, bytes, [bytes], dict)
FILE = (range(2), str, UINT, str, UINT, 32, list, bytes, dict)
OPAQUE, FIGURE = (UINT, UINT), (range(1 << 32), SIGNED)
BITPLANE = (UINT, UINT, [(range(256), range(256), SIGNED, FIGURE)], FIGURE)
ENCODING_PAGE = ([(UINT, UINT, UINT, object)], [[(UINT, UINT)]], dict)


class Record:
    """A tensor or file; a block has a size, digests (its own, then the layers'), chunks and slots."""

    def __init__(self, row: list[Any], tiers: int) -> None:
        self.row, (self.is_file, self.name, _, self.dtype, shape, quantizer, more) = row, row[:7]
        self.shape, self.bitplane = tuple([] if self.is_file else shape), quantizer == "bitplane"
        self.blocks, self.largest, self.figures = list[Any](), -9999, list[Any]()
        limit(len(self.shape), MAX_RANK, "rank")
        limit(math.prod(self.shape), MAX_ELEMENTS, "elements")
        known = self.is_file or quantizer in ("bitplane", "opaque")
        need(known, f"quantizer {quantizer}", "unsupported-format")
        conform(more, BITPLANE if self.bitplane else OPAQUE, "parameters")
        self.tiers = range(tiers) if self.bitplane else range(more[0], more[0] + 1)
        need(self.tiers.stop <= tiers, "no such tier")
        self.unit, self.elements = SIZES.get(self.dtype, 1), math.prod(self.shape)
        row_length = self.shape[-1] if len(self.shape) > 1 else self.elements
        if self.is_file:  # 8.3
            bad = {"", ".", ".."} & set(self.name.split("/")) or {"\\", "\0"} & set(self.name)
            need(not bad, "a path that is not relative")
            good = more[1] == shape if self.dtype == "plain" else more[1] <= shape
            need(good and self.dtype in ("plain", "safetensors"), "layout or length of a blob")
        if self.bitplane:  # 8.2
            self.segment, self.planes, self.figures, energy = more
            good = self.dtype in FLOATS and self.segment and len(self.figures) == tiers - 1 > 0
            good = good and 0 <= FLOATS[self.dtype].mantissa - 8 * self.planes <= 16
            need(good, "parameters of another dtype or number of tiers")
            good = all(pair[0] % 2 or pair == [0, 0] for *_, pair in (*self.figures, [energy]))
            need(good, "a figure is not normal", "non-canonical")
        elif self.is_file or self.dtype not in SIZES:
            row_length = self.elements = more[1]
        else:
            need(more[1] == self.elements * self.unit, "shape and bytes disagree")
        self.totals = (
            (0, 0, shape) if self.is_file else (self.elements, self.elements * self.bitplane, 0)
        )
        # 5 Blocks: a run of `run` elements is cut by itself, into blocks of `whole`
        self.whole, self.run = MAX_BLOCK_ELEMENTS, max(row_length, 1)
        if row_length <= MAX_BLOCK_ELEMENTS:
            self.whole = self.run << ((MAX_BLOCK_ELEMENTS // self.run).bit_length() - 1)
            self.run = max(self.elements, 1)
        self.per_run = -(-self.run // self.whole)
        self.count = self.elements // self.run * self.per_run


class Artifact:
    """The checked manifest of a file (9, 10 Open)."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.records, self.key = data, 128, list[Record](), (-1, b"", 0)
        need(data[:8] == b"\x89P2U\r\n\x1a\n", "the magic is missing", "not-an-artifact")
        need(len(data) >= 128, "shorter than the header", "incomplete")
        major, _, flags = struct.unpack_from("<HHI", data, 8)
        need(major == 1, f"major version {major}", "unsupported-format")
        need(blake3(data[:112]).digest(16) == data[112:128], "header digest", "digest-mismatch")
        need(flags == 0, f"flags {flags:#x}", "unsupported-format")
        size, other_size, manifest, length, entries = struct.unpack_from("<IIQQQ", data, 80)
        limit(max(size, other_size), MAX_ROOT_BYTES, "length of a root")
        limit(length, MAX_FILE_BYTES, "file length")
        need(128 + size + other_size <= manifest <= length, "the header's lengths contradict")
        need(len(data) >= manifest, "shorter than the manifest", "incomplete")
        root = self.root(size, data[16:48], CONTENT_ROOT)
        tiers = root["tiers"]  # 8.1
        limit(len(tiers), MAX_TIERS, "tiers")
        self.tiers, self.digits = [name for name, _ in tiers], [digits for _, digits in tiers[:-1]]
        conform(self.digits, [UINT], "digits")
        good = all(re.fullmatch("[a-z0-9][a-z0-9._-]{0,31}", name) for name in self.tiers)
        good = good and tiers[-1:] == [["exact", None]] and len(set(self.tiers)) == len(tiers)
        good = good and sorted({0, *self.digits} if self.digits else ()) == self.digits
        need(good, "names or digits of the tiers")
        limit(max(self.digits, default=0), MAX_DIGITS, "digits")
        other = self.root(other_size, data[48:80], ENCODING_ROOT)
        good = other["content"] == data[16:48] and len(root["pages"]) == len(other["pages"])
        need(good, "the roots do not belong together")
        pages = [self.page(*a, *b) for a, b in zip(root["pages"], other["pages"], strict=True)]
        need(all(r.count == len(r.blocks) for r in self.records[-1:]), "blocks are missing")
        totals = [sum(record.totals[i] for record in self.records) for i in range(3)]
        need(totals == root["totals"], f"totals: expected {totals}, got {root['totals']}")
        self.chunks = [chunk for page in pages for chunk in page]
        good = len(self.chunks) == entries and self.at + 8 * entries == manifest
        need(good, "pages and table do not fill the manifest")
        end, first = manifest, dict[tuple[int, bytes], Any]()
        for chunk in sorted(self.chunks, key=lambda chunk: chunk.tier):  # stable: then by page
            same = first.setdefault((chunk.tier, chunk.id), chunk)
            need(same.length == chunk.length, "a chunk with two lengths")
            chunk.offset, end = (end, end + chunk.length) if same is chunk else (same.offset, end)
        table = list(struct.unpack_from(f"<{entries}Q", data, self.at))
        good = table == [chunk.offset for chunk in self.chunks] and end == length
        need(good, "table or file length contradict the layout")
        need(len(data) <= length, "bytes behind the end")
        lost = [chunk.tier for chunk in self.chunks if chunk.offset + chunk.length > len(data)]
        self.complete = self.tiers[: min(lost, default=len(self.tiers))]

    def cut(self, length: int, name: bytes, what: str) -> Any:
        cursor = Cursor(self.data[self.at : self.at + length], what, "non-canonical")
        need(blake3(cursor.data).digest() == name, f"digest of a {what}", "digest-mismatch")
        self.at, value = self.at + length, unpack(cursor)
        cursor.done()
        return value

    def root(self, length: int, name: bytes, form: dict[str, Any]) -> dict[str, Any]:
        root: dict[str, Any] = self.cut(length, name, "root")
        features = root.get("features") if isinstance(root, dict) else None
        need(features in (None, []), f"features {features}", "unsupported-format")
        conform(root, form, "root")
        good = root["version"] == 1 and root.get("kind", "checkpoint") == "checkpoint"
        need(good, "version or kind of a root", "unsupported-format")
        limit(len(root["pages"]), MAX_PAGES, "pages")
        return root

    def page(self, *entry: Any) -> list[Any]:
        *key, size, name, other_size, other_name, count = entry
        limit(max(size, other_size), MAX_PAGE_BYTES, "length of a page")
        rows = self.cut(size, name, "content page")
        conform(rows, [list], "content page")
        need(rows and rows[0][:3] == key, "a page does not start with its key")
        added = [self.record(row) for row in rows]
        page = self.cut(other_size, other_name, "encoding page")
        conform(page, ENCODING_PAGE, "encoding page")
        layers, used, chunks = iter(page[1]), set[int](), list[Any]()
        for tier, codec, length, name in page[0]:
            need(codec < 4, f"codec {codec}", "unsupported-format")
            conform(name, 32 if codec else type(None), "chunk id")
            limit(length, MAX_CHUNK_BYTES, "length of a chunk")
            chunks.append(SimpleNamespace(tier=tier, codec=codec, length=length, id=name, offset=0))
        good = len(chunks) == count and all(a.tier <= b.tier for a, b in pairwise(chunks))
        need(good, "number or order of a page's chunks")
        for record, blocks in added:
            for layer, tier in enumerate(record.tiers):
                uses = next(layers, [])
                need(len(uses) == len(blocks), "number of a layer's blocks")
                for (_, names, found), (number, slot) in zip(blocks, uses, strict=True):
                    need(number < count, "no such chunk")
                    chunk = chunks[number]
                    chunk.id = chunk.id or names[layer + 1]
                    good = chunk.codec or (slot == 0 and chunk.id == names[layer + 1])
                    good = good and (chunk.codec < 2 or (chunk.codec == 2) != record.bitplane)
                    need(good and chunk.tier == tier, "a layer in a chunk of other layers")
                    found.append((chunk, slot))
                    used.add(number)
        need(next(layers, None) is None and len(used) == count, "a layer or chunk without use")
        return chunks

    def record(self, row: list[Any]) -> tuple[Record, list[Any]]:
        """Take the blocks of the first or of a continuation record, return them."""
        conform(row, FILE if row[:1] == [1] else TENSOR, "record")
        limit(len(row[1].encode()), MAX_NAME_BYTES, "length of a name")
        last, self.key = self.key, (row[0], row[1].encode(), row[2])
        need(last < self.key, "records do not ascend")
        if last[:2] != self.key[:2]:
            need(all(r.count == len(r.blocks) for r in self.records[-1:]), "blocks are missing")
            self.records.append(Record(row, len(self.tiers)))
        record, first, layers = self.records[-1], row[2], [] if row[0] else row[8]
        good = first == len(record.blocks) and first in range(max(record.count, 1))
        good = good and row[3:7] + row[-1:] == record.row[3:7] + record.row[-1:]
        need(good, "a record does not continue the one before it")
        need(len(layers) == len(record.tiers) * record.bitplane, "number of layers")
        count = min(MAX_RECORD_BLOCKS, record.count - first)
        conform([row[7], *layers], [32 * count], "digests")
        for i in range(count):
            names = [data[32 * i : 32 * i + 32] for data in (row[7], *(layers or [row[7]]))]
            size = min(record.whole, record.run - (first + i) % record.per_run * record.whole)
            record.blocks.append((size, names, []))
        return record, record.blocks[first:]


# 10 Reader algorithms
def read(
    path: str | Path, tier: str | None = None
) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Check a file up to a tier (the last complete one), return name -> (dtype, shape, bytes)."""
    artifact = Artifact(Path(path).read_bytes())
    if tier not in (None, *artifact.tiers):
        raise ValueError(f"expected a tier of {artifact.tiers}, got {tier!r}")
    whole = artifact.complete if tier is None else tier in artifact.complete
    need(whole, "the tier is not whole", "incomplete")
    level = artifact.tiers.index(tier or artifact.complete[-1])
    wanted = [chunk for chunk in artifact.chunks if chunk.tier <= level]
    for chunk in wanted:
        chunk.data = artifact.data[chunk.offset : chunk.offset + chunk.length]
        good = blake3(chunk.data).digest() == chunk.id
        need(good, f"id of the chunk at {chunk.offset}", "digest-mismatch")
    for chunk in wanted:
        chunk.payloads = read_chunk(chunk.data, chunk.codec)
    # All decoding comes before the first layer digest, these before block digests, then files
    found, late = dict[tuple[int, str], bytes](), list[tuple[int, str]]()
    records = [record for record in artifact.records if record.tiers[0] <= level]
    for record in records:
        parts = []
        for number, (size, (name, *names), uses) in enumerate(record.blocks):
            held = [use for use in uses if use[0].tier <= level]
            need(all(slot < len(chunk.payloads) for chunk, slot in held), "slot out of range")
            layers = [chunk.payloads[slot] for chunk, slot in held]
            block = layers[0]
            if record.bitplane:
                block = rebuild(record, size, layers, artifact.digits)
            need(len(block) == size * record.unit, f"length of block {number} of {record.name!r}")
            parts.append(block)
            good = all(blake3(a).digest() == b for a, b in zip(layers, names, strict=False))
            late += [] if good else [(0, f"layer digest in block {number} of {record.name!r}")]
            good = record.tiers[-1] > level or blake3(block).digest() == name
            late += [] if good else [(1, f"block digest of block {number} of {record.name!r}")]
        found[record.is_file, record.name] = b"".join(parts)
        for t, figure in enumerate(record.figures if parts else ()):
            good = figure[2] == record.largest - artifact.digits[t]
            need(good, f"error bound of {record.name!r}")
    need(not late, min(late, default=(0, ""))[1], "digest-mismatch")
    for record in records if level == len(artifact.digits) else ():
        data = found[record.is_file, record.name]
        try:
            spans = json.loads(data[8:]) if record.dtype == "safetensors" else {}
            spans = [(spans[n]["data_offsets"], n) for n in spans if n != "__metadata__"]
            data += b"".join(found[0, n] for _, n in sorted(spans))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RefError("malformed", f"the head of {record.name!r}: {error!r}") from None
        same = not record.is_file or blake3(data).digest() == record.row[5]
        need(not record.is_file or len(data) == record.row[4], f"size of {record.name!r}")
        need(same, f"digest of the file {record.name!r}", "digest-mismatch")
    return {r.name: (r.dtype, r.shape, found[0, r.name]) for r in records if not r.is_file}


def main() -> int:
    """Print a line per tensor; the result is the exit code of section 13."""
    parser = argparse.ArgumentParser(description="Read a .p2u file, checking all of it.")
    parser.add_argument("file")
    parser.add_argument("--tier", help="default: the last complete one")
    options = parser.parse_args()
    try:
        tensors = read(options.file, options.tier)
    except RefError as error:
        print(f"error: {error.code}: {error}", file=sys.stderr)
        return EXIT[error.code]
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    for name, (dtype, shape, data) in tensors.items():
        shown = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in s) for s in (name, dtype)]
        print(*shown, list(shape), blake3(data).hexdigest(), sep="\t")
    return 0


if __name__ == "__main__":
    sys.exit(main())
