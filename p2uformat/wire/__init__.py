"""Canonical msgpack (SPEC.md, section 3), and checking access to what was decoded."""

from p2uformat.wire.canonical import decode, encode
from p2uformat.wire.check import as_array, as_bytes, as_int, as_map, as_text

__all__ = ["as_array", "as_bytes", "as_int", "as_map", "as_text", "decode", "encode"]
