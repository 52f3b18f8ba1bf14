"""Independent reader of the p2u format, version 1, written from SPEC.md alone.

``python p2u_ref.py FILE.p2u [--tier T] [--with PARENT.p2u]`` prints each tensor's digest.
"""
# ruff: noqa: ANN401, D102, D103 - `conform` says what a value is, and SPEC.md what a function does

import argparse
import hashlib
import json
import math
import re
import struct
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from blake3 import blake3
from p2u_layers import (
    FLOATS,
    MAX_BLOCK_ELEMENTS,
    MAX_CHUNK_BYTES,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_ELEMENTS,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_NAME_BYTES,
    MAX_NESTING,
    MAX_PAGE_BYTES,
    MAX_PAGES,
    MAX_RANK,
    MAX_RECORD_BLOCKS,
    MAX_ROOT_BYTES,
    MAX_TIERS,
    SIZES,
    Cursor,
    RefError,
    limit,
    need,
    read_chunk,
    rebuild,
    undo,
)
from p2u_quantizers import FORMS, POLICY, UPDATE, check, check_update, distance, rebuild_codes

# 3 Canonical msgpack: kind, first head byte, bytes of the number behind it, its least magnitudes
LONG = [("bin", 0xC4, 1, [0, 256, 65536]), ("str", 0xD9, 1, [32, 256, 65536])]
LONG += [("int", 0xCC, 1, [128, 256, 65536, 1 << 32]), ("array", 0xDC, 2, [16, 65536])]
LONG += [("neg", 0xD0, 1, [33, 129, 32769, (1 << 31) + 1]), ("map", 0xDE, 2, [16, 65536])]
HEADS = {h + i: (kind, w << i, n) for kind, h, w, row in LONG for i, n in enumerate(row)}
SHORT = 8 * [("int", 0)] + [("map", 0x80), ("array", 0x90), ("str", 0xA0), ("str", 0xA0)]
SHORT += 2 * [("nil", 0)] + 2 * [("int", 256)]
# 8 The forms of roots, records and pages, as `conform` reads them
UINT, SIGNED = range(1 << 64), range(-1 << 63, 1 << 64)
ROOT = {"ext": dict, "features": [str], "version": UINT}
CONTENT_ROOT = ROOT | {"kind": str, "pages": [(UINT, str, UINT, UINT, 32)]}
CONTENT_ROOT |= {"tiers": [(str, object)], "totals": (UINT, UINT, UINT)}
ENCODING_ROOT, FEATURES = ROOT | {"content": 32, "pages": [object]}, {"difference": "parent"}
CONTENT_FEATURES = {"levels": "", "lossy": "", "quantizers": "policy", "update": "update"}
TENSOR = (range(2), str, UINT, str, [UINT], str, list, bytes, [bytes], dict)
FILE = (range(2), str, UINT, str, UINT, 32, (UINT, UINT), bytes, dict)
OPAQUE, FIGURE = (UINT, UINT), (range(1 << 32), range(-65536, 65537))
BITPLANE = (UINT, UINT, [(range(256), range(256), SIGNED, FIGURE)], FIGURE)
ENCODING_PAGE = ([(UINT, UINT, UINT, object)], [[object]], dict)
# 8.5 The layers that chunks of a codec may hold: opaque, base, those between, exact; codes, ulp
FITS = {0: "obdecu", 1: "obdecu", 2: "ou", 3: "b", 16: "b", 17: "d", 18: "e", 19: "o"}
# 13 Errors
EXIT = {"not-an-artifact": 5, "unsupported-format": 5, "incomplete": 6, "parent-required": 6}
EXIT |= dict.fromkeys(("digest-mismatch", "non-canonical", "malformed", "limit-exceeded"), 3)
EXIT |= {"parent-mismatch": 3}


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


# 8 Manifest
class Record:
    """A tensor or file; a block has a size, digests (its own, then its layers'), chunks, slots."""

    def __init__(self, row: list[Any], tiers: int, features: list[str]) -> None:
        self.row, (self.is_file, self.name, _, self.dtype, self.shape, kind, more) = row, row[:7]
        self.blocks, self.largest, self.figures, self.data = list[Any](), -9999, list[Any](), b""
        self.bitplane, self.unit = kind == "bitplane", SIZES.get(self.dtype, 1)
        self.coded, self.lossy = not self.is_file and kind in FORMS, "lossy" in features
        if self.is_file:  # 8.3
            need(not re.search(r"(^|/)\.{0,2}(/|\Z)|[\\\0]", self.name), "not a relative path")
            fits = {"plain": more[1] == row[4], "safetensors": more[1] <= row[4]}
            need(fits.get(self.dtype), "unknown layout, or length of a blob")
            conform(row[8].get("sha256", row[5]), 32, "SHA-256")
            self.shape, self.unit, kind = [more[1]], 1, "opaque"
        self.quantizer, self.form = kind, more
        limit(len(self.shape), MAX_RANK, "rank")
        self.elements = math.prod(self.shape)
        limit(self.elements, MAX_ELEMENTS, "elements")
        needed = "levels" if kind == "levels" else "quantizers"
        known = kind in ("bitplane", "opaque") or (self.coded and needed in features)
        need(known, f"quantizer {kind!r}", "unsupported-format")
        conform(more, FORMS.get(kind, BITPLANE if self.bitplane else OPAQUE), "parameters")
        line = self.shape[-1] if len(self.shape) > 1 else self.elements
        if self.bitplane:  # 8.2
            self.segment, self.planes, self.figures, energy = more
            need(self.dtype in FLOATS and len(self.figures) == tiers - 1 > 0, "dtype or tiers")
            need(self.segment and 0 <= FLOATS[self.dtype][1] - 8 * self.planes <= 16, "planes")
            pairs = [energy, *(figure[3] for figure in self.figures)]
            need(all(m % 2 or m == e == 0 for m, e in pairs), "a figure's form", "non-canonical")
        elif self.coded:  # 19
            need(tiers > 1 or self.lossy, "no tier for codes")
            check(kind, self.dtype, len(self.shape), more)
        elif self.dtype in SIZES:
            need(more[1] == self.elements * self.unit, "shape and bytes disagree")
        else:
            line = self.elements = more[1]
        count = self.elements
        self.totals = (0, 0, row[4]) if self.is_file else (count, count * (kind != "opaque"), 0)
        self.tiers = range(tiers)
        if not self.bitplane:
            self.tiers = (
                range(0, tiers, max(tiers - 1, 1)) if self.coded else range(more[0], more[0] + 1)
            )
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

    placed = True  # False where the table is not stored (20.2)

    def __init__(self, data: bytes, files: Sequence[bytes] = (), below: int = 99) -> None:
        self.data, self.at, self.records, self.key = data, 128, list[Record](), (-1, b"", 0)
        self.done = dict[Any, bytes]()  # payloads of layers
        need(data[:8] == b"\x89P2U\r\n\x1a\n", "the magic is missing", "not-an-artifact")
        need(len(data) >= 128, "shorter than the header", "incomplete")
        major, _, flags = struct.unpack_from("<HHI", data, 8)
        need(major == 1, f"major version {major}", "unsupported-format")
        need(blake3(data[:112]).digest(16) == data[112:128], "header digest", "digest-mismatch")
        need(flags < 2, f"flags {flags:#x}", "unsupported-format")
        size, other_size, manifest, length, entries = struct.unpack_from("<IIQQQ", data, 80)
        limit(max(size, other_size), MAX_ROOT_BYTES, "length of a root")
        limit(length, MAX_FILE_BYTES, "file length")
        need(128 + size + other_size <= manifest <= length, "the header's lengths contradict")
        need(len(data) >= manifest, "shorter than the manifest", "incomplete")
        root = self.root(size, data[16:48], CONTENT_ROOT, CONTENT_FEATURES)
        self.features, lossy = root["features"], "lossy" in root["features"]
        alone = {"levels", "lossy"} & {*self.features} and "quantizers" not in self.features
        need(not alone, "lossy, or levels, without quantizers")
        given = [(root["policy"], POLICY)] if root.get("policy") is not None else []  # 19.4
        given += [(root["update"], UPDATE)] if "update" in root else []  # 19.6
        for part, terms in given:
            need(conform(part, dict, "root").keys() == terms.keys(), "keys of policy or update")
            for term, inner in terms.items():
                conform(part[term], inner, f"root: {term}")
        if "update" in root:
            known = [root["update"][key] for key in ("bound", "expected")]
            need((known[0] is None) == (known[1] is None), "one of two figures")
            conform([item for item in known if item is not None], [FIGURE], "figures of an update")
            check_update(root["update"])
        tiers = root["tiers"]  # 8.1
        limit(len(tiers), MAX_TIERS, "tiers")
        self.tiers, self.digits = [name for name, _ in tiers], [digits for _, digits in tiers[:-1]]
        good = all(re.fullmatch("[a-z0-9][a-z0-9._-]{0,31}", name) for name in self.tiers)
        final = [["exact", None]] if not lossy else [[*self.tiers[:1], 0]]
        good = good and tiers[-1:] == final and len(set(self.tiers)) == len(tiers)
        good = good and not (lossy and self.tiers != [n for n in self.tiers[:1] if n != "exact"])
        rising = sorted({0, *conform(self.digits, [UINT], "digits")})
        need(good and self.digits in (rising, []), "names or digits of tiers")
        limit(rising[-1], MAX_DIGITS, "digits")
        other = self.root(other_size, data[48:80], ENCODING_ROOT, FEATURES)
        need(other["content"] == data[16:48], "the roots do not belong together")
        need(len(root["pages"]) == len(other["pages"]), "the roots have different pages")
        self.parent: Any = None
        if "parent" in other:
            self.parent = self.find(other["parent"], files, below)
        need(not self.parent or self.parent.ladder == tiers, "a parent with other tiers")
        fits = not self.parent or self.parent.features == self.features
        need(fits, "a parent with other features")
        self.ladder, self.rows = tiers, dict[bytes, list[Any]]()  # of content pages, by digest
        pages = [self.page(a, b) for a, b in zip(root["pages"], other["pages"], strict=True)]
        need(all(r.count == len(r.blocks) for r in self.records), "blocks are missing")
        paths = {r.name for r in self.records if r.is_file}  # 8.3
        limit(len(paths), MAX_FILES, "files")
        folders = {path[: slash.start()] for path in paths for slash in re.finditer("/", path)}
        need(not paths & folders, "a file is the folder of another")
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
        same_table = not self.placed or table == [c.offset for c in self.chunks]
        need(same_table and end == length, "table or file length")
        bitmap = (entries + 7) // 8 * flags
        need(len(data) <= length + bitmap, "bytes behind the end")
        marks = int.from_bytes(data[length:].ljust(bitmap, b"\0"), "little")
        need(marks >> entries == 0 or not flags, "padding of the bitmap")
        self.layers = dict[tuple[int, bytes], tuple[Any, int, int]]()
        for i, chunk in enumerate(self.chunks):
            chunk.here = chunk.offset + chunk.length <= len(data) and (not flags or marks >> i & 1)
        lost = [chunk.tier for chunk in self.chunks if not chunk.here]
        self.complete = self.tiers[: min(lost, default=len(self.tiers))]
        if self.parent:
            self.complete = self.complete[: len(self.parent.complete)]
        for record in self.records:
            for number, (_, names, _) in enumerate(record.blocks):
                for layer, tier in enumerate(record.tiers):
                    key = (tier, names[layer + 1])
                    self.layers.setdefault(key, (record, number, layer))
        self.named = {(r.is_file, r.name): r for r in self.records}

    def find(self, parent: Any, files: Sequence[bytes], below: int) -> "Artifact":
        """8.6: parse the parent, which is among ``files``; its depth is less than ours."""
        name, depth = conform(parent, (32, UINT), "parent")
        limit(depth, MAX_DEPTH, "depth")
        need(0 < depth < below, "depth: at least 1, and less than the child's")
        need(files, "the parent is needed", "parent-required")
        found = [data for data in files if data[16:48] == name]
        need(found, "none of the parents is the one that is needed", "parent-mismatch")
        return type(self)(found[0], files, depth)

    def cut(self, length: int, name: bytes, form: Any, what: str) -> Any:
        cursor = Cursor(self.data[self.at : self.at + length], what, "non-canonical")
        need(blake3(cursor.data).digest() == name, f"digest of a {what}", "digest-mismatch")
        self.at, value = self.at + length, unpack(cursor)
        cursor.done()
        return conform(value, form, what)

    def root(
        self,
        length: int,
        name: bytes,
        form: dict[str, Any],
        known: Any = {},  # noqa: B006
    ) -> dict[str, Any]:
        root: dict[str, Any] = self.cut(length, name, dict, "root")
        need(root.get("version", 1) == 1, "version of a root", "unsupported-format")
        features = conform(root.get("features", []), [str], "root")
        need(features == sorted(set(features)), "features do not ascend")
        need(set(features) <= set(known), "features", "unsupported-format")
        more = {known[feature]: object for feature in features if known[feature]}
        need(root.keys() == form.keys() | more.keys(), "unknown or missing keys of a root")
        for key, inner in form.items():
            conform(root[key], inner, f"root: {key}")
        kind = root.get("kind", "checkpoint")
        need(kind in ("checkpoint", "update"), "kind of root", "unsupported-format")
        need((kind == "update") == ("update" in root), "kind of root, and update")
        limit(len(root["pages"]), MAX_PAGES, "pages")
        return root

    def page(self, entry: Any, other: Any) -> list[Any]:
        *key, size, name = entry
        need(other or self.parent, "an inherited page without a parent")
        other_size, other_name, count = conform(other or [0, name, 0], (UINT, 32, UINT), "page")
        limit(max(size, other_size), MAX_PAGE_BYTES, "length of a page")
        rows: Any = None
        if other is None:
            rows = self.parent.rows.get(name)
            need(rows, "a page is inherited that the parent does not have")
        else:
            rows = self.cut(size, name, [list], "content page")
        self.rows[name] = rows
        need(rows and rows[0][:3] == key, "a page does not start with its key")
        layers = [layer for row in rows for layer in self.record(row)]
        if other is None:
            for held in (block[2] for _, blocks, _, _ in layers for block in blocks):
                held.append(None)
            return []
        entries, uses, _ = self.cut(other_size, other_name, ENCODING_PAGE, "encoding page")
        need(len(entries) == count and len(uses) == len(layers), "number of chunks or layers")
        need(all(a[0] <= b[0] for a, b in pairwise(entries)), "chunks do not ascend by tier")
        chunks, used = list[Any](), set[int]()
        for tier, codec, length, name in entries:
            need(codec in FITS, f"codec {codec}", "unsupported-format")
            need(codec < 16 or self.parent, "a difference without a parent")
            conform(name, 32 if codec else type(None), "chunk id")
            limit(length, MAX_CHUNK_BYTES, "length of a chunk")
            chunks.append(SimpleNamespace(tier=tier, codec=codec, length=length, id=name))
        for (record, blocks, layer, tier), pairs in zip(layers, uses, strict=True):
            need(len(pairs) == len(blocks), "number of a layer's blocks")
            kind = "cu"[layer] if record.coded else "o"
            if record.bitplane:
                kind = "obde"[(layer > 0) + (layer == len(record.tiers) - 1) + 1]
            for (_, names, held), pair in zip(blocks, pairs, strict=True):
                if pair is None:
                    need(self.parent, "a shared layer without a parent")
                    held.append(None)
                    continue
                number, slot = conform(pair, (UINT, UINT), "a layer's place")
                need(number < count and chunks[number].tier == tier, "no such chunk in this tier")
                chunk = chunks[number]
                chunk.id = chunk.id or names[layer + 1]
                need(chunk.codec or (slot == 0 and chunk.id == names[layer + 1]), "a raw chunk")
                need(kind in FITS[chunk.codec], "a layer in a chunk of other layers")
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
            self.records.append(Record(row, len(self.tiers), self.features))
        record, first, layers = self.records[-1], row[2], [] if row[0] else row[8]
        same = (row[3:7], row[-1], first) == (record.row[3:7], record.row[-1], len(record.blocks))
        need(same and (first < record.count or first == 0), "a record that does not continue")
        layered = record.bitplane or record.coded
        need(len(layers) == len(record.tiers) * layered, "number of layers")
        count = min(MAX_RECORD_BLOCKS, record.count - first)
        conform([row[7], *layers], [32 * count], "digests")
        for i in range(count):
            names = [data[32 * i : 32 * i + 32] for data in (row[7], *(layers or [row[7]]))]
            size = min(record.whole, record.run - (first + i) % record.per_run * record.whole)
            record.blocks.append((size, names, []))
        return [(record, record.blocks[first:], *layer) for layer in enumerate(record.tiers)]

    # 10 Read a layer
    def load(self, chunk: Any) -> None:
        need(chunk.here, "a chunk is not here", "incomplete")
        chunk.data = self.data[chunk.offset : chunk.offset + chunk.length]
        need(blake3(chunk.data).digest() == chunk.id, f"id at {chunk.offset}", "digest-mismatch")

    def payload(self, record: Any, number: int, layer: int) -> bytes:
        """Return the canonical payload of a layer, wherever and however it is stored."""
        key = (id(record), number, layer)
        if key not in self.done:
            self.done[key] = self.take(record, number, layer)
        return self.done[key]

    def take(self, record: Any, number: int, layer: int) -> bytes:
        weights, names, held = record.blocks[number]
        if held[layer] is None:
            found = self.parent.layers.get((record.tiers[layer], names[layer + 1]))
            need(found, "a shared layer that the parent does not have")
            return bytes(self.parent.payload(*found))
        chunk, slot = held[layer]
        if not hasattr(chunk, "data"):
            self.load(chunk)
        if not hasattr(chunk, "payloads"):
            chunk.payloads = read_chunk(chunk.data, chunk.codec) if chunk.codec else [chunk.data]
        need(slot < len(chunk.payloads), "slot out of range")
        if chunk.codec < 16:
            return bytes(chunk.payloads[slot])
        old = self.parent.named.get((record.is_file, record.name))
        fits = old and number < len(old.blocks) and old.blocks[number][0] == weights
        form = ["quantizer", "dtype"] + ["segment", "planes"] * record.bitplane
        need(fits and all(getattr(old, f) == getattr(record, f) for f in form), "another parent")
        before = [self.parent.payload(old, number, t) for t in range(layer + 1)]
        below = [self.payload(record, number, t) for t in range(layer)]
        last = record.bitplane and layer == len(self.digits)
        words = rebuild(old, weights, before, self.digits) if last else b""
        sections = chunk.payloads[slot]
        made = undo(chunk.codec, record, weights, before, below, words, sections, self.digits)
        good = blake3(made).digest() == names[layer + 1]
        need(good, f"layer of block {number} of {record.name!r}", "digest-mismatch")
        return made


# 10 Reader algorithms
def read(
    path: str | Path, tier: str | None = None, parents: Sequence[str | Path] = ()
) -> dict[str, Any]:
    """Check a file up to a tier (the last complete one), return name -> (dtype, shape, bytes)."""
    return contents(
        Artifact(Path(path).read_bytes(), [Path(p).read_bytes() for p in parents]), tier
    )


def contents(artifact: Artifact, tier: str | None = None) -> dict[str, Any]:
    level = artifact.tiers.index(tier) if tier else len(artifact.complete) - 1
    need(0 <= level < len(artifact.complete), "the tier is not whole", "incomplete")
    wanted = [chunk for chunk in artifact.chunks if chunk.tier <= level]
    for chunk in wanted:
        artifact.load(chunk)
    for chunk in wanted:
        chunk.payloads = read_chunk(chunk.data, chunk.codec) if chunk.codec else [chunk.data]
    # All decoding comes before the first layer digest, then block digests, bounds, and files
    checks, records = list[Any](), [r for r in artifact.records if r.tiers[0] <= level]
    far = list[str]()
    for record in records:
        blocks, start = [], 0
        for number, (size, (name, *names), _) in enumerate(record.blocks):
            count = sum(t <= level for t in record.tiers)
            layers = [artifact.payload(record, number, layer) for layer in range(count)]
            what = f"block {number} of {record.name!r}"
            block = rebuild(record, size, layers, artifact.digits) if record.bitplane else layers[0]
            if record.coded:
                block, near = (rebuild_codes(record, start, size, x) for x in (layers, layers[:1]))
                far += [what] * (not distance(record, near, block))
            start += size
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
    need(not far, f"bound: {far}")
    tensors = {r.name: (r.dtype, tuple(r.shape), r.data) for r in records if not r.is_file}
    coded = {r.name for r in records if r.coded and r.lossy}
    for record in [r for r in records if r.is_file] if level == len(artifact.tiers) - 1 else ():
        rebuilt = False
        try:
            head = json.loads(record.data[8:]) if record.dtype == "safetensors" else {}
            head.pop("__metadata__", None)
            for _, n in sorted((head[n]["data_offsets"], n) for n in head):
                name = f"{record.name}:{n}" if f"{record.name}:{n}" in tensors else n  # 8.3
                (dtype, shape, data), rebuilt = tensors[name], rebuilt or name in coded
                need((dtype, list(shape)) == (head[n]["dtype"], head[n]["shape"]), f"head: {n!r}")
                record.data += data
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RefError(f"the head of {record.name!r}: {error!r}") from None
        need(len(record.data) == record.row[4], f"size of {record.name!r}")
        if rebuilt:
            continue
        digests = [blake3(record.data).digest(), hashlib.sha256(record.data).digest()]
        good = digests == [record.row[5], record.row[8].get("sha256", digests[1])]
        need(good, f"digest of {record.name!r}", "digest-mismatch")
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a .p2u file, checking all of it.")
    parser.add_argument("path")
    parser.add_argument("--tier", help="default: the last complete one")
    parser.add_argument("--with", dest="parents", action="append", default=[], metavar="PARENT")
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
