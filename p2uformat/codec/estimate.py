"""The size of a chunk of base layers, estimated in integers.

The planner calibrates its budget against this rather than against zstd, so that an artifact's
identity does not depend on the version of a compressor. It errs a little on the large side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.rates import ONE_BIT, entropy, huffman_bits

__all__ = ["CHUNK_HEAD", "MEMBER_HEAD", "entropy_bytes", "stream_bytes"]

_ZSTD_BLOCK = 1 << 17
CHUNK_HEAD = 8 + 5 * 8 + 60  # header, table, the small streams' own headers
MEMBER_HEAD = 20
_CLASS_HEAD = 8 + 9
_BLOCK_HEAD = 30  # headers and the jump table of one zstd block
_SYMBOLS_A_BYTE = 2  # of a Huffman table, for symbols in use
_ROUNDING = 1500  # a byte lost per so many symbols: codes are whole bits, streams end in bytes
_CODE_LIMIT = 11
# Below about three bits a symbol zstd meets chance repeats of seven symbols, and coding them as
# matches costs more than it saves: per mille by tenths of bits a symbol, measured on normal
# weights.
_CHANCE = (
    (17, 125),
    (18, 110),
    (19, 85),
    (20, 65),
    (21, 45),
    (22, 35),
    (23, 25),
    (24, 12),
    (26, 5),
    (30, 2),
)


def entropy_bytes(histogram: NDArray[np.int64]) -> int:
    """Return the bytes of a small stream: a Huffman code of few symbols, its table, a head."""
    return int(entropy(histogram)) * 9 // (8 * 8 * ONE_BIT) + len(histogram) + 20


def stream_bytes(histogram: NDArray[np.int64]) -> int:
    """Return the bytes of a class stream with this histogram of magnitudes."""
    count = int(histogram.sum())
    # Signs are as good as random: every magnitude is two symbols of half the count. The zeros of
    # sparse blocks behind them are symbols already.
    unsigned, zeros = histogram[:-2], histogram[-2:]
    signed = np.concatenate((unsigned - unsigned // 2, unsigned // 2, zeros))
    used = int(np.count_nonzero(signed))
    blocks = -(-count // _ZSTD_BLOCK)
    # zstd's codes have at most 11 bits, which rare symbols pay for.
    floor = np.where(signed > 0, np.maximum(signed, count >> (_CODE_LIMIT + 1)), 0)
    bits = huffman_bits(floor) - _CODE_LIMIT * int((floor - signed).sum())
    bits += bits * _chance_matches(bits, count) // 1000
    return (
        _CLASS_HEAD
        + (bits + 7) // 8
        + blocks * (_BLOCK_HEAD + used // _SYMBOLS_A_BYTE)
        + count // _ROUNDING
    )


def _chance_matches(bits: int, count: int) -> int:
    return next((loss for limit, loss in _CHANCE if bits * 10 < limit * count), 0)
