"""Checkpoints as they come: for now one safetensors file."""

from p2uformat.ingest.head import Head, HeadTensor, build_head, parse_head
from p2uformat.ingest.safetensors import SafetensorsSource, SourceTensor

__all__ = [
    "Head",
    "HeadTensor",
    "SafetensorsSource",
    "SourceTensor",
    "build_head",
    "parse_head",
]
