"""Chunks: payloads return byte for byte, and nothing hostile raises a foreign error."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2uformat.chunk import (
    Codec,
    encode_classes,
    encode_planes,
    encode_raw_or_sections,
    encode_sections,
    open_chunk,
)
from p2uformat.codec import zstd
from p2uformat.codec.frame import build_frame
from p2uformat.errors import CorruptData, LimitExceeded, Malformed, UnsupportedFormat
from p2uformat.quant.layers import BaseLayer


def _layer(rng: np.random.Generator, count: int, *, sparse: bool = False) -> BaseLayer:
    scale = np.repeat(2.0 ** rng.normal(2, 1, -(-count // 64)), 64)[:count]
    m = np.minimum(np.abs(rng.standard_normal(count) * scale), 127).astype(np.uint8)
    symbols = m | (rng.integers(0, 2, count).astype(np.uint8) << 7)
    symbols[m == 127] = 127
    if sparse:
        symbols[rng.random(count) < 0.5] = 255
    where = np.flatnonzero(symbols == 127)
    steps = rng.integers(-12, -8, -(-count // 256)).astype(np.int16)
    words = rng.integers(0, 2**16, len(where)).astype(np.uint16)
    return BaseLayer(int(sparse), steps, symbols, where.astype(np.uint32), words)


@given(
    st.lists(
        st.tuples(st.integers(1, 9000), st.booleans(), st.integers(1, 300)), min_size=1, max_size=6
    )
)
@settings(max_examples=60, deadline=None)
def test_base_layers_return(shapes: list[tuple[int, bool, int]]) -> None:
    rng = np.random.default_rng(len(shapes))
    layers = [_layer(rng, count, sparse=sparse) for count, sparse, _ in shapes]
    view = open_chunk(Codec.CLASSES, encode_classes(layers, [row for *_, row in shapes]))
    assert view.members == len(layers)
    assert [view.payload(i) for i in range(len(layers))] == [layer.payload() for layer in layers]


def test_columns_are_chosen_where_columns_differ_in_scale() -> None:
    rng = np.random.default_rng(3)
    scale = 2.0 ** rng.uniform(0, 5, 256)
    values = rng.standard_normal((512, 256)) * scale
    m = np.minimum(np.abs(values), 126).astype(np.uint8).reshape(-1)
    none = np.empty(0, np.uint32)
    layer = BaseLayer(0, np.zeros(1, np.int16), m, none, none.astype(np.uint16))
    by_column = encode_classes([layer], [256])
    assert open_chunk(Codec.CLASSES, by_column).payload(0) == layer.payload()
    assert len(by_column) < 0.95 * len(encode_classes([layer], [1]))


@given(st.lists(st.lists(st.binary(max_size=300), min_size=3, max_size=3), min_size=1, max_size=5))
def test_sections_return(members: list[list[bytes]]) -> None:
    view = open_chunk(Codec.SECTIONS, encode_sections(members))
    assert [view.payload(i) for i in range(len(members))] == [b"".join(m) for m in members]


@given(st.integers(1, 8), st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_planes_return(width: int, counts: list[int]) -> None:
    rng = np.random.default_rng(width)
    payloads = [rng.bytes(count * width) for count in counts]
    codec, chunk = encode_planes(width, payloads)
    view = open_chunk(codec, chunk)
    assert [view.payload(i) for i in range(len(payloads))] == payloads


def test_what_does_not_compress_is_stored_raw() -> None:
    noise = np.random.default_rng(0).bytes(5000)
    assert encode_raw_or_sections([noise]) == (Codec.RAW, noise)
    assert encode_raw_or_sections([bytes(5000)])[0] is Codec.SECTIONS


def test_every_flipped_byte_is_refused_or_decodes() -> None:
    rng = np.random.default_rng(5)
    chunk = encode_classes([_layer(rng, 700), _layer(rng, 300, sparse=True)], [10, 10])
    refused = 0
    for place in range(len(chunk)):
        spoiled = bytearray(chunk)
        spoiled[place] ^= 1 << int(rng.integers(8))
        try:
            view = open_chunk(Codec.CLASSES, bytes(spoiled))
            for slot in range(view.members):
                view.payload(slot)
        except CorruptData:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("axis", [0, 1])
def test_a_member_without_weights_has_any_axis(axis: int) -> None:
    """Nothing is a matrix of any number of rows (SPEC.md, 7.3)."""
    row = struct.pack("<IIIIBBH", 0, 0, 0, 5, 0, 4, axis)
    view = open_chunk(Codec.CLASSES, build_frame(Codec.CLASSES, 1, [row, b"", b"", b"", b""]))
    assert view.payload(0) == bytes(5)


def test_cut_and_lengthened_chunks_are_refused() -> None:
    chunk = encode_sections([(b"abc" * 100,)])
    for spoiled in (b"", chunk[:5], chunk[:-1], chunk + b"x"):
        with pytest.raises(Malformed):
            open_chunk(Codec.SECTIONS, spoiled)
    with pytest.raises(UnsupportedFormat):
        open_chunk(9, chunk)


def test_a_bomb_is_refused_before_it_is_decompressed() -> None:
    bomb = zstd.compress(bytes(1 << 25))
    head = bytes([1, 0, 1, 0, 2, 0, 0, 0])
    table = (4).to_bytes(4, "little") * 2
    claimed = (len(bomb) | 1 << 31).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little")
    with pytest.raises(LimitExceeded):
        open_chunk(Codec.SECTIONS, head + table + claimed + bytes(4) + bomb)
    small = (len(bomb) | 1 << 31).to_bytes(4, "little") + (1 << 20).to_bytes(4, "little")
    with pytest.raises(Malformed):
        open_chunk(Codec.SECTIONS, head + table + small + (1 << 20).to_bytes(4, "little") + bomb)
