"""Kernels of codes in lanes against their definitions in numpy, and their checks of arguments."""

from __future__ import annotations

import numpy as np
import pytest

from p2uformat.native import native_module
from p2uformat.quant.minifloat import Minifloat, values_of

native = native_module()
pytestmark = pytest.mark.skipif(native is None, reason="the kernels are not compiled here")


def planes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack one block as its definition says it: byte j has elements j, j + q, j + 2q and so on."""
    padded = np.zeros(-(-len(codes) // 8) * 8, np.uint32)
    padded[: len(codes)] = codes & ((1 << bits) - 1)
    out, left = [], bits
    for width in [8] * (bits // 8) + [w for w in (4, 2, 1) if bits & w]:
        left -= width
        lanes = ((padded >> left) & ((1 << width) - 1)).reshape(8 // width, -1)
        out.append(sum(lane << (n * width) for n, lane in enumerate(lanes)).astype(np.uint8))
    return np.concatenate(out)


@pytest.mark.parametrize("bits", range(1, 32))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 250])
def test_one_block(bits, count):
    codes = np.random.default_rng(bits).integers(0, 1 << 31, count, np.uint32)
    expected = planes(codes, bits)
    packed = np.full(len(expected), 0xAA, np.uint8)
    native.lanes_pack(codes, bits, count, packed)
    assert np.array_equal(packed, expected)
    back = np.full(count, 7, np.uint32)
    native.lanes_words(packed, bits, 256, None, count, back)
    assert np.array_equal(back, codes & ((1 << bits) - 1))


@pytest.mark.parametrize("count", [64, 65, 200])
def test_several_blocks_and_a_table(count):
    codes = np.random.default_rng(0).integers(0, 1 << 11, count, np.uint32)
    packed = np.concatenate([planes(codes[n : n + 64], 11) for n in range(0, count, 64)])
    table = np.random.default_rng(1).standard_normal(1 << 11).astype(np.float32)
    out = np.empty(count, np.float32)
    native.lanes_words(packed, 11, 64, table, count, out)
    assert np.array_equal(out, table[codes])


@pytest.mark.parametrize("form", [Minifloat(3, 7), Minifloat(2, 3), Minifloat(5, 10)])
def test_the_code_of_every_value_is_its_own_and_between_them_the_nearest(form):
    codes = np.arange(1 << form.width, dtype=np.uint32)
    codes = codes[np.isfinite(values_of(form, codes))]
    values = values_of(form, codes).astype(np.float32)
    top = float(np.abs(values).max())
    out = np.empty(len(codes), np.uint32)
    arguments = (top, form.mantissa, form.emin, form.width)
    native.small_codes(values, len(values), *arguments, out)
    assert np.array_equal(out, codes)
    drawn = np.random.default_rng(2).uniform(-1.2 * top, 1.2 * top, 20_000).astype(np.float32)
    out = np.empty(len(drawn), np.uint32)
    native.small_codes(drawn, len(drawn), *arguments, out)
    ordered = np.unique(values.astype(np.float64))
    least = np.abs(ordered[:, None] - drawn[None, :2000].astype(np.float64)).min(0)
    found = np.abs(values_of(form, out[:2000]) - drawn[:2000].astype(np.float64))
    assert np.array_equal(found, least)


def test_what_does_not_fit_is_refused():
    codes, words = np.zeros(16, np.uint32), np.zeros(16, np.float32)
    packed, table = np.zeros(22, np.uint8), np.zeros(1 << 11, np.float32)
    native.lanes_words(packed, 11, 8, table, 16, words)
    wrong = [
        (packed[:-1], 11, 8, table, 16, words),
        (packed, 11, 8, table[:-1], 16, words),
        (packed, 11, 8, table, 16, words[:-1]),
        (packed, 11, 12, table, 16, words),
        (packed, 11, 0, table, 16, words),
        (packed, 0, 8, table, 16, words),
        (packed, 17, 8, table, 1, words),
        (packed, 32, 8, None, 1, words),
        (packed, 11, 8, table, -1, words),
        (packed, 11, 8, table, 1 << 62, words),
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match=r"expected|block"):
            native.lanes_words(*arguments)
    for arguments in (
        (codes, 11, 17, packed),
        (codes, 11, 16, packed[:-1]),
        (codes, 32, 1, packed),
    ):
        with pytest.raises(ValueError, match="expected"):
            native.lanes_pack(*arguments)
    for arguments in (
        (words, 17, 1.0, 7, -2, 11, codes),
        (words, 16, 1.0, 23, -2, 31, codes),
        (words, 16, 1.0, 7, -127, 11, codes),
        (words, 16, 1.0, 7, -2, 8, codes),
        (words, 16, 1.0, 7, -2, 11, codes[:-1]),
    ):
        with pytest.raises(ValueError, match="expected"):
            native.small_codes(*arguments)
    with pytest.raises(TypeError):
        native.small_codes(words, 16, "1", 7, -2, 11, codes)
