"""Records: one tensor or one file, or 1024 blocks of it (SPEC.md, 8.2 and 8.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import LimitExceeded, Malformed, UnsupportedFormat
from p2uformat.floats import FORMATS
from p2uformat.limits import (
    MAX_ELEMENTS,
    MAX_FILE_BYTES,
    MAX_NAME_BYTES,
    MAX_RANK,
    MAX_RECORD_BLOCKS,
)
from p2uformat.manifest.parameters import BitplaneParameters, OpaqueParameters
from p2uformat.manifest.quantized import (
    LevelsParameters,
    QuantizedParameters,
    quantized_from_value,
    source_format,
)
from p2uformat.tensor import ELEMENT_SIZES, Geometry, blob_geometry, geometry
from p2uformat.wire import as_array, as_bytes, as_int, as_map, as_text

__all__ = [
    "LEVELS",
    "LOSSY",
    "NO_FEATURES",
    "QUANTIZERS",
    "FileRecord",
    "Key",
    "Parameters",
    "Record",
    "TensorRecord",
    "record_from_value",
]

TENSOR: Final = 0
FILE: Final = 1
LAYOUTS: Final = ("safetensors", "plain")
LEVELS: Final = "levels"  # features of a content root (SPEC.md, 8.1)
LOSSY: Final = "lossy"
QUANTIZERS: Final = "quantizers"
_NEWER: Final = "use a newer reader"
NO_FEATURES: Final[frozenset[str]] = frozenset()

Key = tuple[int, bytes, int]
Parameters = BitplaneParameters | OpaqueParameters | QuantizedParameters


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor, or up to 1024 consecutive blocks of a large one.

    Parameters
    ----------
    name : str
        The tensor's name.
    first_block : int
        Number of the record's first block.
    dtype : str
        Safetensors dtype name.
    shape : tuple of int
        The tensor's shape.
    quantizer : str
        ``bitplane``, ``affine``, ``minifloat``, ``levels`` or ``opaque``.
    parameters : BitplaneParameters, QuantizedParameters or OpaqueParameters
        Of the whole tensor.
    block_digests : bytes
        32 bytes per block.
    layer_digests : tuple of bytes
        One per layer, 32 bytes per block: for bitplane one per tier; empty for opaque.
    ext : mapping
        Additions, kept as they are.
    """

    name: str
    first_block: int
    dtype: str
    shape: tuple[int, ...]
    quantizer: str
    parameters: Parameters
    block_digests: bytes
    layer_digests: tuple[bytes, ...] = ()
    ext: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Where the record stands among all records."""
        return TENSOR, self.name.encode(), self.first_block

    @property
    def block_count(self) -> int:
        """Blocks of this record."""
        return len(self.block_digests) // DIGEST_BYTES

    @property
    def layers(self) -> int:
        """Layers of each block."""
        return len(self.layer_digests) or 1

    @property
    def geometry(self) -> Geometry:
        """How the whole tensor is cut."""
        known = self.parameters
        nbytes = known.nbytes if isinstance(known, OpaqueParameters) else None
        return geometry(self.dtype, self.shape, nbytes)

    def layer_tier(self, layer: int) -> int:
        """Return the number of the tier that a layer belongs to."""
        known = self.parameters
        if isinstance(known, OpaqueParameters):
            return known.tier
        if isinstance(known, BitplaneParameters) or not layer:
            return layer
        assert known.residual is not None
        return known.residual

    def layer_digest(self, layer: int, block: int) -> bytes:
        """Return the digest of one layer; `block` counts from the record's first block."""
        column = self.layer_digests[layer] if self.layer_digests else self.block_digests
        return column[block * DIGEST_BYTES : (block + 1) * DIGEST_BYTES]

    def block_digest(self, block: int) -> bytes:
        """Return the digest of a block's original bytes."""
        return self.block_digests[block * DIGEST_BYTES : (block + 1) * DIGEST_BYTES]

    def same_tensor(self, other: TensorRecord) -> bool:
        """Return whether `other` may be another record of the same tensor."""
        mine = (self.name, self.dtype, self.shape, self.quantizer, self.parameters, self.ext)
        return mine == (
            other.name,
            other.dtype,
            other.shape,
            other.quantizer,
            other.parameters,
            other.ext,
        )

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [
            TENSOR,
            self.name,
            self.first_block,
            self.dtype,
            list(self.shape),
            self.quantizer,
            self.parameters.to_value(),
            self.block_digests,
            list(self.layer_digests),
            dict(self.ext),
        ]

    @classmethod
    def from_value(
        cls, value: object, *, tiers: int, features: frozenset[str] = NO_FEATURES
    ) -> Self:
        """Return the record that `value` describes, in an artifact of `tiers` tiers.

        Raises
        ------
        Malformed, LimitExceeded, UnsupportedFormat
            If it breaks a rule.
        """
        items = as_array(value, "tensor record", length=10)
        quantizer = as_text(items[5], "quantizer")
        parameters = _parameters(quantizer, items[6], tiers, features)
        record = cls(
            as_text(items[1], "tensor name", limit=MAX_NAME_BYTES),
            as_int(items[2], "first block"),
            as_text(items[3], "dtype", limit=MAX_NAME_BYTES),
            _shape(items[4]),
            quantizer,
            parameters,
            as_bytes(items[7], "block digests"),
            _layer_digests(items[8], _layers(parameters, tiers)),
            as_map(items[9], "ext"),
        )
        _check_tensor(record)
        return record


def _shape(value: object) -> tuple[int, ...]:
    shape = tuple(as_int(item, "shape") for item in as_array(value, "shape", limit=MAX_RANK))
    if math.prod(shape) > MAX_ELEMENTS:
        raise LimitExceeded(f"shape: expected at most {MAX_ELEMENTS} elements, got {shape}")
    return shape


def _parameters(quantizer: str, value: object, tiers: int, features: frozenset[str]) -> Parameters:
    if quantizer == "opaque":
        return OpaqueParameters.from_value(value, tiers=tiers)
    lossy = LOSSY in features
    if QUANTIZERS in features:
        found = quantized_from_value(quantizer, value, residual=None if lossy else tiers - 1)
        if isinstance(found, LevelsParameters) and LEVELS not in features:
            raise UnsupportedFormat("levels without the feature of that name", hint=_NEWER)
        if found is not None:
            if tiers < 2 and not lossy:
                raise Malformed("a quantized tensor in an artifact without a lossy tier")
            return found
    if quantizer != "bitplane":
        raise UnsupportedFormat(f"unknown quantizer {quantizer[:40]!r}", hint=_NEWER)
    if tiers < 2 or lossy:
        raise Malformed("a bitplane tensor in an artifact without tiers for it")
    return BitplaneParameters.from_value(value, lossy=tiers - 1)


def _layers(parameters: Parameters, tiers: int) -> int:
    """Return how many layers have digests of their own."""
    if isinstance(parameters, OpaqueParameters):
        return 0
    if isinstance(parameters, BitplaneParameters):
        return tiers
    return 1 if parameters.residual is None else 2


def _layer_digests(value: object, layers: int) -> tuple[bytes, ...]:
    columns = as_array(value, "layer digests", length=layers)
    return tuple(as_bytes(column, "layer digests") for column in columns)


def _check_tensor(record: TensorRecord) -> None:
    parameters = record.parameters
    if isinstance(parameters, BitplaneParameters):
        _check_bitplane(record.dtype, parameters)
    elif isinstance(parameters, QuantizedParameters):
        source_format(record.dtype)
        parameters.check(record.shape)
    else:
        _check_opaque(record, parameters)
    cut = record.geometry
    if cut.elements > MAX_ELEMENTS:
        raise LimitExceeded(f"expected at most {MAX_ELEMENTS} elements, got {cut.elements}")
    _check_blocks(record.first_block, cut.blocks(), record.block_digests)
    for column in record.layer_digests:
        as_bytes(column, "layer digests", length=len(record.block_digests))


def _check_bitplane(dtype: str, parameters: BitplaneParameters) -> None:
    fmt = FORMATS.get(dtype)
    if fmt is None:
        raise Malformed(f"a bitplane tensor of dtype {dtype[:40]!r}")
    rest = fmt.mantissa - 8 * parameters.planes
    if not 0 <= rest <= 16:
        raise Malformed(f"planes: {parameters.planes} do not fit {fmt.mantissa} mantissa bits")


def _check_opaque(record: TensorRecord, parameters: OpaqueParameters) -> None:
    size = ELEMENT_SIZES.get(record.dtype)
    if size is not None and parameters.nbytes != math.prod(record.shape) * size:
        raise Malformed(
            f"tensor bytes: expected {math.prod(record.shape) * size}, got {parameters.nbytes}"
        )


def _check_blocks(first: int, total: int, digests: bytes) -> None:
    """Check that a record starts and ends where the cut into 1024 blocks puts it."""
    if first % MAX_RECORD_BLOCKS or (first >= total and first > 0):
        raise Malformed(f"first block: {first} does not start a record of {total} blocks")
    count = min(MAX_RECORD_BLOCKS, total - first)
    as_bytes(digests, "block digests", length=count * DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A source file: what is needed to rebuild it beside the tensors.

    Parameters
    ----------
    path : str
        Relative path.
    first_block : int
        Number of the record's first block.
    layout : str
        ``safetensors`` or ``plain``.
    size : int
        Bytes of the whole file.
    digest : bytes
        Digest of the whole file.
    tier : int
        Number of the tier that the blob travels in.
    blob_length : int
        Bytes of the blob.
    block_digests : bytes
        32 bytes per block of the blob.
    ext : mapping
        Additions, kept as they are; `sha256`, if there is one, is checked.
    """

    path: str
    first_block: int
    layout: str
    size: int
    digest: bytes
    tier: int
    blob_length: int
    block_digests: bytes
    ext: Mapping[str, object] = field(default_factory=dict)

    @property
    def sha256(self) -> bytes | None:
        """SHA-256 of the whole file, where it is recorded."""
        found = self.ext.get("sha256")
        return found if isinstance(found, bytes) else None

    @property
    def key(self) -> Key:
        """Where the record stands among all records."""
        return FILE, self.path.encode(), self.first_block

    @property
    def block_count(self) -> int:
        """Blocks of this record."""
        return len(self.block_digests) // DIGEST_BYTES

    @property
    def layers(self) -> int:
        """Layers of each block: always one."""
        return 1

    @property
    def geometry(self) -> Geometry:
        """How the whole blob is cut."""
        return blob_geometry(self.blob_length)

    def layer_tier(self, layer: int) -> int:  # noqa: ARG002
        """Return the number of the tier that the blob belongs to."""
        return self.tier

    def layer_digest(self, layer: int, block: int) -> bytes:  # noqa: ARG002
        """Return the digest of one layer, which is the block's."""
        return self.block_digest(block)

    def block_digest(self, block: int) -> bytes:
        """Return the digest of a block's original bytes."""
        return self.block_digests[block * DIGEST_BYTES : (block + 1) * DIGEST_BYTES]

    def same_file(self, other: FileRecord) -> bool:
        """Return whether `other` may be another record of the same file."""
        mine, theirs = self.to_value(), other.to_value()
        return mine[1:2] + mine[3:7] + mine[8:] == theirs[1:2] + theirs[3:7] + theirs[8:]

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [
            FILE,
            self.path,
            self.first_block,
            self.layout,
            self.size,
            self.digest,
            [self.tier, self.blob_length],
            self.block_digests,
            dict(self.ext),
        ]

    @classmethod
    def from_value(cls, value: object, *, tiers: int) -> Self:
        """Return the record that `value` describes, in an artifact of `tiers` tiers."""
        items = as_array(value, "file record", length=9)
        parameters = as_array(items[6], "file parameters", length=2)
        record = cls(
            as_text(items[1], "path", limit=MAX_NAME_BYTES),
            as_int(items[2], "first block"),
            as_text(items[3], "layout"),
            as_int(items[4], "file size", limit=MAX_FILE_BYTES),
            as_bytes(items[5], "file digest", length=DIGEST_BYTES),
            as_int(parameters[0], "tier number", high=tiers - 1),
            as_int(parameters[1], "blob length", limit=MAX_ELEMENTS),
            as_bytes(items[7], "block digests"),
            as_map(items[8], "ext"),
        )
        _check_file(record)
        return record


def _check_file(record: FileRecord) -> None:
    parts = record.path.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in record.path or "\0" in record.path:
        raise Malformed(f"path: {record.path[:80]!r} is not allowed")
    if record.layout not in LAYOUTS:
        raise Malformed(f"layout: {record.layout[:40]!r} is not known")
    whole = record.layout == "plain"
    if record.blob_length > record.size or (whole and record.blob_length != record.size):
        raise Malformed(f"blob length: got {record.blob_length} of {record.size} bytes")
    if "sha256" in record.ext:
        as_bytes(record.ext["sha256"], "sha256", length=DIGEST_BYTES)
    _check_blocks(record.first_block, record.geometry.blocks(), record.block_digests)


Record = TensorRecord | FileRecord


def record_from_value(
    value: object, *, tiers: int, features: frozenset[str] = NO_FEATURES
) -> Record:
    """Return the record that `value` describes."""
    items = as_array(value, "record")
    kind = as_int(items[0] if items else None, "record kind", high=FILE)
    if kind == TENSOR:
        return TensorRecord.from_value(value, tiers=tiers, features=features)
    return FileRecord.from_value(value, tiers=tiers)
