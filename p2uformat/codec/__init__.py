"""Byte codecs: bit strings, byte planes, bounded zstd streams. Bytes and arrays only, no I/O."""
