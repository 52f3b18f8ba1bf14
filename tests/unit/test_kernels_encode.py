"""The kernels that write: in C and in numpy, at every level, to the byte the same."""

from importlib import import_module
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2uformat.codec.classes import COLUMNS, OCTAVES, Member
from p2uformat.floats import FORMATS
from p2uformat.kernels import available_kernels, use_kernels
from p2uformat.kernels.compiled import CompiledKernels
from p2uformat.kernels.reference import NumpyKernels
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.histogram import BINS, CANDIDATES

LEVELS = [name for name in available_kernels() if name != "numpy"]
NUMPY = NumpyKernels()
LADDERS = [(0,), (0, 4), (0, 1, 4, 14), (0, 7), (0, 8), (0, 4, 12), (0, 24)]

pytestmark = pytest.mark.skipif(not LEVELS, reason="nothing is compiled here")


@pytest.fixture(params=LEVELS)
def compiled(request):
    yield CompiledKernels(import_module("p2uformat._native"), request.param)
    use_kernels(available_kernels()[-1])


def every_word(fmt):
    """All patterns of a short format; of a long one, many of every exponent."""
    if fmt.itemsize <= 2:
        return np.arange(1 << (8 * fmt.itemsize), dtype=fmt.word)
    rng = np.random.default_rng(fmt.itemsize)
    return rng.integers(0, 1 << (8 * fmt.itemsize), 40_000, fmt.word)


def planes_for(fmt, digits):
    finest = 4 + digits[-1]
    return max(max(0, fmt.mantissa + 1 - finest) // 8, -(-max(0, fmt.mantissa - 15) // 8))


def same_layers(got, expected):
    assert got.base.payload() == expected.base.payload()
    assert got.base.outlier_words.dtype == expected.base.outlier_words.dtype
    assert got.refinements == expected.refinements
    assert got.exact == expected.exact
    assert got.sums == expected.sums
    assert got.energy == expected.energy


def check_block(kernels, fmt, words, steps, segment, digits, *, sparse):
    deltas = ((0, 0),) * len(digits)
    spec = BlockSpec(fmt, len(words), segment, planes_for(fmt, digits), digits, deltas)
    steps = np.asarray(steps, np.int16)
    expected = NUMPY.encode_block(spec, words, steps, sparse=sparse)
    same_layers(kernels.encode_block(spec, words, steps, sparse=sparse), expected)
    symbols = kernels.base_symbols(fmt, words, steps, segment, sparse=sparse)
    assert np.array_equal(symbols, expected.base.symbols)


def steps_of_interest(fmt):
    low, high = fmt.emin - fmt.mantissa, fmt.max_field + fmt.emin
    middle = [fmt.emin + d for d in (-3, 0, 1, 9, 14)] + [-8, -7, -1, 0]
    return sorted({low - 40, low - 1, low, low + 4, *middle, high - 6, high + 3})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("sparse", [False, True])
def test_blocks_of_every_pattern(compiled, name, sparse):
    fmt = FORMATS[name]
    words = every_word(fmt)
    for step, digits in product(steps_of_interest(fmt), LADDERS):
        segment = 4096 if len(words) > 4096 else 100
        count = -(-len(words) // segment)
        check_block(compiled, fmt, words, [step] * count, segment, digits, sparse=sparse)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("count", "segment"), [(0, 5), (1, 1), (1, 9), (4097, 1000), (70, 7), (515, 512)]
)
def test_blocks_of_odd_lengths(compiled, name, sparse, count, segment):
    fmt = FORMATS[name]
    rng = np.random.default_rng(count)
    values = rng.standard_normal(count) * (rng.random(count) > 0.3)
    words = values.astype(fmt.numpy).view(fmt.word)
    steps = rng.integers(-6, 0, -(-count // segment))
    for digits in LADDERS:
        check_block(compiled, fmt, words, steps, segment, digits, sparse=sparse)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_blocks_as_they_usually_are(compiled, name):
    fmt = FORMATS[name]
    rng = np.random.default_rng(5)
    words = (rng.standard_normal(20_000) * 0.05).astype(fmt.numpy).view(fmt.word)
    steps = rng.integers(-9, -5, 20)
    for digits in LADDERS:
        check_block(compiled, fmt, words, steps, 1000, digits, sparse=False)


def test_steps_that_lie_anywhere(compiled):
    fmt = FORMATS["BF16"]
    words = every_word(fmt)[:300]
    steps = np.frombuffer(b"\0" + np.full(3, -7, np.int16).tobytes(), np.int16, 3, 1)
    check_block(compiled, fmt, words, steps, 100, (0, 4), sparse=False)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(["F64", "F32"]), sparse=st.booleans())
def test_blocks_of_any_words(data, name, sparse):
    fmt = FORMATS[name]
    top = (1 << (8 * fmt.itemsize)) - 1
    words = np.array(data.draw(st.lists(st.integers(0, top), min_size=1, max_size=80)), fmt.word)
    segment = data.draw(st.integers(1, 40))
    steps = [data.draw(st.integers(-1100, 1050)) for _ in range(-(-len(words) // segment))]
    digits = data.draw(st.sampled_from(LADDERS))
    native = import_module("p2uformat._native")
    for level in LEVELS:
        kernels = CompiledKernels(native, level)
        check_block(kernels, fmt, words, steps, segment, digits, sparse=sparse)


@pytest.mark.parametrize("name", FORMATS)
def test_histograms_of_segments(compiled, name):
    fmt = FORMATS[name]
    rng = np.random.default_rng(1)
    scaled = rng.standard_normal(9000) * np.exp2(rng.integers(-30, 9, 9000))
    with np.errstate(over="ignore"):
        usual = scaled.astype(fmt.numpy).view(fmt.word)
    for words in (every_word(fmt), rng.permutation(every_word(fmt)), usual, usual[:1], usual[:0]):
        for segment in (1, 7, 1000, 1 << 17):
            if len(words) // segment > 9000:
                continue
            got = compiled.segment_stats(fmt, words, segment)
            if not len(words):
                assert got.counts.shape == (0, BINS)
                continue
            expected = NUMPY.segment_stats(fmt, words, segment)
            assert got.counts.dtype == expected.counts.dtype
            assert np.array_equal(got.counts, expected.counts)
            assert np.array_equal(got.anchor, expected.anchor)
        assert compiled.zeros(fmt, words) == NUMPY.zeros(fmt, words)


def symbols_of(rng, count, scale, *, sparse):
    m = np.minimum(np.abs(rng.standard_normal(count) * scale), 127).astype(np.uint8)
    symbols = np.where(m == 127, m, m | (rng.integers(0, 2, count, np.uint8) << 7)).astype(np.uint8)
    if sparse:
        symbols[symbols >= 254] = 127
        symbols[rng.random(count) < 0.4] = 255
        symbols[rng.random(count) < 0.1] = 254
    else:
        symbols[symbols == 255] = 127
    return symbols


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("scale", [0.1, 3, 40, 200])
@pytest.mark.parametrize(
    ("count", "unit", "transposed"),
    [
        (384 * 100, 384, False),
        (1000, 300, False),
        (5, 256, False),
        (384 * 100, 384, True),
        (700 * 70, 700, True),
        (65 * 129, 65, True),
        (64 * 8192, 64, True),
        (8192 * 64, 8192, True),
        (1, 1, True),
    ],
)
def test_units_by_scale(compiled, sparse, scale, count, unit, transposed):
    rng = np.random.default_rng(count)
    symbols = symbols_of(rng, count, scale, sparse=sparse)
    units = -(-count // unit)
    if count > 1000:  # units of very different scale
        symbols[: count // 2] = symbols_of(rng, count // 2, 20, sparse=sparse)
    member = Member(symbols, unit, transposed)
    got, expected = compiled.pool(member, sparse=sparse), NUMPY.pool(member, sparse=sparse)
    assert np.array_equal(got.octaves, expected.octaves)
    assert np.array_equal(got.tables, expected.tables)
    merged, wanted = compiled.merge(got.tables), NUMPY.merge(got.tables)
    used = got.tables.any(1)
    assert np.array_equal(merged.names[used], wanted.names[used])
    assert merged.bits == wanted.bits
    for table in got.tables[used]:
        assert compiled.stream_bytes(table) == NUMPY.stream_bytes(table)
    for classes in (merged.names[got.octaves], rng.integers(0, 256, units).astype(np.uint8)):
        pieces = zip(
            compiled.sort_units(member, classes), NUMPY.sort_units(member, classes), strict=True
        )
        assert all(np.array_equal(a, b) for a, b in pieces)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 1 << 20), min_size=COLUMNS, max_size=COLUMNS))
def test_sizes_of_any_stream(counts):
    table = np.array(counts, np.int64)
    kernels = CompiledKernels(import_module("p2uformat._native"), LEVELS[0])
    assert kernels.stream_bytes(table) == NUMPY.stream_bytes(table)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_merging_of_any_tables(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    tables = rng.integers(0, data.draw(st.integers(1, 5000)), (OCTAVES, COLUMNS))
    tables[rng.random(OCTAVES) < data.draw(st.floats(0, 1))] = 0
    kernels = CompiledKernels(import_module("p2uformat._native"), LEVELS[0])
    got, expected = kernels.merge(tables), NUMPY.merge(tables)
    assert got.bits == expected.bits
    used = tables.any(1)
    assert np.array_equal(got.names[used], expected.names[used])


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 1000])
@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_arithmetic_of_the_planner(compiled, count, kind):
    rng = np.random.default_rng(count)
    width = len(CANDIDATES)
    counts = rng.integers(0, 60_000, (count, BINS)).astype(kind)
    counts[:, 100:] = 0
    classes = rng.integers(0, 5, (width, count)).astype(np.uint8)
    costs = rng.integers(0, 1 << 19, (5, width, BINS)).astype(np.float64)
    fixed = rng.integers(0, 1 << 40, (width, count))
    rate = compiled.rates(counts, classes, costs, fixed)
    assert np.array_equal(rate, NUMPY.rates(counts, classes, costs, fixed))
    for columns in (1, 4, 7):
        matrix = rng.integers(0, 1 << 18, (columns, BINS))
        products = compiled.products(counts, matrix)
        assert np.array_equal(products, NUMPY.products(counts, matrix))
    keys = rng.integers(0, 5 * width, count).astype(np.uint16)
    pooled = compiled.pool_counts(counts, keys, 5 * width)
    assert np.array_equal(pooled, NUMPY.pool_counts(counts, keys, 5 * width))
    tables = compiled.spread_tables(pooled.reshape(5, -1))
    assert np.array_equal(tables, NUMPY.spread_tables(pooled.reshape(5, -1)))
    assert np.array_equal(compiled.spread_costs(tables), NUMPY.spread_costs(tables))
    distortion = np.exp2(rng.uniform(-40, 40, (width, count)))
    distortion[rng.random((width, count)) < 0.2] = np.inf
    distortion[:, ::7] = np.inf
    distortion[3, 1::5] = distortion[4, 1::5]  # ties: the first wins
    rate[3, 1::5] = rate[4, 1::5]
    low, high = int(rate.min(0).sum()), int(rate.max(0).sum())
    for budget in (0, low, low + (high - low) // 50, (low + high) // 2, high + 1):
        got = compiled.search(distortion, rate, budget)
        for ours, theirs in zip(got, NUMPY.search(distortion, rate, budget), strict=True):
            assert np.array_equal(ours, theirs)


def test_bad_arguments_are_refused():
    native = import_module("p2uformat._native")
    words, steps = np.zeros(64, np.uint16), np.zeros(2, np.int16)
    out, small = np.zeros(4096, np.uint8), np.zeros(3, np.uint8)
    scratch = np.zeros(1 << 15, np.uint32)
    cells, energy = np.zeros(4096, np.uint64), np.zeros(2048, np.uint64)
    tables = np.zeros((OCTAVES, COLUMNS), np.int64)
    far = np.full(2, 5000, np.int16)
    block = (2, words, 32, steps, False)
    refused = [
        (native.zeros, (9, words)),
        (native.zeros, (1, small)),
        (native.survey, (2, words, 0, out, out, scratch)),
        (native.survey, (2, words, 32, small, steps, scratch)),
        (native.symbols, (2, words, 32, steps[:1], False, out)),
        (native.symbols, (2, words, 32, steps, False, small)),
        (native.symbols, (2, words, 32, far, False, out)),
        (native.split, (*block, (0, 0), 0, out, out, out, (out,), out, out, out)),
        (native.split, (*block, (0, 25), 0, out, out, out, (out,), out, out, out)),
        (native.split, (*block, (0, 4), 2, out, out, out, (out,), out, out, out)),
        (native.split, (*block, (0, 4), 0, out, out, out, (), out, out, out)),
        (native.split, (*block, (0, 4), 0, small, out, out, (out,), out, out, out)),
        (native.split, (*block, (0, 4), 0, out, out, out, (small,), out, out, out)),
        (native.split, (*block, (0, 4), 0, out, out, out, (out,), out, out, small)),
        (native.sums, (2, words, 32, steps, False, (0,), 1, 2, cells, energy, scratch)),
        (native.sums, (2, words, 32, steps, False, (0,), 0, 90, cells, energy, scratch)),
        (native.pool, (out, 100, True, False, tables, out, out, tables)),
        (native.pool, (out, 0, False, False, tables, out, out, tables)),
        (native.sort_units, (out, 1, False, small, scratch, out)),
        (native.merge_classes, (small, tables, out)),
        (native.stream_bytes, (small,)),
        (native.search, (energy, energy, out, 5, 48, out, out, scratch)),
        (native.rates, (out, 7, out, energy, energy, energy)),
        (native.products, (out, 7, energy, 1, energy)),
        (native.pool_counts, (out, 7, out, energy)),
        (native.spread_costs, (small, small, small, 1, energy, energy)),
    ]  # fmt: skip
    for function, arguments in refused:
        with pytest.raises((ValueError, BufferError)):
            function(*arguments) if function is not native.stream_bytes else function(arguments[0])
    with pytest.raises(TypeError):
        native.zeros(1)
