"""The size of a chunk of base layers, estimated in integers.

The planner calibrates its budget against this rather than against zstd, so that an artifact's
identity does not depend on the version of a compressor. It errs a little on the large side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.classes import Member, assign, magnitude_histograms
from p2uformat.codec.rates import ONE_BIT, entropy, huffman_bits

__all__ = ["class_chunk_bytes"]

_ZSTD_BLOCK = 1 << 17
_CHUNK_HEAD = 8 + 5 * 8 + 60  # header, table, the small streams' own headers
_MEMBER = 20
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


def class_chunk_bytes(
    cuts: Sequence[Member], sparse: Sequence[bool], steps: Sequence[NDArray[np.int16]]
) -> int:
    """Estimate the bytes of a chunk of codec `classes`, outliers apart.

    Parameters
    ----------
    cuts : sequence of Member
        The members as they are cut.
    sparse : sequence of bool
        Their sparse flags.
    steps : sequence of ndarray of int16
        Their step exponents.
    """
    pairs = list(zip(cuts, sparse, strict=True))
    histograms = np.concatenate(
        [magnitude_histograms(cut.ordered(), cut.unit, sparse=flag) for cut, flag in pairs]
    )
    class_map, _ = assign(histograms)
    total = _CHUNK_HEAD + _MEMBER * len(cuts)
    total += _entropy_bytes(np.bincount(class_map))
    delta = np.diff(np.concatenate(steps).astype(np.int64), prepend=0)
    total += 2 * _entropy_bytes(np.unique(delta, return_counts=True)[1])  # in two planes
    for name in range(int(class_map.max()) + 1):
        total += _stream_bytes(histograms[class_map == name].sum(0))
    return total


def _entropy_bytes(histogram: NDArray[np.int64]) -> int:
    # A Huffman code of few symbols, its table, and a frame's head.
    return int(entropy(histogram)) * 9 // (8 * 8 * ONE_BIT) + len(histogram) + 20


def _stream_bytes(histogram: NDArray[np.int64]) -> int:
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
