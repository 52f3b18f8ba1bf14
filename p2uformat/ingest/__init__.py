"""Checkpoints as they come: a safetensors file, a folder of files, arrays in memory."""

from p2uformat.ingest.checkpoint import Checkpoint, Member, record_names
from p2uformat.ingest.head import Head, HeadTensor, build_head, parse_head
from p2uformat.ingest.safetensors import SafetensorsSource, SourceTensor

__all__ = [
    "Checkpoint",
    "Head",
    "HeadTensor",
    "Member",
    "SafetensorsSource",
    "SourceTensor",
    "build_head",
    "parse_head",
    "record_names",
]
