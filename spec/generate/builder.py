"""Builds tiny artifacts from explicit layers, and spoils any part of them on request.

A *hook* changes one thing on its way into the file. Everything that is computed from it later
(digests, ids, offsets, lengths) follows the change, so a vector has the one fault it is meant to
have. The names of hooks are the names of the stages, in the order in which they run:

========== ========================================= =====================================
hook       gets                                      key
========== ========================================= =====================================
payload    bytes of a layer                          (tensor or path, tier, block)
streams    list of `Stream`                          number of the group
chunk      bytes of a chunk                          number of the group
records    list of records of a page                 number of the page
content    bytes of a content page                   number of the page
entries    value of an encoding page                 number of the page
encoding   bytes of an encoding page                 number of the page
root       value of the content root                 None
root_bytes its bytes                                 None
other      value of the encoding root                None
other_bytes its bytes                                None
gap        bytes in front of the location table      None
table      list of offsets                           None
sections   list of sections of a difference          (tensor or path, tier, block)
bitmap     int, a bit for each table entry           None
header     dict of the header's fields               None
file       bytes of the whole file                   None
========== ========================================= =====================================
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import difference
from coded import Coded
from ladder import SIZES
from source import File, Quantized, Tensor, block_sizes, tensor_blocks
from wire import Value, digest, pack, zstd_frame

MAGIC = b"\x89P2U\r\n\x1a\n"
RAW, SECTIONS, PLANES, CLASSES = range(4)
Hook = Callable[[Any, Any], Any]
Key = tuple[str, int, int]


@dataclass
class Group:
    """A chunk of codec 1-3: which layers, and how."""

    codec: int
    members: Sequence[Key]
    sections: Callable[[bytes], list[bytes]] = lambda payload: [payload]
    width: int = 1
    unit: int = 1
    axis: int = 0
    classes: Callable[[bytes], int] = lambda _: 0
    zstd: bool = False


@dataclass
class Stream:
    """A stream as it is stored; ``packed`` says that it is a zstd frame."""

    stored: bytes
    raw: int
    packed: bool = False


@dataclass
class Recipe:
    """What an artifact is made of; ``pages`` has the numbers of records, but for the last."""

    tensors: Sequence[Tensor] = ()
    files: Sequence[File] = ()
    tiers: Sequence[tuple[str, int | None]] = (("q4", 0), ("q8", 4), ("exact", None))
    groups: Sequence[Group] = ()
    pages: Sequence[int] = ()
    ext: dict[str, Value] = field(default_factory=dict)
    minor: int = 0
    parent: "Recipe | None" = None
    depth: int = 1
    shared: Sequence[Key] = ()
    differences: Sequence[Key] = ()
    unit: int = 0  # of differences
    dense: bool = True
    inherited: Sequence[int] = ()  # numbers of pages
    partial: Callable[[int, int], bool] | None = None  # of tier and table entry
    features: Sequence[str] = ()
    policy: dict[str, Value] | None = None
    update: dict[str, Value] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)

    @property
    def lossy(self) -> bool:
        """Whether no tier is exact."""
        return "lossy" in self.features

    @property
    def digits(self) -> list[int]:
        """The cumulative digit counts of the lossy tiers."""
        return [digits for _, digits in self.tiers if digits is not None]


def section_streams(group: Group, payloads: list[bytes]) -> list[bytes]:
    """7.1."""
    rows = [group.sections(payload) for payload in payloads]
    meta = b"".join(struct.pack("<I", len(section)) for row in rows for section in row)
    return [meta, *(b"".join(column) for column in zip(*rows, strict=True))]


def plane_streams(group: Group, payloads: list[bytes]) -> list[bytes]:
    """7.2."""
    meta = struct.pack(f"<{1 + len(payloads)}I", group.width, *map(len, payloads))
    joined = b"".join(payloads)
    return [meta, *(joined[j :: group.width] for j in range(group.width))]


class Build:
    """One artifact in the making; ``bytes()`` runs the stages."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.quantized = {
            tensor.name: Quantized(tensor, recipe.digits)
            for tensor in recipe.tensors
            if tensor.ladder is not None
        }
        self.coded = {
            tensor.name: Coded(tensor.dtype, tensor.shape, tensor.words(), tensor.codes)
            for tensor in recipe.tensors
            if tensor.codes is not None
        }
        self.payloads: dict[Key, bytes] = {}
        self.block_digests: dict[str, list[bytes]] = {}
        items: list[Tensor | File] = [*recipe.tensors, *recipe.files]
        for item in items:
            self.add_layers(item)
        self.sections: dict[Key, list[bytes]] = {}
        if recipe.parent is not None:
            parent = Build(recipe.parent)
            for key in recipe.differences:
                made = self.difference(parent, key)
                self.sections[key] = self.hook("sections", made, key)

    def hook(self, stage: str, value: Any, key: Any) -> Any:  # noqa: ANN401 - a stage's own type
        """Let the recipe change what a stage made."""
        change = self.recipe.hooks.get(stage)
        return value if change is None else change(value, key)

    @staticmethod
    def name(item: Tensor | File) -> str:
        """Return the name or path."""
        return item.name if isinstance(item, Tensor) else item.path

    def item_blocks(self, item: Tensor | File) -> list[bytes]:
        """Return the original bytes of each block."""
        if isinstance(item, File):
            sizes, unit, data = block_sizes(item.blob, item.blob), 1, item.data
        else:
            sizes, unit, data = tensor_blocks(item), SIZES.get(item.dtype, 1), item.data
        blocks, at = [], 0
        for size in sizes:
            blocks.append(data[at : at + size * unit])
            at += size * unit
        return blocks

    def add_layers(self, item: Tensor | File) -> None:
        """Make the payloads of an item's layers."""
        name, blocks = self.name(item), self.item_blocks(item)
        self.block_digests[name] = [digest(block) for block in blocks]
        for number, block in enumerate(blocks):
            if name in self.quantized:
                layers = list(enumerate(self.quantized[name].blocks[number].payloads()))
            elif name in self.coded:
                made = self.coded[name].layers(lossy=self.recipe.lossy)
                layers = list(zip(self.item_tiers(item), made, strict=True))
            else:
                layers = [(item.tier, block)]
            for tier, payload in layers:
                key = (name, tier, number)
                self.payloads[key] = self.hook("payload", payload, key)
            if name in self.coded and self.recipe.lossy:
                self.block_digests[name][number] = digest(self.coded[name].data())
            elif name not in self.quantized and name not in self.coded:
                payload = self.payloads[name, item.tier, number]
                self.block_digests[name][number] = digest(payload)

    def item_tiers(self, item: Tensor | File) -> list[int]:
        """Return the tiers of an item's layers."""
        everything = list(range(len(self.recipe.tiers)))
        if self.name(item) in self.coded:
            return everything[:1] if self.recipe.lossy else [0, everything[-1]]
        return everything if self.name(item) in self.quantized else [item.tier]

    def record(self, item: Tensor | File) -> list[Any]:
        """Return a record (8.2, 8.3)."""
        name = self.name(item)
        blocks = b"".join(self.block_digests[name])
        if isinstance(item, File):
            size, total = len(item.data), digest(item.data)
            more = [item.tier, item.blob]
            return [1, name, 0, item.layout, size, total, more, blocks, item.ext]
        layers, kind, parameters = [], "opaque", [item.tier, len(item.data)]
        if name in self.coded:
            kind, parameters = self.coded[name].codes.kind, self.coded[name].parameters()
        elif name in self.quantized:
            kind, parameters = "bitplane", self.quantized[name].parameters()
        if kind != "opaque":
            count = len(self.block_digests[name])
            for tier in self.item_tiers(item):
                part = [digest(self.payloads[name, tier, b]) for b in range(count)]
                layers.append(b"".join(part))
        shape = list(item.shape)
        return [0, name, 0, item.dtype, shape, kind, parameters, blocks, layers, item.ext]

    def difference(self, parent: "Build", key: Key) -> list[bytes]:
        """Return the sections of a layer's difference from the parent's."""
        name, tier, number = key
        unit, dense = self.recipe.unit, self.recipe.dense
        if name not in self.quantized:
            (item,) = (
                i for i in (*self.recipe.tensors, *self.recipe.files) if self.name(i) == name
            )
            size = SIZES.get(item.dtype, 1) if isinstance(item, Tensor) else 1
            old, new = parent.payloads[key], self.payloads[key]
            return difference.opaque(old, new, size, dense=dense)
        old_block = parent.quantized[name].blocks[number]
        block = self.quantized[name].blocks[number]
        if tier == 0:
            return difference.base(old_block, block, unit, dense=dense)
        if tier < len(self.recipe.digits):
            return difference.digits(old_block, block, tier, unit, dense=dense)
        return difference.exact(old_block, block, unit, dense=dense)

    def difference_codec(self, key: Key) -> int:
        """Return the codec of a layer's difference."""
        name, tier, _ = key
        if name not in self.quantized:
            return difference.OPAQUE
        if tier == 0:
            return difference.BASE
        return difference.DIGITS if tier < len(self.recipe.digits) else difference.EXACT

    def difference_streams(self, group: Group) -> list[bytes]:
        """7.1, of sections."""
        rows = [self.sections[member] for member in group.members]
        meta = b"".join(struct.pack("<I", len(section)) for row in rows for section in row)
        return [meta, *(b"".join(column) for column in zip(*rows, strict=True))]

    def streams(self, group: Group) -> list[Stream]:
        """Return the streams of a group; hand-made zstd frames where these are shorter."""
        payloads = [self.payloads[member] for member in group.members]
        make = {SECTIONS: section_streams, PLANES: plane_streams, CLASSES: self.class_streams}
        result = []
        differs = group.codec >= difference.BASE
        made = self.difference_streams(group) if differs else make[group.codec](group, payloads)
        for data in made:
            frame = zstd_frame(data) if group.zstd and data else data
            packed = len(frame) < len(data)
            result.append(Stream(frame if packed else data, len(data), packed))
        return result

    def class_streams(self, group: Group, payloads: list[bytes]) -> list[bytes]:
        """7.3, with the classes that the group's function gives each unit."""
        meta, steps, numbers, gaps, values = b"", list[int](), b"", list[int](), b""
        classes: list[bytes] = []
        for (name, _, number), payload in zip(group.members, payloads, strict=True):
            block = self.quantized[name].blocks[number]
            n, segments, size = len(block.words), len(block.steps), block.dtype.size
            at = 1 + 2 * segments
            steps += struct.unpack(f"<{segments}H", payload[1:at])
            symbols, at = payload[at : at + n], at + n
            (count,) = struct.unpack_from("<I", payload, at)
            index = struct.unpack_from(f"<{count}I", payload, at + 4)
            gaps += [b - a for a, b in zip((0, *index), index, strict=False)]
            values += payload[at + 4 + 4 * count :]
            meta += struct.pack(
                "<IIIIBBH", n, segments, count, group.unit, payload[0], size, group.axis
            )
            if group.axis:
                columns = n // group.unit
                symbols = b"".join(symbols[i::columns] for i in range(columns))
            for start in range(0, n, group.unit):
                unit = symbols[start : start + group.unit]
                kind = group.classes(unit)
                classes += [b""] * (kind + 1 - len(classes))
                classes[kind] += unit
                numbers += bytes([kind])
        chain = [(b - a) % 65536 for a, b in zip((0, *steps), steps, strict=False)]
        halves = bytes(k & 255 for k in chain) + bytes(k >> 8 for k in chain)
        quarters = b"".join(bytes(gap >> 8 * j & 255 for gap in gaps) for j in range(4))
        return [meta, halves, numbers, quarters, values, *classes]

    def groups(self) -> list[Group]:
        """Return the recipe's groups, and a raw one for each layer that is in none of them."""
        grouped = {member for group in self.recipe.groups for member in group.members}
        grouped |= set(self.recipe.shared)
        rest = [
            Group(self.difference_codec(key) if key in self.sections else RAW, [key])
            for key in self.payloads
            if key not in grouped
        ]
        return [*self.recipe.groups, *rest]

    def chunk(self, number: int, group: Group) -> bytes:
        """Return a chunk's bytes."""
        if group.codec == RAW:
            data = self.payloads[group.members[0]]
        else:
            streams = self.hook("streams", self.streams(group), number)
            head = struct.pack("<BBHHH", group.codec, 0, len(group.members), len(streams), 0)
            table = b"".join(
                struct.pack("<II", len(s.stored) | s.packed << 31, s.raw) for s in streams
            )
            data = head + table + b"".join(s.stored for s in streams)
        return bytes(self.hook("chunk", data, number))

    def page_items(self) -> list[list[Tensor | File]]:
        """Return the records of each page, in key order."""
        tensors = sorted(self.recipe.tensors, key=lambda tensor: tensor.name.encode())
        files = sorted(self.recipe.files, key=lambda file: file.path.encode())
        items: list[Tensor | File] = [*tensors, *files]
        pages: list[list[Tensor | File]] = []
        at = 0
        for count in (*self.recipe.pages, len(items)):
            if items[at : at + count]:
                pages.append(items[at : at + count])
            at += count
        return pages

    def encoding_page(
        self, items: list[Tensor | File], stored: list[bytes], groups: list[Group]
    ) -> tuple[list[Any], list[int]]:
        """Return an encoding page, and the groups that its chunks are."""
        where = {
            member: (number, slot)
            for number, group in enumerate(groups)
            for slot, member in enumerate(group.members)
        }
        names = {self.name(item) for item in items}
        mine = [i for i, group in enumerate(groups) if any(m[0] in names for m in group.members)]
        mine.sort(key=lambda i: groups[i].members[0][1])
        entries = []
        for i in mine:
            tier, codec = groups[i].members[0][1], groups[i].codec
            entries.append([tier, codec, len(stored[i]), digest(stored[i]) if codec else None])
        layers = []
        for item in items:
            name = self.name(item)
            for tier in self.item_tiers(item):
                pairs = [where.get((name, tier, b)) for b in range(len(self.block_digests[name]))]
                layers.append([pair and [mine.index(pair[0]), pair[1]] for pair in pairs])
        return [entries, layers, {}], mine

    def totals(self) -> list[int]:
        """Return the totals of the content root."""
        elements = {
            tensor.name: len(tensor.data) // SIZES.get(tensor.dtype, 1)
            for tensor in self.recipe.tensors
        }
        quantized = sum(elements[name] for name in (*self.quantized, *self.coded))
        return [sum(elements.values()), quantized, sum(len(f.data) for f in self.recipe.files)]

    def lay_out(self, pages: list[list[tuple[int, bytes]]], start: int) -> tuple[list[int], bytes]:
        """Return the location table and the stored chunks; pages hold (tier, chunk)."""
        offsets: dict[tuple[int, bytes], int] = {}
        body = b""
        for tier in range(len(self.recipe.tiers)):
            for page in pages:
                for own, data in page:
                    if own == tier and (tier, digest(data)) not in offsets:
                        offsets[tier, digest(data)] = start + len(body)
                        body += data
        return [offsets[tier, digest(data)] for page in pages for tier, data in page], body

    def bitmap(self, tiers: list[int]) -> bytes:
        """Return what stands behind a partial file: which table entries it holds."""
        holds = self.recipe.partial
        if holds is None:
            return b""
        bits = sum(1 << i for i, tier in enumerate(tiers) if holds(tier, i))
        made: int = self.hook("bitmap", bits, None)
        return made.to_bytes((len(tiers) + 7) // 8, "little")

    def content_root(self) -> bytes:
        """Return the digest of the content root."""
        return self.bytes()[16:48]

    def bytes(self) -> bytes:
        """Return the file."""
        recipe, groups = self.recipe, self.groups()
        stored = [self.chunk(number, group) for number, group in enumerate(groups)]
        content_pages, encoding_pages, firsts = [], [], list[list[Any]]()
        chunk_counts, chunk_pages = [], []
        for number, items in enumerate(self.page_items()):
            records = self.hook("records", [self.record(item) for item in items], number)
            content_pages.append(self.hook("content", pack(records), number))
            firsts.append(records[0][:3])
            value, mine = self.encoding_page(items, stored, groups)
            value = self.hook("entries", value, number)
            encoding_pages.append(self.hook("encoding", pack(value), number))
            chunk_counts.append(len(value[0]))
            chunk_pages.append([(groups[i].members[0][1], stored[i]) for i in mine])
        kept = [n for n in range(len(content_pages)) if n not in recipe.inherited]
        root: dict[str, Any] = {
            "ext": recipe.ext,
            "features": list(recipe.features),
            "kind": "update" if recipe.update else "checkpoint",
            "pages": [
                [*first, len(page), digest(page)]
                for first, page in zip(firsts, content_pages, strict=True)
            ],
            "tiers": [list(tier) for tier in recipe.tiers],
            "totals": self.totals(),
            "version": 1,
        }
        if "quantizers" in recipe.features:
            root["policy"] = recipe.policy
        if recipe.update:
            root["update"] = recipe.update
        content = self.hook("root_bytes", pack(self.hook("root", root, None)), None)
        other: dict[str, Any] = {
            "content": digest(content),
            "ext": {},
            "features": [],
            "pages": [
                [len(encoding_pages[n]), digest(encoding_pages[n]), chunk_counts[n]]
                if n in kept
                else None
                for n in range(len(content_pages))
            ],
            "version": 1,
        }
        if recipe.parent is not None:
            other["features"] = ["difference"]
            other["parent"] = [Build(recipe.parent).content_root(), recipe.depth]
        encoding = self.hook("other_bytes", pack(self.hook("other", other, None)), None)
        manifest = content + encoding
        manifest += b"".join(content_pages[n] + encoding_pages[n] for n in kept)
        entries = sum(len(page) for page in chunk_pages)
        manifest += self.hook("gap", b"", None)
        start = 128 + len(manifest) + 8 * entries
        table, body = self.lay_out(chunk_pages, start)
        table = self.hook("table", table, None)
        manifest += struct.pack(f"<{len(table)}Q", *table)
        fields = {
            "magic": MAGIC,
            "major": 1,
            "minor": recipe.minor,
            "flags": int(recipe.partial is not None),
            "content": digest(content),
            "encoding": digest(encoding),
            "content length": len(content),
            "encoding length": len(encoding),
            "manifest length": start,
            "file length": start + len(body),
            "entries": entries,
        }
        header = struct.pack("<8sHHI32s32sIIQQQ", *self.hook("header", fields, None).values())
        body += self.bitmap([tier for page in chunk_pages for tier, _ in page])
        return bytes(self.hook("file", header + digest(header)[:16] + manifest + body, None))
