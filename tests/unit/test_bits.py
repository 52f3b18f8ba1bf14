"""Bit strings: what is packed comes back, whatever the widths."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p2uformat.codec.bits import pack_fixed, pack_variable, unpack_fixed, unpack_variable


def _reference(values: list[int], widths: list[int]) -> bytes:
    total = place = 0
    for value, width in zip(values, widths, strict=True):
        total |= value << place
        place += width
    return total.to_bytes((place + 7) // 8, "little")


@given(
    st.lists(st.integers(0, 24).flatmap(lambda w: st.tuples(st.integers(0, 2**w - 1), st.just(w))))
)
def test_variable_widths(pairs: list[tuple[int, int]]) -> None:
    values, widths = [v for v, _ in pairs], [w for _, w in pairs]
    packed = pack_variable(np.array(values, np.uint32), np.array(widths, np.uint8))
    assert packed == _reference(values, widths)
    data = np.frombuffer(packed, np.uint8)
    assert unpack_variable(data, np.array(widths, np.uint8)).tolist() == values


@given(
    st.integers(1, 24).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(0, 2**w - 1))))
)
def test_fixed_width(case: tuple[int, list[int]]) -> None:
    width, values = case
    packed = pack_fixed(np.array(values, np.uint32), width)
    assert packed == _reference(values, [width] * len(values))
    assert unpack_fixed(np.frombuffer(packed, np.uint8), len(values), width).tolist() == values


def test_tiles_join() -> None:
    rng = np.random.default_rng(0)
    widths = rng.integers(0, 12, 200_000).astype(np.uint8)
    values = (rng.integers(0, 1 << 12, 200_000) & ((1 << widths.astype(int)) - 1)).astype(np.uint32)
    packed = pack_variable(values, widths)
    assert np.array_equal(unpack_variable(np.frombuffer(packed, np.uint8), widths), values)
