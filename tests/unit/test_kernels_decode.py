"""Compiled kernels against numpy: every level gives the same bytes, and accepts no more."""

from __future__ import annotations

import os
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2uformat.floats import FORMATS
from tests.kernel_cases import (
    LADDERS,
    LEVELS,
    NUMPY,
    PLANES,
    TARGETS,
    Block,
    check_damaged,
    check_equal,
    numpy_in_use,
    rebuilt,
    room,
)
from tests.kernel_damage import damaged, random_block

pytestmark = pytest.mark.skipif(not LEVELS, reason="nothing is compiled here")
DELTAS = [(0, 0), (255, 255), (128, 1), (0, 255), (100, 120), (255, 0)]


@pytest.fixture(autouse=True)
def _levels_return():
    with numpy_in_use():
        yield


def _steps(fmt):
    low = fmt.emin - fmt.mantissa
    largest = fmt.max_field + fmt.emin - 1
    return sorted(
        {
            low - 9,
            low - 1,
            low,
            low + 3,
            fmt.emin,
            fmt.emin + 5,
            -10,
            -6,
            0,
            largest - 6,
            largest - 5,
            largest,
        }
    )


@pytest.mark.parametrize("digits", LADDERS)
@pytest.mark.parametrize("name", ["F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_every_pattern(name, digits):
    fmt = FORMATS[name]
    every = np.random.default_rng(1).permutation(1 << (8 * fmt.itemsize)).astype(fmt.word)
    finite = every[every & fmt.word.type((1 << fmt.sign_bit) - 1) <= fmt.max_word]
    for number, step in enumerate(_steps(fmt)):
        deltas = tuple(DELTAS[(number + i) % len(DELTAS)] for i in range(len(digits)))
        for sparse in (False, True):
            shape = [step], len(every), digits
            planes = PLANES[name][number % len(PLANES[name])]
            block = Block.of(fmt, every, *shape, sparse=sparse, planes=planes)
            assert check_equal(block, tiers=False) == len(LEVELS)
        # NaN has conventions of its own, which numpy alone knows.
        block = Block.of(fmt, finite, *shape, sparse=bool(number % 2), deltas=deltas)
        check_equal(block, exact=False)


@pytest.mark.parametrize("name", ["F32", "F64"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_wide_words(name, data):
    fmt = FORMATS[name]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from([1e-310, 1e-44, 1e-38, 1e-4, 1.0, 1e30, 3e38]))
    count = data.draw(st.integers(1, 1500))
    with np.errstate(over="ignore", under="ignore"):
        words = (rng.standard_normal(count) * scale).astype(fmt.numpy).view(fmt.word).copy()
    wild = rng.random(count) < data.draw(st.sampled_from([0.0, 0.01, 1.0]))
    words[wild] = np.frombuffer(rng.bytes(8 * count), fmt.word)[:count][wild]
    words[rng.random(count) < data.draw(st.sampled_from([0.0, 0.1, 1.0]))] = 0
    words[rng.random(count) < 0.02] = 1 << fmt.sign_bit
    segment = data.draw(st.sampled_from([1, 3, 100, 255, 256, 257, 999, 4096]))
    centre = int(np.clip(np.floor(np.log2(scale)) - 4, -1090, 120))
    steps = rng.integers(centre - 2, centre + 2, -(-count // segment)).astype(np.int16)
    digits = data.draw(st.sampled_from(LADDERS))
    sparse, planes = data.draw(st.booleans()), data.draw(st.sampled_from(PLANES[name]))
    deltas = tuple(data.draw(st.sampled_from(DELTAS)) for _ in digits)
    check_equal(
        Block.of(fmt, words, steps, segment, digits, sparse=sparse, planes=planes, deltas=deltas)
    )


def _weights(fmt, count, seed=0):
    values = np.random.default_rng(seed).standard_normal(count) * 0.02
    return values.astype(fmt.numpy).view(fmt.word).copy()


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1000, 1025])
@pytest.mark.parametrize("name", list(FORMATS))
def test_lengths_and_segments(name, count):
    fmt = FORMATS[name]
    words = _weights(fmt, count)
    rng = np.random.default_rng(count)
    for segment in (1, 3, 64, 255, 256, 300):
        for digits in ((0, 4), (0, 3, 5)) if segment > 1 else ((0, 4),):
            steps = rng.integers(-11, -9, -(-count // segment)).astype(np.int16)
            if segment == 3:  # runs of equal exponents, of every length
                steps = np.sort(steps)
            for sparse in (False, True):
                block = Block.of(fmt, words, steps, segment, digits, sparse=sparse)
                assert check_equal(block) >= len(LEVELS)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_outliers_and_zeros_at_the_borders_of_tiles(name):
    fmt = FORMATS[name]
    places = [0, 1, 15, 16, 62, 63, 64, 127, 128, 254, 255, 256, 257, 511, 512, 767, 768, 999]
    special = [0x3F80 << (8 * fmt.itemsize - 16), 0, 1 << fmt.sign_bit, 1]
    for planes in PLANES[name]:
        for word in special:
            for sparse in (False, True):
                words = _weights(fmt, 1000)
                words[places] = word
                block = Block.of(
                    fmt, words, [-10, -10, -11, -10], 256, (0, 4), sparse=sparse, planes=planes
                )
                assert check_equal(block) == 7 * len(LEVELS)


# Outputs of this size go past the caches, by whole lines: every way to begin and to end one.
@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("at", [0, 2, 4, 6, 32, 62, 1, 3])
def test_large_outputs_wherever_they_begin(name, at):
    fmt = FORMATS[name]
    for count, sparse, segment in ((1 << 17, False, 1 << 17), ((1 << 17) + 333, True, 1001)):
        words = _weights(fmt, count)
        words[::777] = 0
        words[5::1111] |= fmt.word.type(0x40 << (8 * fmt.itemsize - 8))
        steps = np.full(-(-count // segment), -10, np.int16)
        steps[::5] = -11
        planes = 2 if name == "F32" else 0
        block = Block.of(fmt, words, steps, segment, (0, 4), sparse=sparse, planes=planes)
        assert check_equal(block, at=at) == 7 * len(LEVELS)


@pytest.mark.parametrize("digits", [(0,), (0, 4)])
@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_every_reconstruction_byte(name, digits):
    fmt = FORMATS[name]
    words = np.arange(0, 128 << digits[-1], dtype=np.float64)
    words = np.ldexp(words, -10 - digits[-1]).astype(fmt.numpy).view(fmt.word)
    for delta in range(0, 256, 3):
        deltas = ((delta, 255 - delta),) * len(digits)
        block = Block.of(fmt, words, [-10], len(words), digits, sparse=False, deltas=deltas)
        assert check_equal(block) == (1 + len(digits) * 3) * len(LEVELS)


@pytest.mark.parametrize("target", ["F64", "F8_E4M3", "F8_E5M2"])
def test_what_is_not_covered_falls_back(target):
    block = random_block(np.random.default_rng(4), "F32")
    fmt = FORMATS[target]
    expected = rebuilt(NUMPY, block, 0, fmt, room(block, fmt)[0])
    from p2uformat.kernels.compiled import CompiledKernels

    for level in LEVELS:
        kernels = CompiledKernels(import_module("p2uformat._native"), level)
        assert np.array_equal(rebuilt(kernels, block, 0, fmt, room(block, fmt)[0]), expected)


@pytest.mark.parametrize("name", list(FORMATS))
def test_damage_is_accepted_only_where_numpy_accepts_it(name):
    rng = np.random.default_rng(len(name))
    accepted = tried = 0
    # Under a sanitizer each takes ten times as long, and only memory is looked at.
    for _ in range(15 if os.environ.get("P2U_SANITIZED") else 60):
        sound = random_block(rng, name)
        ways = [(len(sound.digits), None), (len(sound.digits), TARGETS[rng.integers(3)])]
        for _ in range(40):
            block = damaged(rng, sound)
            if rng.random() < 0.2:
                block = damaged(rng, block)
            accepted += check_damaged(block, ways)
            tried += len(ways) * len(LEVELS)
    # Neither all nor nothing: the bytes were compared, and the rules were tried.
    assert tried // 50 < accepted < tried // 2
