"""Files of a checkpoint on their way into an artifact: their plans, their chunks, their records."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import zstandard

from p2uformat.chunk import Codec
from p2uformat.codec.frame import Buffer, build_frame
from p2uformat.digest import Hasher
from p2uformat.ingest import Member
from p2uformat.limits import MAX_RECORD_BLOCKS
from p2uformat.manifest import FileRecord
from p2uformat.tensor import Geometry, blob_geometry

__all__ = ["SHA256", "FileHasher", "FilePlan", "encode_text", "plan_file"]

SHA256: Final = "sha256"  # key in a file record's `ext`
BASE_BYTES: Final = 1 << 24  # a plain file above this is nothing that a small model needs
# What other frameworks keep weights in: of no use beside the tensors of the base tier.
WEIGHTS: Final = frozenset(
    {
        *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".msgpack", ".ot"),
        *(".h5", ".hdf5", ".keras", ".pb", ".tflite", ".onnx", ".onnx_data", ".engine"),
        *(".gguf", ".ggml", ".npz", ".npy", ".mlmodel", ".pdparams", ".params"),
    }
)
_LEVEL: Final = 12
_WINDOW_LOG: Final = 20  # of a frame; no stream is longer than that
_local = threading.local()


@dataclass(slots=True)
class FilePlan:
    """A file: how its blob is cut and where it travels.

    Parameters
    ----------
    member : Member
        The file.
    tier : int
        Number of the tier of its blob.
    geometry : Geometry
        How its blob is cut.
    blocks : list of bytes
        Digests of the blob's blocks.
    digest : bytes
        Digest of the whole file.
    ext : dict
        Further digests of it.
    """

    member: Member
    tier: int
    geometry: Geometry
    blocks: list[bytes] = field(default_factory=list)
    digest: bytes = b""
    ext: dict[str, object] = field(default_factory=dict)

    def read(self, block: int) -> bytes:
        """Return a block of the blob."""
        start, stop = self.geometry.block_range(block)
        if self.member.layout == "safetensors":
            return self.member.head[start:stop]
        return self.member.read(start, stop - start)

    def records(self) -> Iterator[tuple[FileRecord, int]]:
        """Yield the file's records, each with the number of its first block."""
        for first in range(0, max(len(self.blocks), 1), MAX_RECORD_BLOCKS):
            yield (
                FileRecord(
                    self.member.path,
                    first,
                    self.member.layout,
                    self.member.size,
                    self.digest,
                    self.tier,
                    self.geometry.elements,
                    b"".join(self.blocks[first : first + MAX_RECORD_BLOCKS]),
                    self.ext,
                ),
                first,
            )


def plan_file(member: Member, last: int) -> FilePlan:
    """Return how a file travels in an artifact whose exact tier has the number `last`."""
    if member.layout == "safetensors":
        return FilePlan(member, 0, blob_geometry(len(member.head)))
    late = member.size > BASE_BYTES or PurePosixPath(member.path).suffix.lower() in WEIGHTS
    return FilePlan(member, last if late else 0, blob_geometry(member.size))


class FileHasher:
    """The digests of a file that arrives in pieces.

    Parameters
    ----------
    sha256 : bool
        Whether to take that one too.
    """

    def __init__(self, *, sha256: bool) -> None:
        self._blake3 = Hasher()
        self._sha256 = hashlib.sha256() if sha256 else None

    def update(self, data: bytes) -> None:
        """Append `data`."""
        self._blake3.update(data)
        if self._sha256 is not None:
            self._sha256.update(data)

    def finish(self, plan: FilePlan) -> None:
        """Write the digests into a file's plan."""
        plan.digest = self._blake3.digest()
        if self._sha256 is not None:
            plan.ext[SHA256] = self._sha256.digest()


def encode_text(payloads: list[bytes]) -> tuple[Codec, bytes]:
    """Encode blocks of files, which unlike weights are full of repeats; a single one raw at best.

    Examples
    --------
    >>> codec, chunk = encode_text([b"again and " * 100])
    >>> len(chunk) < 100
    True
    """
    joined = b"".join(payloads)
    lengths = np.array([1, *(len(payload) for payload in payloads)], "<u4")
    chunk = build_frame(Codec.PLANES, len(payloads), [lengths.tobytes(), joined], _compress)
    if len(payloads) == 1 and len(payloads[0]) <= len(chunk):
        return Codec.RAW, payloads[0]
    return Codec.PLANES, chunk


def _compress(data: Buffer) -> bytes:
    context = getattr(_local, "compressor", None)
    if context is None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL, window_log=_WINDOW_LOG, write_checksum=False, write_dict_id=False
        )
        context = _local.compressor = zstandard.ZstdCompressor(compression_params=parameters)
    result: bytes = context.compress(data)
    return result
