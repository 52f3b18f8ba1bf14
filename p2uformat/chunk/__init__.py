"""Chunks: layers of one tier as they are stored (SPEC.md, section 7)."""

from p2uformat.chunk.codec import DIFFERENCES, Codec
from p2uformat.chunk.cut import choose_cut, class_chunk_bytes
from p2uformat.chunk.encode import (
    encode_classes,
    encode_differences,
    encode_planes,
    encode_raw_or_sections,
    encode_sections,
)
from p2uformat.chunk.views import ChunkView, open_chunk

__all__ = [
    "DIFFERENCES",
    "ChunkView",
    "Codec",
    "choose_cut",
    "class_chunk_bytes",
    "encode_classes",
    "encode_differences",
    "encode_planes",
    "encode_raw_or_sections",
    "encode_sections",
    "open_chunk",
]
