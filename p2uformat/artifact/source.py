"""The source file of an artifact, as its file record and blob describe it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from p2uformat.artifact.catalog import Catalog, StoredFile, StoredTensor
from p2uformat.artifact.read import BlockReader
from p2uformat.errors import InvalidSource, LimitExceeded, Malformed, TensorNotFound
from p2uformat.ingest import Head, HeadTensor, parse_head
from p2uformat.ingest.head import LENGTH_BYTES, MAX_JSON_BYTES

__all__ = ["SourceFile", "blob", "matching_tensor", "read_head", "source_files"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A source file and, for a safetensors file, its parsed head.

    Parameters
    ----------
    stored : StoredFile
        Its records.
    head : Head or None
        None for a plain file.
    """

    stored: StoredFile
    head: Head | None


def blob(reader: BlockReader, stored: StoredFile) -> Iterator[bytes | memoryview]:
    """Yield the blocks of a file's blob."""
    return (reader.raw(stored, block) for block in range(stored.blocks))


def source_files(reader: BlockReader, catalog: Catalog, tier: int) -> list[SourceFile]:
    """Return the source files whose blobs are part of a tier, their heads read and checked.

    Raises
    ------
    CorruptData
        If a blob is damaged or is not the head that it should be.
    Incomplete
        If the file ends before one.
    """
    return [
        SourceFile(stored, read_head(reader, stored))
        for stored in catalog.files.values()
        if stored.record.tier <= tier
    ]


def read_head(reader: BlockReader, stored: StoredFile) -> Head | None:
    """Return the parsed head of a file; None for a plain one."""
    record = stored.record
    if record.layout != "safetensors":
        return None
    if record.blob_length > LENGTH_BYTES + MAX_JSON_BYTES:
        raise LimitExceeded(f"file {record.path!r}: a head of {record.blob_length} bytes")
    data = b"".join(blob(reader, stored))
    try:
        return parse_head(data, record.size)
    except InvalidSource as error:
        raise Malformed(f"file {record.path!r}: {error.message}") from error


def matching_tensor(catalog: Catalog, row: HeadTensor) -> StoredTensor:
    """Return the tensor that a row of the source file's head means.

    Raises
    ------
    Malformed
        If there is none, or it has another dtype, shape or length.
    DigestMismatch
        If the page that would name it is damaged.
    """
    try:
        stored = catalog.tensor(row.name)
    except TensorNotFound as error:
        raise Malformed(f"no record for tensor {row.name!r} of the source file") from error
    if (stored.record.dtype, stored.record.shape) != (row.dtype, row.shape):
        raise Malformed(f"tensor {row.name!r} is not the one in the source file's head")
    if stored.geometry.elements * stored.geometry.element_size != row.nbytes:
        raise Malformed(f"tensor {row.name!r} has not the source file's {row.nbytes} bytes")
    return stored
