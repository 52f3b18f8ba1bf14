"""zstd frames of every make, and what the library says of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import zstandard

from p2uformat.codec import zstd
from tests.kernel_damage import Rng

MOST_WINDOW = 1 << 23


def by_library(frame: bytes, raw: int) -> bytes | None:
    """Decode exactly one frame of a size; None if it is refused."""
    context = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
    try:
        found: bytes = context.decompress(frame, max_output_size=raw, allow_extra_data=False)
    except zstandard.ZstdError:
        return None
    return found if len(found) == raw else None


def is_covered(frame: bytes) -> bool:
    """Tell whether a sound frame is one that compiled kernels have to decode."""
    about = zstandard.get_frame_parameters(frame)
    known = about.content_size not in (0, zstandard.CONTENTSIZE_UNKNOWN)
    small = about.window_size <= MOST_WINDOW
    return known and small and not about.has_checksum and not about.dict_id


def contents(rng: Rng) -> dict[str, bytes]:
    """Return data of many kinds: no repeats and many, short and long, few symbols and all."""
    words = [rng.bytes(int(n)) for n in rng.integers(3, 12, 300)]
    text = b" ".join(words[i] for i in rng.geometric(0.02, 20_000) % 300)
    bell = np.clip(rng.standard_normal(400_000) * 20 + 128, 0, 255).astype(np.uint8).tobytes()
    noise = rng.bytes(150_000)
    far = rng.bytes(70_000)
    return {
        "empty": b"",
        "one": b"x",
        "two": b"xy",
        "seven": b"abcabca",
        "tiny": bell[:40],
        "small": bell[:300],
        "zeros": bytes(300_000),
        "run": b"a" * 1000,
        "text": text,
        "bell": bell,
        "noise": noise,
        "two symbols": rng.integers(0, 2, 200_000, np.uint8).tobytes(),
        "skewed": rng.geometric(0.7, 200_000).astype(np.uint8).tobytes(),
        "all symbols": bytes(range(256)) * 40,
        "far": far + bell[:200_000] + far + noise[:50_000] + far[100:],
        "cycles": b"".join(bytes([i & 255]) * (i % 90 + 1) for i in range(4000)),
        "records": b"".join(i.to_bytes(4, "little") + bell[i : i + 4] for i in range(20_000)),
        "stutter": noise[: 1 << 17] + b"a".join(noise[i : i + 60] for i in range(0, 90_000, 100)),
        "mixed": bell[:100_000] + bytes(140_000) + noise[:140_000] + text[:100_000] + bell,
    }


def _parameters() -> Iterator[zstandard.ZstdCompressionParameters]:
    make = zstandard.ZstdCompressionParameters
    for level in (-50, -5, 1, 3, 9, 15, 19):
        yield make.from_level(level)
    for strategy in range(zstandard.STRATEGY_FAST, zstandard.STRATEGY_BTULTRA2 + 1):
        yield make(strategy=strategy, window_log=12, min_match=4, hash_log=12, chain_log=12)
        yield make(strategy=strategy, window_log=20, min_match=5, target_length=64)
    yield make.from_level(3, enable_ldm=True, window_log=22)
    yield make.from_level(3, write_content_size=False)
    yield make.from_level(3, write_checksum=True)
    yield make.from_level(1, window_log=10)


def frames(data: bytes) -> Iterator[bytes]:
    """Return frames of the same data, in one piece and in blocks."""
    yield zstd.compress(data)
    for parameters in _parameters():
        yield zstandard.ZstdCompressor(compression_params=parameters).compress(data)
    for level in (1, 6):
        yield in_blocks(data, level, 5_000)


def in_blocks(data: bytes, level: int, size: int) -> bytes:
    """Return a frame of blocks of a size, which share their tables where they are alike."""
    stream = zstandard.ZstdCompressor(level=level).compressobj(size=len(data))
    made = [
        stream.compress(data[at : at + size]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for at in range(0, len(data), size)
    ]
    return b"".join((*made, stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)))


def resized(rng: Rng, frame: bytes) -> bytes:
    """Return a frame with a byte more or less in its first block, whose size says so."""
    try:
        at = zstandard.frame_header_size(frame)
    except (zstandard.ZstdError, ValueError):
        return frame
    head = int.from_bytes(frame[at : at + 3], "little")
    body = bytearray(frame[at + 3 : at + 3 + (head >> 3)])
    if not body or head >> 1 & 3 != 2:
        return frame
    place = int(rng.integers(len(body)))
    kind = int(rng.integers(4))
    if kind == 0:
        del body[place]
    elif kind == 1:
        body[place:place] = rng.bytes(1)
    else:
        body[place:place] = bytes(kind - 1)
    changed = (head & 7) | len(body) << 3
    if changed >= 1 << 24:
        return frame
    rest = frame[at + 3 + (head >> 3) :]
    return frame[:at] + changed.to_bytes(3, "little") + bytes(body) + rest


def block_kinds(frame: bytes) -> set[str]:
    """Return which kinds of blocks and literals a sound frame has, as in RFC 8878."""
    at = zstandard.frame_header_size(frame)
    kinds: set[str] = set()
    last = 0
    while not last:
        head = int.from_bytes(frame[at : at + 3], "little")
        last, kind, size = head & 1, head >> 1 & 3, head >> 3
        kinds.add(("raw", "rle", "compressed")[kind])
        if kind == 2:
            section = frame[at + 3] & 3
            kinds.add(("raw", "rle", "tree", "treeless")[section] + " literals")
        at += 3 + (1 if kind == 1 else size)
    return kinds
