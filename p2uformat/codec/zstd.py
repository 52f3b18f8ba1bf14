"""zstd frames, bounded before anything is allocated (SPEC.md, section 7).

The encoder's parameters make zstd a plain Huffman coder: the symbols of weights have no repeats
worth finding, and every match that is found costs more than it saves. Any decoder reads them.
"""

from __future__ import annotations

import threading

import zstandard

from p2uformat.errors import LimitExceeded, Malformed
from p2uformat.limits import MAX_STREAM_BYTES, MAX_WINDOW_LOG

__all__ = ["compress", "decompress"]

_HUFFMAN = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST,
    min_match=7,
    window_log=18,
    hash_log=6,
    chain_log=6,
    search_log=1,
    target_length=0,
    write_content_size=True,
    write_checksum=False,
    write_dict_id=False,
)
_local = threading.local()


def compress(data: bytes | memoryview) -> bytes:
    """Compress to one frame that declares its content size."""
    context = getattr(_local, "compressor", None)
    if context is None:
        context = _local.compressor = zstandard.ZstdCompressor(compression_params=_HUFFMAN)
    result: bytes = context.compress(data)
    return result


def decompress(data: memoryview, size: int) -> bytes:
    """Decompress exactly one frame of exactly `size` bytes.

    Raises
    ------
    Malformed
        If it is not one frame, declares another size, names a dictionary, or something follows it.
    LimitExceeded
        If its window or size is above the limits.
    """
    if size > MAX_STREAM_BYTES:
        raise LimitExceeded(f"a stream of {size} bytes is above the limit of {MAX_STREAM_BYTES}")
    try:
        frame = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise Malformed(f"a stream is no zstd frame: {error}") from None
    if frame.content_size != size or frame.dict_id:
        raise Malformed(f"expected a zstd frame of {size} bytes, got {frame.content_size}")
    if frame.window_size > 1 << MAX_WINDOW_LOG:
        raise LimitExceeded(f"a zstd window of {frame.window_size} bytes is above the limit")
    return _one_frame(data, size)


def _one_frame(data: memoryview, size: int) -> bytes:
    context = getattr(_local, "decompressor", None)
    if context is None:
        context = _local.decompressor = zstandard.ZstdDecompressor(
            max_window_size=1 << MAX_WINDOW_LOG
        )
    try:
        # One call for the common case; it refuses bytes behind the frame.
        result: bytes = context.decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Malformed(f"a zstd frame does not decode: {error}") from None
    if len(result) != size:
        raise Malformed(f"expected {size} bytes from a zstd frame, got {len(result)}")
    return result
