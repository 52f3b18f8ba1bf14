"""Independent reader of the p2u format, version 1, written from SPEC.md alone.

``python p2u_ref.py FILE.p2u [--tier T]`` prints name, dtype, shape and BLAKE3 of each tensor.
"""
# ruff: noqa: ANN401, D102, D103 - `conform` says what a value is, and SPEC.md what a function does

import argparse
import hashlib
import json
import math
import re
import struct
import sys
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from blake3 import blake3
from zstandard import ZstdDecompressor, ZstdError, get_frame_parameters

# 12 Limits
MAX_ROOT_BYTES, MAX_PAGE_BYTES, MAX_PAGES, MAX_NESTING = 1 << 18, 1 << 20, 65536, 16
MAX_BLOCK_ELEMENTS, MAX_RECORD_BLOCKS, MAX_RANK, MAX_NAME_BYTES = 1 << 19, 1024, 64, 4096
MAX_ELEMENTS, MAX_TIERS, MAX_DIGITS, MAX_CHUNK_BYTES = 1 << 48, 16, 24, 1 << 26
MAX_CHUNK_MEMBERS, MAX_STREAMS, MAX_STREAM_BYTES, MAX_WINDOW_LOG = 4096, 300, 1 << 26, 23
MAX_STEP_EXPONENT, MAX_FILE_BYTES, MAX_FILES = 2000, (1 << 63) - 1, 65536
# 3 Canonical msgpack: kind, first head byte, bytes of the number behind it, its least magnitudes
LONG = [("bin", 0xC4, 1, [0, 256, 65536]), ("str", 0xD9, 1, [32, 256, 65536])]
LONG += [("int", 0xCC, 1, [128, 256, 65536, 1 << 32]), ("array", 0xDC, 2, [16, 65536])]
LONG += [("neg", 0xD0, 1, [33, 129, 32769, (1 << 31) + 1]), ("map", 0xDE, 2, [16, 65536])]
HEADS = {h + i: (kind, w << i, n) for kind, h, w, row in LONG for i, n in enumerate(row)}
SHORT = 8 * [("int", 0)] + [("map", 0x80), ("array", 0x90), ("str", 0xA0), ("str", 0xA0)]
SHORT += 2 * [("nil", 0)] + 2 * [("int", 256)]
# 3 Source dtypes: bytes, M, emin - M, magnitude word of F
FLOATS: dict[str, tuple[int, int, int, int]] = {"F64": (8, 52, -1074, (0x7FF << 52) - 1)}
FLOATS |= {"F32": (4, 23, -149, 0x7F7FFFFF), "F16": (2, 10, -24, 0x7BFF)}
FLOATS |= {"BF16": (2, 7, -133, 0x7F7F), "F8_E4M3": (1, 3, -9, 0x7E), "F8_E5M2": (1, 2, -16, 0x7B)}
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4}
SIZES |= {"U64": 8, "I64": 8, "C64": 8} | {name: dtype[0] for name, dtype in FLOATS.items()}
# 8 The forms of roots, records and pages, as `conform` reads them
TWO, UINT, SIGNED = Fraction(2), range(1 << 64), range(-1 << 63, 1 << 64)
ROOT = {"ext": dict, "features": [str], "version": UINT}
CONTENT_ROOT = ROOT | {"kind": str, "pages": [(UINT, str, UINT, UINT, 32)]}
CONTENT_ROOT |= {"tiers": [(str, object)], "totals": (UINT, UINT, UINT)}
ENCODING_ROOT = ROOT | {"content": 32, "pages": [(UINT, 32, UINT)]}
TENSOR = (range(2), str, UINT, str, [UINT], str, list, bytes, [bytes], dict)
FILE = (range(2), str, UINT, str, UINT, 32, (UINT, UINT), bytes, dict)
OPAQUE, FIGURE = (UINT, UINT), (range(1 << 32), SIGNED)
BITPLANE = (UINT, UINT, [(range(256), range(256), SIGNED, FIGURE)], FIGURE)
ENCODING_PAGE = ([(UINT, UINT, UINT, object)], [[(UINT, UINT)]], dict)
# 13 Errors
EXIT = {"not-an-artifact": 5, "unsupported-format": 5, "incomplete": 6}
EXIT |= dict.fromkeys(("digest-mismatch", "non-canonical", "malformed", "limit-exceeded"), 3)


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


def unpack(cursor: Cursor, depth: int = 0) -> Any:
    byte = cursor.take(1)[0]
    kind, number = SHORT[byte >> 4][0], byte - SHORT[byte >> 4][1]
    if 0xC0 < byte < 0xE0:
        need(byte in HEADS, f"type byte {byte:#x} is not allowed", "non-canonical")
        kind, width, least = HEADS[byte]
        number = int.from_bytes(cursor.take(width), "big", signed=kind == "neg")
        need((number, -number)[kind == "neg"] >= least, "not the shortest form", "non-canonical")
    if kind in ("bin", "str"):
        data = cursor.take(number)
        text = data.decode(errors="replace") if kind == "str" else ""
        need(kind == "bin" or text.encode() == data, "a str is not UTF-8", "non-canonical")
        return data if kind == "bin" else text
    if kind not in ("array", "map"):
        return None if kind == "nil" else number
    limit(depth + 1, MAX_NESTING, "nesting")
    values = [unpack(cursor, depth + 1) for _ in range(number * (2 if kind == "map" else 1))]
    if kind == "array":
        return values
    keys = [key.encode() for key in values[::2] if isinstance(key, str)]
    need(len(keys) == number and sorted(set(keys)) == keys, "order of map keys", "non-canonical")
    return dict(zip(values[::2], values[1::2], strict=True))


def conform(value: Any, form: Any, what: str) -> Any:
    """Check against a range, a bin's length, a type, (a, b) fields, [a] for any number."""
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
    return value


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
def read_chunk(data: bytes, codec: int) -> list[bytes]:
    cursor, streams, payloads = Cursor(data, "chunk"), list[Cursor](), list[bytes]()
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
    need(len(parts) >= (0, 1, 1, 4)[codec], "too few streams")
    if codec == 1:  # 7.1
        lengths = [meta.numbers(len(parts), "I") for _ in range(members)]
        payloads = [b"".join(map(Cursor.take, parts, row)) for row in lengths]
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
            symbols = b"".join(symbols[i::unit] for i in range(unit)) if axis else symbols
            ks = struct.pack(f"<{segments}H", *(k & 0xFFFF for k in islice(chain, segments)))
            index = list(accumulate(islice(jumps, outliers)))
            need(max(index, default=0) <= n, "classes: outlier index out of range")
            tail = struct.pack(f"<I{outliers}I", outliers, *index) + values.take(size * outliers)
            payloads.append(bytes([flags]) + ks + symbols + tail)
    for cursor in streams:
        cursor.done()
    return payloads


# 8 Manifest
class Record:
    """A tensor or file; a block has a size, digests (its own, then its layers'), chunks, slots."""

    def __init__(self, row: list[Any], tiers: int) -> None:
        self.row, (self.is_file, self.name, _, self.dtype, self.shape, kind, more) = row, row[:7]
        self.blocks, self.largest, self.figures, self.data = list[Any](), -9999, list[Any](), b""
        self.bitplane, self.unit = kind == "bitplane", SIZES.get(self.dtype, 1)
        if self.is_file:  # 8.3
            need(not re.search(r"(^|/)\.{0,2}(/|\Z)|[\\\0]", self.name), "not a relative path")
            fits = {"plain": more[1] == row[4], "safetensors": more[1] <= row[4]}
            need(fits.get(self.dtype), "unknown layout, or length of a blob")
            conform(row[8].get("sha256", row[5]), 32, "SHA-256")
            self.shape, self.unit, kind = [more[1]], 1, "opaque"
        limit(len(self.shape), MAX_RANK, "rank")
        self.elements = math.prod(self.shape)
        limit(self.elements, MAX_ELEMENTS, "elements")
        need(kind in ("bitplane", "opaque"), f"quantizer {kind!r}", "unsupported-format")
        conform(more, BITPLANE if self.bitplane else OPAQUE, "parameters")
        line = self.shape[-1] if len(self.shape) > 1 else self.elements
        if self.bitplane:  # 8.2
            self.segment, self.planes, self.figures, energy = more
            need(self.dtype in FLOATS and len(self.figures) == tiers - 1 > 0, "dtype or tiers")
            need(self.segment and 0 <= FLOATS[self.dtype][1] - 8 * self.planes <= 16, "planes")
            pairs = [energy, *(figure[3] for figure in self.figures)]
            need(all(m % 2 or m == e == 0 for m, e in pairs), "a figure's form", "non-canonical")
        elif self.dtype in SIZES:
            need(more[1] == self.elements * self.unit, "shape and bytes disagree")
        else:
            line = self.elements = more[1]
        count = self.elements
        self.totals = (0, 0, row[4]) if self.is_file else (count, count * self.bitplane, 0)
        self.tiers = range(tiers) if self.bitplane else range(more[0], more[0] + 1)
        need(self.tiers.stop <= tiers, "no such tier")
        # 5 Blocks: a run of `run` elements is cut by itself, into blocks of `whole`
        self.whole, self.run = MAX_BLOCK_ELEMENTS, max(line, 1)
        if line <= MAX_BLOCK_ELEMENTS:
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
        good = all(re.fullmatch("[a-z0-9][a-z0-9._-]{0,31}", name) for name in self.tiers)
        good = good and tiers[-1:] == [["exact", None]] and len(set(self.tiers)) == len(tiers)
        rising = sorted({0, *conform(self.digits, [UINT], "digits")})
        need(good and self.digits in (rising, []), "names or digits of tiers")
        limit(rising[-1], MAX_DIGITS, "digits")
        other = self.root(other_size, data[48:80], ENCODING_ROOT)
        need(other["content"] == data[16:48], "the roots do not belong together")
        need(len(root["pages"]) == len(other["pages"]), "the roots have different pages")
        pages = [self.page(*a, *b) for a, b in zip(root["pages"], other["pages"], strict=True)]
        need(all(r.count == len(r.blocks) for r in self.records), "blocks are missing")
        files = {r.name for r in self.records if r.is_file}  # 8.3
        limit(len(files), MAX_FILES, "files")
        folders = {path[: slash.start()] for path in files for slash in re.finditer("/", path)}
        need(not files & folders, "a file is the folder of another")
        totals = [sum(t) for t in zip((0, 0, 0), *(r.totals for r in self.records), strict=True)]
        need(totals == root["totals"], f"totals: expected {totals}, got {root['totals']}")
        self.chunks = [chunk for page in pages for chunk in page]
        need([len(self.chunks), manifest - self.at] == [entries, 8 * entries], "size of the table")
        end, first = manifest, dict[tuple[int, bytes], Any]()
        for chunk in sorted(self.chunks, key=lambda chunk: chunk.tier):  # stable: then by page
            same = first.setdefault((chunk.tier, chunk.id), chunk)
            need(same.length == chunk.length, "a chunk with two lengths")
            chunk.offset, end = (end, end + chunk.length) if same is chunk else (same.offset, end)
        table = list(struct.unpack_from(f"<{entries}Q", data, self.at))
        need(table == [c.offset for c in self.chunks] and end == length, "table or file length")
        need(len(data) <= length, "bytes behind the end")
        lost = [chunk.tier for chunk in self.chunks if chunk.offset + chunk.length > len(data)]
        self.complete = self.tiers[: min(lost, default=len(self.tiers))]

    def cut(self, length: int, name: bytes, form: Any, what: str) -> Any:
        cursor = Cursor(self.data[self.at : self.at + length], what, "non-canonical")
        need(blake3(cursor.data).digest() == name, f"digest of a {what}", "digest-mismatch")
        self.at, value = self.at + length, unpack(cursor)
        cursor.done()
        return conform(value, form, what)

    def root(self, length: int, name: bytes, form: dict[str, Any]) -> dict[str, Any]:
        root: dict[str, Any] = self.cut(length, name, dict, "root")
        need(root.get("version", 1) == 1, "version of a root", "unsupported-format")
        need(not conform(root.get("features", []), [str], "root"), "features", "unsupported-format")
        need(root.keys() == form.keys(), "unknown or missing keys of a root")
        for key, inner in form.items():
            conform(root[key], inner, f"root: {key}")
        need(root.get("kind", "checkpoint") == "checkpoint", "kind of root", "unsupported-format")
        limit(len(root["pages"]), MAX_PAGES, "pages")
        return root

    def page(self, *entry: Any) -> list[Any]:
        *key, size, name, other_size, other_name, count = entry
        limit(max(size, other_size), MAX_PAGE_BYTES, "length of a page")
        rows = self.cut(size, name, [list], "content page")
        need(rows and rows[0][:3] == key, "a page does not start with its key")
        layers = [layer for row in rows for layer in self.record(row)]
        entries, uses, _ = self.cut(other_size, other_name, ENCODING_PAGE, "encoding page")
        need(len(entries) == count and len(uses) == len(layers), "number of chunks or layers")
        need(all(a[0] <= b[0] for a, b in pairwise(entries)), "chunks do not ascend by tier")
        chunks, used = list[Any](), set[int]()
        for tier, codec, length, name in entries:
            need(codec < 4, f"codec {codec}", "unsupported-format")
            conform(name, 32 if codec else type(None), "chunk id")
            limit(length, MAX_CHUNK_BYTES, "length of a chunk")
            chunks.append(SimpleNamespace(tier=tier, codec=codec, length=length, id=name))
        for (record, blocks, layer, tier), pairs in zip(layers, uses, strict=True):
            need(len(pairs) == len(blocks), "number of a layer's blocks")
            for (_, names, held), (number, slot) in zip(blocks, pairs, strict=True):
                need(number < count and chunks[number].tier == tier, "no such chunk in this tier")
                chunk = chunks[number]
                chunk.id = chunk.id or names[layer + 1]
                need(chunk.codec or (slot == 0 and chunk.id == names[layer + 1]), "a raw chunk")
                fits = (True, True, not record.bitplane, record.bitplane and layer == 0)
                need(fits[chunk.codec], "a layer in a chunk of other layers")
                held.append((chunk, slot))
                used.add(number)
        need(len(used) == count, "a chunk without a layer")
        return chunks

    def record(self, row: list[Any]) -> list[Any]:
        """Take a record, return (record, its new blocks, number, tier) for each layer."""
        conform(row, FILE if row[:1] == [1] else TENSOR, "record")
        limit(len(row[1].encode()), MAX_NAME_BYTES, "length of a name")
        last, self.key = self.key, (row[0], row[1].encode(), row[2])
        need(last < self.key, "records do not ascend")
        if last[:2] != self.key[:2]:
            self.records.append(Record(row, len(self.tiers)))
        record, first, layers = self.records[-1], row[2], [] if row[0] else row[8]
        same = (row[3:7], row[-1], first) == (record.row[3:7], record.row[-1], len(record.blocks))
        need(same and (first < record.count or first == 0), "a record that does not continue")
        need(len(layers) == len(record.tiers) * record.bitplane, "number of layers")
        count = min(MAX_RECORD_BLOCKS, record.count - first)
        conform([row[7], *layers], [32 * count], "digests")
        for i in range(count):
            names = [data[32 * i : 32 * i + 32] for data in (row[7], *(layers or [row[7]]))]
            size = min(record.whole, record.run - (first + i) % record.per_run * record.whole)
            record.blocks.append((size, names, []))
        return [(record, record.blocks[first:], *layer) for layer in enumerate(record.tiers)]


# 10 Reader algorithms
def read(path: str | Path, tier: str | None = None) -> dict[str, Any]:
    """Check a file up to a tier (the last complete one), return name -> (dtype, shape, bytes)."""
    artifact = Artifact(Path(path).read_bytes())
    level = artifact.tiers.index(tier) if tier else len(artifact.complete) - 1
    need(0 <= level < len(artifact.complete), "the tier is not whole", "incomplete")
    wanted = [chunk for chunk in artifact.chunks if chunk.tier <= level]
    for chunk in wanted:
        chunk.data = artifact.data[chunk.offset : chunk.offset + chunk.length]
        need(blake3(chunk.data).digest() == chunk.id, f"id at {chunk.offset}", "digest-mismatch")
    for chunk in wanted:
        chunk.payloads = read_chunk(chunk.data, chunk.codec) if chunk.codec else [chunk.data]
    # All decoding comes before the first layer digest, then block digests, bounds, and files
    checks, records = list[Any](), [r for r in artifact.records if r.tiers[0] <= level]
    for record in records:
        blocks = []
        for number, (size, (name, *names), uses) in enumerate(record.blocks):
            held = [use for use in uses if use[0].tier <= level]
            need(all(slot < len(chunk.payloads) for chunk, slot in held), "slot out of range")
            layers = [chunk.payloads[slot] for chunk, slot in held]
            what = f"block {number} of {record.name!r}"
            block = rebuild(record, size, layers, artifact.digits) if record.bitplane else layers[0]
            need(len(block) == size * record.unit, f"length of {what}")
            blocks.append(block)
            checks += [(0, a, b, "layer of " + what) for a, b in zip(layers, names, strict=False)]
            checks += [(1, block, name, what)] if record.tiers[-1] <= level else []
        record.data = b"".join(blocks)
    for _, data, name, what in sorted(checks, key=lambda check: check[0]):
        need(blake3(data).digest() == name, f"digest of {what}", "digest-mismatch")
    for record in (record for record in records if record.blocks):
        for t, figure in enumerate(record.figures):
            need(figure[2] == record.largest - artifact.digits[t], f"bound of {record.name!r}")
    tensors = {r.name: (r.dtype, tuple(r.shape), r.data) for r in records if not r.is_file}
    for record in [r for r in records if r.is_file] if level == len(artifact.digits) else ():
        try:
            head = json.loads(record.data[8:]) if record.dtype == "safetensors" else {}
            head.pop("__metadata__", None)
            for _, n in sorted((head[n]["data_offsets"], n) for n in head):
                dtype, shape, data = tensors.get(f"{record.name}:{n}") or tensors[n]  # 8.3
                need((dtype, list(shape)) == (head[n]["dtype"], head[n]["shape"]), f"head: {n!r}")
                record.data += data
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RefError(f"the head of {record.name!r}: {error!r}") from None
        need(len(record.data) == record.row[4], f"size of {record.name!r}")
        digests = [blake3(record.data).digest(), hashlib.sha256(record.data).digest()]
        good = digests == [record.row[5], record.row[8].get("sha256", digests[1])]
        need(good, f"digest of {record.name!r}", "digest-mismatch")
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a .p2u file, checking all of it.")
    parser.add_argument("path")
    parser.add_argument("--tier", help="default: the last complete one")
    try:
        tensors = read(**vars(parser.parse_args()))
    except (RefError, OSError, ValueError) as error:
        code = getattr(error, "code", "not-found")
        print(f"error: {code}: {error}", file=sys.stderr)
        sys.exit(EXIT.get(code, 4))
    for name, (dtype, shape, data) in tensors.items():
        shown = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in s) for s in (name, dtype)]
        print(*shown, list(shape), blake3(data).hexdigest(), sep="\t")


if __name__ == "__main__":
    main()
