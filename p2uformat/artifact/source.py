"""The source file of an artifact, as its file record and blob describe it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from p2uformat.artifact.catalog import Catalog, StoredFile, StoredTensor
from p2uformat.artifact.read import BlockReader
from p2uformat.artifact.types import FileInfo
from p2uformat.digest import to_text
from p2uformat.errors import CorruptData, InvalidSource, LimitExceeded, Malformed, TensorNotFound
from p2uformat.ingest import Head, HeadTensor, parse_head
from p2uformat.ingest.head import LENGTH_BYTES, MAX_JSON_BYTES
from p2uformat.manifest import FileRecord

__all__ = [
    "SourceFile",
    "blob",
    "file_info",
    "matching_tensor",
    "read_head",
    "record_name",
    "source_files",
    "tensor_names",
]


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
    for block in range(stored.blocks):
        try:
            yield reader.raw(stored, block)
        except CorruptData as error:
            error.file = stored.record.path
            raise


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
        message = f"file {record.path!r}: {error.message}"
        raise Malformed(message, file=record.path) from error


def record_name(catalog: Catalog, path: str, name: str) -> str:
    """Return the name of the record of a tensor of a file (SPEC.md, 8.3)."""
    qualified = f"{path}:{name}"
    return qualified if qualified in catalog.tensors else name


def tensor_names(catalog: Catalog, files: Sequence[SourceFile]) -> Iterator[str]:
    """Yield the names of the records of all files' tensors, in the order of the heads' JSON."""
    for file in files:
        for name in file.head.names if file.head is not None else ():
            found = record_name(catalog, file.stored.record.path, name)
            if found in catalog.tensors:
                yield found


def file_info(record: FileRecord, tiers: Sequence[str]) -> FileInfo:
    """Return what a record says of a file."""
    sha256 = None if record.sha256 is None else record.sha256.hex()
    tier = tiers[record.tier]
    return FileInfo(record.path, record.layout, record.size, to_text(record.digest), sha256, tier)


def matching_tensor(catalog: Catalog, path: str, row: HeadTensor) -> StoredTensor:
    """Return the tensor that a row of a source file's head means.

    Raises
    ------
    Malformed
        If there is none, or it has another dtype, shape or length.
    DigestMismatch
        If the page that would name it is damaged.
    """
    where = f"tensor {row.name!r} of file {path!r}"
    try:
        stored = catalog.tensor(record_name(catalog, path, row.name))
    except TensorNotFound as error:
        raise Malformed(f"no record for {where}", file=path) from error
    if (stored.record.dtype, stored.record.shape) != (row.dtype, row.shape):
        raise Malformed(f"the record of {where} is not what the file's head says", file=path)
    if stored.geometry.elements * stored.geometry.element_size != row.nbytes:
        raise Malformed(f"the record of {where} has not its {row.nbytes} bytes", file=path)
    return stored
