"""The ladder itself: every bit pattern of every dtype returns, and every tier keeps its bound."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2uformat.errors import Malformed
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels.reference import NumpyKernels
from p2uformat.quant.bitplane import BlockDecoder, BlockSpec, encode_block, is_sparse
from p2uformat.quant.layers import BaseLayer
from p2uformat.quant.rounding import cast_words, round_scaled

LADDERS = [(0,), (0, 4), (0, 1, 4, 12), (0, 3, 5), (0, 8), (0, 24)]


def _planes(fmt: FloatFormat) -> int:
    return -(-max(0, fmt.mantissa - 15) // 8)


def _spec(fmt: FloatFormat, count: int, segment: int, digits: tuple[int, ...]) -> BlockSpec:
    return BlockSpec(fmt, count, segment, _planes(fmt), digits, ((100, 120),) * len(digits))


def _opened(spec: BlockSpec, payload: bytes) -> BlockDecoder:
    return BlockDecoder(spec, BaseLayer.parse(spec.format, spec.weights, spec.segments, payload))


def roundtrip(
    fmt: FloatFormat, words: Any, steps: Any, segment: int, digits: tuple[int, ...], sparse: bool
) -> None:
    spec = _spec(fmt, len(words), segment, digits)
    layers = encode_block(spec, words, steps, sparse=sparse)
    decoder = BlockDecoder(spec, layers.base)
    step = np.repeat(steps.astype(int), segment)[: len(words)]
    with np.errstate(invalid="ignore"):
        original = words.view(fmt.numpy).astype(np.float64)
    for tier, d in enumerate(digits):
        if tier:
            decoder.refine(layers.refinements[tier - 1])
        values = decoder.values(fmt).view(fmt.numpy)
        finite = np.isfinite(original)
        with np.errstate(invalid="ignore"):
            got = values.astype(np.float64)
        assert np.isfinite(got[finite]).all()
        error = np.abs(got[finite] - original[finite])
        assert (error <= np.ldexp(1.0, step[finite] - d)).all()
        assert np.array_equal(np.signbit(got[finite]), np.signbit(original[finite]))
        assert np.array_equal(values.view(fmt.word)[~finite], words[~finite])
    assert np.array_equal(decoder.exact(layers.exact.payload()), words)


@pytest.mark.parametrize("digits", LADDERS)
@pytest.mark.parametrize("name", ["F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_every_pattern_returns(name: str, digits: tuple[int, ...]) -> None:
    fmt = FORMATS[name]
    words = np.arange(1 << (8 * fmt.itemsize)).astype(fmt.word)
    low = fmt.emin - fmt.mantissa
    for sparse in (False, True):
        for step in (
            low - 9,
            low - 1,
            low,
            low + 3,
            fmt.emin,
            fmt.emin + 5,
            -6,
            0,
            6,
            fmt.max_field,
        ):
            roundtrip(fmt, words, np.full(1, step, np.int16), len(words), digits, sparse)


@pytest.mark.parametrize("name", ["F32", "F64"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_wide_patterns_return(name: str, data: st.DataObject) -> None:
    fmt = FORMATS[name]
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    scale = data.draw(st.sampled_from([1e-310, 1e-44, 1e-38, 1e-4, 1.0, 1e30]))
    count = data.draw(st.integers(1, 700))
    values = (rng.standard_normal(count) * scale).astype(fmt.numpy)
    words = values.view(fmt.word).copy()
    wild = rng.random(count) < data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    noise = rng.integers(0, 2**63, count, dtype=np.uint64) * np.uint64(2)
    words[wild] = (noise >> np.uint64(64 - 8 * fmt.itemsize)).astype(fmt.word)[wild]
    words[rng.random(count) < 0.1] = 0
    segment = data.draw(st.integers(1, 300))
    centre = int(np.clip(np.floor(np.log2(scale)) - 2, -1090, 100))
    steps = rng.integers(centre - 4, centre + 3, -(-count // segment)).astype(np.int16)
    digits = data.draw(st.sampled_from(LADDERS))
    roundtrip(fmt, words, steps, segment, digits, data.draw(st.booleans()))


def _value(fmt: FloatFormat, word: int) -> Fraction:
    field, fraction = word >> fmt.mantissa, word & ((1 << fmt.mantissa) - 1)
    sig = fraction + ((1 << fmt.mantissa) if field else 0)
    return sig * Fraction(2) ** (max(field, 1) - 1 + fmt.emin - fmt.mantissa)


@pytest.mark.parametrize("name", list(FORMATS))
@given(integer=st.integers(0, 2**50), exponent=st.integers(-1130, 980))
@settings(max_examples=200, deadline=None)
def test_rounding_is_to_nearest_even(name: str, integer: int, exponent: int) -> None:
    fmt = FORMATS[name]
    word = int(round_scaled(fmt, np.array([integer], np.uint64), exponent)[0])
    exact = integer * Fraction(2) ** exponent
    if word > fmt.max_word:
        assert exact * 2 >= _value(fmt, fmt.max_word) * 2 + (
            _value(fmt, fmt.max_word) - _value(fmt, fmt.max_word - 1)
        )
        return
    gap = abs(_value(fmt, word) - exact)
    for other in (word - 1, word + 1):
        if 0 <= other <= fmt.max_word:
            away = abs(_value(fmt, other) - exact)
            assert gap < away or (gap == away and word % 2 == 0)


def test_cast_matches_numpy_where_numpy_rounds_once() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    with np.errstate(all="ignore"):
        expected = words.view(np.float32).astype(np.float16)
    got = cast_words(FORMATS["F32"], words, FORMATS["F16"]).view(np.float16)
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(got), nan)
    assert np.array_equal(got[~nan].view(np.uint16), expected[~nan].view(np.uint16))


def test_value_of_a_wide_bin_is_clamped_to_the_largest_finite() -> None:
    fmt = FORMATS["F8_E4M3"]
    words = np.array([0x7E, 0xFE], np.uint8)  # 448, -448
    layers = encode_block(_spec(fmt, 2, 2, (0,)), words, np.array([6], np.int16), sparse=False)
    spec = BlockSpec(fmt, 2, 2, 0, (0,), ((128, 255),))
    values = BlockDecoder(spec, layers.base).values(fmt)
    assert values.tolist() == [0x7E, 0xFE]


def test_sparse_rule_counts_both_zeros() -> None:
    fmt = FORMATS["F16"]
    words = np.full(640, 0x3C00, np.uint16)
    words[:5], words[5:10] = 0, 0x8000
    zeros = NumpyKernels().zeros(fmt, words)
    assert zeros == 10
    assert is_sparse(zeros, len(words))
    assert not is_sparse(zeros - 1, len(words))


def test_damaged_payloads_are_refused_not_crashed_on() -> None:
    fmt = FORMATS["F16"]
    rng = np.random.default_rng(1)
    words = (rng.standard_normal(500) * 0.02).astype(np.float16).view(np.uint16)
    spec = _spec(fmt, 500, 100, (0, 4))
    layers = encode_block(spec, words, np.full(5, -8, np.int16), sparse=False)
    base = layers.base.payload()
    for _ in range(300):
        spoiled = bytearray(base)
        spoiled[rng.integers(len(spoiled))] ^= 1 << int(rng.integers(8))
        try:
            decoder = _opened(spec, bytes(spoiled[: rng.integers(1, len(base) + 1)]))
            decoder.refine(layers.refinements[0])
            decoder.values(fmt)
            decoder.exact(layers.exact.payload())
        except Malformed:
            continue
    with pytest.raises(Malformed):
        _opened(spec, base[:-1])
