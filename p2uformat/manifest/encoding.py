"""Encoding root and encoding pages: by which chunks it is stored (SPEC.md, 8.4 and 8.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

from p2uformat.chunk import DIFFERENCES, Codec
from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import LimitExceeded, Malformed, UnsupportedFormat
from p2uformat.limits import (
    MAX_CHUNK_BYTES,
    MAX_CHUNK_MEMBERS,
    MAX_DEPTH,
    MAX_PAGE_BYTES,
    MAX_PAGES,
    MAX_ROOT_BYTES,
)
from p2uformat.manifest.content import VERSION, ContentPage, check_size, open_root
from p2uformat.manifest.records import FileRecord, Record
from p2uformat.wire import as_array, as_bytes, as_int, as_map, decode, encode

__all__ = [
    "ChunkEntry",
    "Codec",
    "EncodingPage",
    "EncodingPageRef",
    "EncodingRoot",
    "ParentRef",
    "RecordLayers",
    "codecs_for",
]

_KEYS: Final = frozenset({"content", "ext", "features", "pages", "version"})
_CODECS: Final = frozenset(int(codec) for codec in Codec)

_FEATURES: Final = {"difference": "parent"}

Pair = tuple[int, int] | None
RecordLayers = tuple[tuple[Pair, ...], ...]
"""``(chunk, slot)`` for each layer of a record, for each of its blocks; None for a shared one."""


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """One stored chunk.

    Parameters
    ----------
    tier : int
        Number of the tier of the layers in it.
    codec : int
        How they are encoded.
    length : int
        Stored bytes.
    id : bytes
        Digest of the stored bytes.
    """

    tier: int
    codec: int
    length: int
    id: bytes

    def to_value(self) -> list[object]:
        """Return what is encoded; the id of a raw chunk stands in the content page already."""
        stored = None if self.codec == Codec.RAW else self.id
        return [self.tier, int(self.codec), self.length, stored]


@dataclass(frozen=True, slots=True)
class EncodingPage:
    """The chunks of one content page, and which layer is where.

    Parameters
    ----------
    chunks : tuple of ChunkEntry
        Tiers ascending.
    layers : tuple of RecordLayers
        One per record of the content page.
    ext : mapping
        Additions, kept as they are.
    """

    chunks: tuple[ChunkEntry, ...]
    layers: tuple[RecordLayers, ...]
    ext: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        chunks = [chunk.to_value() for chunk in self.chunks]
        layers = [
            [None if pair is None else list(pair) for pair in layer]
            for record in self.layers
            for layer in record
        ]
        value = [chunks, layers, dict(self.ext)]
        return check_size(encode(value), MAX_PAGE_BYTES, "encoding page")

    @classmethod
    def parse(cls, data: bytes, content: ContentPage, *, tiers: int, parent: bool = False) -> Self:
        """Return the page that `data` encodes for a content page.

        Parameters
        ----------
        data : bytes
            The page.
        content : ContentPage
            What it encodes.
        tiers : int
            Number of tiers.
        parent : bool
            Whether the artifact has a parent: layers may be shared, or differences, only then.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If it breaks a rule, disagrees with the content page, or uses an unknown codec.
        """
        value = decode(check_size(data, MAX_PAGE_BYTES, "encoding page"))
        items = as_array(value, "encoding page", length=3)
        chunks = [_chunk(item, tiers) for item in as_array(items[0], "chunks")]
        if any(after[0] < before[0] for before, after in pairwise(chunks)):
            raise Malformed("chunks: tiers do not ascend")
        layers = _layers(items[1], content, chunks)
        if not parent:
            _check_alone(chunks, layers)
        ids = _resolve(chunks, content, layers)
        entries = tuple(ChunkEntry(*chunk[:3], id_) for chunk, id_ in zip(chunks, ids, strict=True))
        return cls(entries, layers, as_map(items[2], "ext"))


_RawEntry = tuple[int, int, int, bytes | None]
_ANY: Final = frozenset({int(Codec.RAW), int(Codec.SECTIONS)})
_OPAQUE: Final = _ANY | {int(Codec.PLANES), int(Codec.OPAQUE_DIFFERENCE)}
_BASE: Final = _ANY | {int(Codec.CLASSES), int(Codec.BASE_DIFFERENCE)}
_DIGITS: Final = _ANY | {int(Codec.DIGITS_DIFFERENCE)}
_RESIDUAL: Final = _ANY | {int(Codec.PLANES)}
_EXACT: Final = _ANY | {int(Codec.EXACT_DIFFERENCE)}


def _chunk(value: object, tiers: int) -> _RawEntry:
    items = as_array(value, "chunk", length=4)
    codec = as_int(items[1], "codec")
    if codec not in _CODECS:
        raise UnsupportedFormat(f"unknown codec {codec}", hint="use a newer reader")
    id_ = None if items[3] is None else as_bytes(items[3], "chunk id", length=DIGEST_BYTES)
    if (id_ is None) != (codec == Codec.RAW):
        raise Malformed("chunk id: exactly raw chunks have none")
    return (
        as_int(items[0], "chunk tier", high=tiers - 1),
        codec,
        as_int(items[2], "chunk length", limit=MAX_CHUNK_BYTES),
        id_,
    )


def _layers(
    value: object, content: ContentPage, chunks: list[_RawEntry]
) -> tuple[RecordLayers, ...]:
    total = sum(record.layers for record in content.records)
    items = iter(as_array(value, "layers", length=total))
    return tuple(
        tuple(_layer(next(items), record, number, chunks) for number in range(record.layers))
        for record in content.records
    )


def _layer(value: object, record: Record, number: int, chunks: list[_RawEntry]) -> tuple[Pair, ...]:
    pairs = as_array(value, "layer", length=record.block_count)
    count = len(chunks)
    layer = tuple([_pair(pair, count) for pair in pairs])
    tier = record.layer_tier(number)
    allowed = codecs_for(record, number)
    for chunk in {pair[0] for pair in layer if pair is not None}:
        if chunks[chunk][0] != tier:
            raise Malformed(f"chunk {chunk}: expected tier {tier}, got {chunks[chunk][0]}")
        if chunks[chunk][1] not in allowed:
            raise Malformed(f"chunk {chunk}: codec {chunks[chunk][1]} is not for such layers")
    return layer


def codecs_for(record: Record, number: int) -> frozenset[int]:
    """Return the codecs of chunks that a layer of a record may lie in."""
    if isinstance(record, FileRecord) or record.quantizer == "opaque":
        return _OPAQUE
    if record.quantizer != "bitplane":
        return _RESIDUAL if number else _ANY
    if number == 0:
        return _BASE
    return _EXACT if number == record.layers - 1 else _DIGITS


def _check_alone(chunks: list[_RawEntry], layers: tuple[RecordLayers, ...]) -> None:
    if any(codec in DIFFERENCES for _, codec, _, _ in chunks):
        raise Malformed("chunks: differences in an artifact without a parent")
    if any(None in layer for record in layers for layer in record):
        raise Malformed("layers: shared ones in an artifact without a parent")


def _pair(value: object, chunks: int) -> Pair:
    if value is None:
        return None
    if type(value) is list and len(value) == 2:
        chunk, slot = value
        if type(chunk) is int and type(slot) is int:
            if 0 <= chunk < chunks and 0 <= slot < MAX_CHUNK_MEMBERS:
                return chunk, slot
            raise Malformed(f"layer: no slot {slot} in chunk {chunk} of {chunks}")
    raise Malformed("layer: expected pairs of chunk and slot")


def _resolve(
    chunks: list[_RawEntry], content: ContentPage, layers: tuple[RecordLayers, ...]
) -> list[bytes]:
    """Return the ids of all chunks; those of raw ones are the digests of the layers using them."""
    ids = [chunk[3] for chunk in chunks]
    used = [False] * len(chunks)
    for record, per_layer in zip(content.records, layers, strict=True):
        for number, layer in enumerate(per_layer):
            for block, pair in enumerate(layer):
                if pair is None:
                    continue
                chunk, slot = pair
                used[chunk] = True
                if chunks[chunk][1] == Codec.RAW:
                    digest = record.layer_digest(number, block)
                    if slot or ids[chunk] not in (None, digest):
                        raise Malformed(f"chunk {chunk}: raw, yet used by more than one layer")
                    ids[chunk] = digest
    if not all(used):
        raise Malformed(f"chunk {used.index(False)}: no layer uses it")
    return [id_ for id_ in ids if id_ is not None]


@dataclass(frozen=True, slots=True)
class EncodingPageRef:
    """How the encoding root names a page.

    Parameters
    ----------
    length : int
        Bytes.
    digest : bytes
        Digest of them.
    chunks : int
        Chunks the page lists.
    """

    length: int
    digest: bytes
    chunks: int

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [self.length, self.digest, self.chunks]

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the reference that `value` describes."""
        items = as_array(value, "page reference", length=3)
        return cls(
            as_int(items[0], "page length", low=1, limit=MAX_PAGE_BYTES),
            as_bytes(items[1], "page digest", length=DIGEST_BYTES),
            as_int(items[2], "page chunks", high=MAX_PAGE_BYTES),
        )


@dataclass(frozen=True, slots=True)
class ParentRef:
    """The artifact that another one needs.

    Parameters
    ----------
    root : bytes
        Its content root.
    depth : int
        How many there are at most, one behind the other; its own depth is less.
    """

    root: bytes
    depth: int

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [self.root, self.depth]

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the reference that `value` describes."""
        items = as_array(value, "parent", length=2)
        root = as_bytes(items[0], "parent", length=DIGEST_BYTES)
        depth = as_int(items[1], "depth", low=1)
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"depth: expected at most {MAX_DEPTH} parents, got {depth}")
        return cls(root, depth)


@dataclass(frozen=True, slots=True)
class EncodingRoot:
    """One way to store a content root.

    Parameters
    ----------
    content : bytes
        Digest of the content root.
    pages : tuple of EncodingPageRef or None
        One per content page; None for one that is inherited from the parent.
    ext : mapping
        Additions, kept as they are.
    parent : ParentRef or None
        What it needs.
    """

    content: bytes
    pages: tuple[EncodingPageRef | None, ...]
    ext: Mapping[str, object] = field(default_factory=dict)
    parent: ParentRef | None = None

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        value: dict[str, object] = {
            "content": self.content,
            "ext": dict(self.ext),
            "features": [] if self.parent is None else ["difference"],
            "pages": [None if page is None else page.to_value() for page in self.pages],
            "version": VERSION,
        }
        if self.parent is not None:
            value["parent"] = self.parent.to_value()
        return check_size(encode(value), MAX_ROOT_BYTES, "encoding root")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the root that `data` encodes."""
        value = open_root(data, "encoding root", _KEYS, _FEATURES)
        pages = as_array(value["pages"], "pages", limit=MAX_PAGES)
        root = cls(
            as_bytes(value["content"], "content", length=DIGEST_BYTES),
            tuple(None if page is None else EncodingPageRef.from_value(page) for page in pages),
            as_map(value["ext"], "ext"),
            ParentRef.from_value(value["parent"]) if "parent" in value else None,
        )
        if root.parent is None and None in root.pages:
            raise Malformed("pages: inherited ones in an artifact without a parent")
        return root
