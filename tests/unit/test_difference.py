"""Layers as differences and back, by numpy: every format, ladder and kind of block."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2uformat.artifact.plan import planes_of
from p2uformat.codec.numbers import Scope, decode_numbers, encode_numbers
from p2uformat.codec.zstd import compress
from p2uformat.errors import Malformed
from p2uformat.floats import FORMATS
from p2uformat.kernels.reference import NumpyKernels
from p2uformat.quant import difference
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.ladder import Ladder

NUMPY = NumpyKernels()
LADDERS = [(0,), (0, 4), (0, 1), (0, 4, 12), (0, 3, 15, 24)]


def pair(rng, fmt, n, scale, *, wild=0.0, sparse=False):
    """Return the words of a parent and of a child that moved by `scale`."""
    old = rng.standard_normal(n) * 0.05
    new = old + rng.standard_normal(n) * 0.05 * scale * (rng.random(n) < 0.7)
    words = []
    for values in (old, new):
        made = values.astype(fmt.numpy).view(fmt.word).copy()
        count = int(n * wild)
        made[rng.integers(0, n, count)] = rng.integers(
            0, 2 ** min(63, 8 * fmt.itemsize), count
        ).astype(fmt.word)
        if sparse:
            made[rng.random(n) < 0.1] = 0
            made[rng.random(n) < 0.02] = fmt.word.type(1 << fmt.sign_bit)
        words.append(made)
    return words


def ladders(rng, fmt, n, digits, words, *, sparse=False):
    segment = max(1, n // 3)
    steps = rng.integers(-9, -4, -(-n // segment)).astype(np.int16)
    planes = planes_of(fmt, 4 + digits[-1])
    spec = BlockSpec(fmt, n, segment, planes, digits, ((0, 0),) * len(digits))
    made = [NUMPY.encode_block(spec, w, steps, sparse=sparse, sums=False) for w in words]
    return (
        spec,
        made,
        [
            Ladder(spec, layers.base, layers.refinements, w)
            for layers, w in zip(made, words, strict=True)
        ],
    )


def check_round_trip(kernels, spec, made, known, row):
    """Every layer comes back from its difference, fed with what came back before."""
    (old, new), (parent, child) = made, known
    parts = kernels.base_difference(old.base, new.base, row)
    base = kernels.from_base_difference(old.base, parts, spec.format.word)
    assert base.payload() == new.base.payload()
    digits = []
    for tier, expected in enumerate(new.refinements, 1):
        parts = kernels.digits_difference(parent, child, tier, row)
        below = Ladder(spec, base, tuple(digits))
        digits.append(kernels.from_digits_difference(parent, below, tier, parts))
        assert digits[-1] == expected
    parts = kernels.exact_difference(parent, child, row)
    exact = kernels.from_exact_difference(parent, Ladder(spec, base, tuple(digits)), parts)
    assert exact.payload() == new.exact.payload()


@pytest.mark.parametrize("digits", LADDERS, ids=str)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("sparse", [False, True])
def test_round_trip(name, digits, sparse):
    rng = np.random.default_rng(1)
    fmt = FORMATS[name]
    for n, row in ((1, 1), (50, 5), (5000, 50)):
        for scale in (0, 0.001, 0.1, 2):
            for wild in (0, 0.05):
                words = pair(rng, fmt, n, scale, wild=wild, sparse=sparse)
                check_round_trip(NUMPY, *ladders(rng, fmt, n, digits, words, sparse=sparse), row)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_opaque_round_trip(size):
    rng = np.random.default_rng(2)
    for count in (0, 1, 1000):
        old, new = rng.bytes(size * count), rng.bytes(size * count)
        for child in (old, new):
            parts = difference.opaque_difference(old, child, size)
            assert difference.from_opaque_difference(old, parts, size) == child
        assert not count or sum(map(len, difference.opaque_difference(old, old, size))) == 0


def test_a_small_step_takes_few_bytes():
    rng = np.random.default_rng(3)
    words = pair(rng, FORMATS["F32"], 1 << 16, 0.0001)
    _, made, (parent, child) = ladders(rng, FORMATS["F32"], 1 << 16, (0, 4), words)
    base = NUMPY.base_difference(made[0].base, made[1].base, 256)
    assert stored(base) < (1 << 16) / 8 * 0.05
    exact = NUMPY.exact_difference(parent, child, 256)
    assert stored(exact) < 0.75 * len(made[1].exact.payload())


def stored(parts):
    return sum(min(len(part), len(compress(part))) for part in parts)


@settings(max_examples=200)
@given(st.data())
def test_numbers_round_trip(data):
    kinds = data.draw(st.integers(1, 4))
    rows = data.draw(
        st.lists(st.tuples(st.integers(0, kinds - 1), st.integers(0, 64), st.booleans()))
    )
    values = []
    for _, width, signed in rows:
        width = width if signed else min(width, 63)
        low, high = (-(1 << width >> 1), (1 << width >> 1) - 1) if signed else (0, (1 << width) - 1)
        values.append(data.draw(st.integers(min(low, 0), max(high, 0))))
    kind, width, signed = (
        np.array([row[i] for row in rows], dtype)
        for i, dtype in ((0, np.uint8), (1, np.uint8), (2, np.bool_))
    )
    scope = Scope(
        kind, np.where(signed, width, np.minimum(width, 63)).astype(np.uint8), signed, kinds
    )
    parts = encode_numbers(scope, np.array(values, np.int64))
    assert decode_numbers(scope, parts).tolist() == values


def test_long_runs_of_zeros():
    values = np.zeros(5000, np.int64)
    values[[0, 255, 256, 1000, 4999]] = 1
    scope = Scope(np.zeros(5000, np.uint8), np.full(5000, 4, np.uint8), np.ones(5000, np.bool_), 1)
    parts = encode_numbers(scope, values)
    assert parts[0]
    assert decode_numbers(scope, parts).tolist() == values.tolist()


@pytest.mark.parametrize(
    "parts",
    [
        [b"", b"\1\1", b""],  # too few symbols to be all, no runs
        [b"\xff", b"", b""],  # a run that ends in nothing
        [b"\0\xff", b"\4", b"\0"],
        [b"\3", b"\4", b"\0"],  # behind the end
        [b"\0", b"\0", b""],  # a zero behind a run
        [b"", b"\0\x09\0", b""],  # a symbol above its width
        [b"", b"\0\4\0", b""],  # no bits
        [b"", b"\0\4\0", b"\0\0"],
        [b"", b"\0\4\0", b"\4"],  # padding
        [b"", b"\0\4\0"],
    ],
)
def test_wrong_numbers_are_refused(parts):
    scope = Scope(np.zeros(3, np.uint8), np.full(3, 4, np.uint8), np.ones(3, np.bool_), 1)
    with pytest.raises(Malformed):
        decode_numbers(scope, parts)
