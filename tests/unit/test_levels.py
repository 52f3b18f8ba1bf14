"""Levels: tables, norms, rounding, what is drawn, figures and their bounds; artifacts of them."""

from __future__ import annotations

import itertools
import math
import struct
from fractions import Fraction

import msgpack
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2uformat import InvalidArgument, Levels
from p2uformat.floats import FORMATS
from p2uformat.quant import levels as unit
from p2uformat.quant.levelcoding import encode_block, fitted_to, scan_block
from p2uformat.quant.leveltables import (
    NF4,
    exponential,
    uniform,
)
from p2uformat.quant.leveltally import entropy_bits, log2_fixed, most_bits, variance_bounds
from p2uformat.quant.quantizer import describe, parse_quantizer

# Generating takes a moment, on a machine that is busy too long.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TABLES = {
    "uniform": "uniform:4",
    "ternary": "uniform:1",
    "exponential": "exponential:4",
    "steep": "exponential:3:base=0.1",
    "fitted": "fitted:3",
    "nf4": "nf4",
    "explicit": "table=-1,-0.25,0,0.5,1",
    "no zero": "table=-1,-0.3,0.2,1",
    "two": "table=-1,1",
}


def codes_of(form, found, drawn=None):
    drawn = None if drawn is None else np.array(drawn, np.float64)
    return unit.encode(form, np.array(found, np.float64), drawn).tolist()


# Tables.


def test_tables_by_name():
    for s in (1, 2, 3, 10, 127):
        expected = [np.float32(j / s) for j in range(-s, s + 1)]
        assert list(uniform(s)) == expected
        assert Levels("uniform", s).count == 2 * s + 1
    for base in (0.5, 0.9, 0.1):
        form = Levels("exponential", 5, base=base)
        power, powers = 1.0, []
        for _ in range(5):
            powers.append(float(np.float32(power)))
            power *= float(np.float32(base))
        assert form.levels == (*(-x for x in powers), 0.0, *powers[::-1])
    assert exponential(2, 0.5) == (-1, -0.5, 0, 0.5, 1)
    assert len(NF4) == 16
    assert (NF4[0], NF4[7], NF4[-1]) == (-1, 0, 1)
    assert Levels("nf4").tier == "levels16"
    assert all(np.float32(x) == x for x in NF4)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"table": "other"}, "unknown table"),
        ({"table": [0.0]}, "1 levels"),
        ({"table": np.linspace(-1, 1, 257).tolist()}, "257 levels"),
        ({"table": [-1, 0.5, 0, 1]}, "ascend"),
        ({"table": [-1, 0, 1e-60, 1]}, "ascend"),
        ({"table": [-1, math.nan, 1]}, "ascend"),
        ({"table": [-2, 0, 1]}, "ascend"),
        ({"table": [-1, "x", 1]}, "no number"),
        ({"table": [-1, 0, 1], "s": 1}, "of its own|its own"),
        ({"table": "nf4", "s": 2}, "nf4"),
        ({"s": 0}, "0 levels above 0"),
        ({"s": 128}, "128 levels above 0"),
        ({"s": True}, "levels above 0"),
        ({"table": [-0.5, 0, 1]}, "stochastic rounding to levels"),
        ({"table": [-1, 0, 0.5]}, "stochastic rounding to levels"),
        ({"table": "exponential", "s": 127, "base": 0.1}, "ascend"),
        ({"base": 1.0}, "powers of"),
        ({"base": math.nan}, "powers of"),
        ({"bucket": 0}, "buckets of 0"),
        ({"bucket": 2**19 + 1}, "buckets of"),
        ({"bucket": 2.0}, "buckets of"),
        ({"norm": "l1"}, "norm 'l1'"),
        ({"rounding": "down"}, "rounding 'down'"),
        ({"scale": "F8_E4M3"}, "scale 'F8_E4M3'"),
        ({"generator": "pcg"}, "generator 'pcg'"),
        ({"seed": -1}, "seed -1"),
        ({"client": 2**64}, "client"),
        ({"round": 1.5}, "round 1.5"),
    ],
)
def test_no_such_levels(given_, words):
    with pytest.raises(InvalidArgument, match=words):
        Levels(**given_)


def test_a_table_may_end_within_if_rounding_is_to_the_nearest():
    form = Levels([-0.5, 0, 0.25], rounding="nearest")
    assert form.levels == (-0.5, 0.0, 0.25)
    assert codes_of(form, [-1.0, 1.0, -0.3, 0.1]) == [0, 2, 0, 1]
    with pytest.raises(InvalidArgument, match="not fitted yet"):
        _ = Levels("fitted", 2).levels


TEXTS = [
    "levels:uniform:4:bucket=512:l2:stochastic",
    "levels:uniform:127:bucket=1:max:nearest",
    "levels:exponential:4:base=0.899999976:bucket=7:l2:stochastic:F16:seed=7:client=8:round=9",
    "levels:fitted:2:bucket=524288:max:nearest:BF16",
    "levels:nf4:bucket=64:max:nearest",
    "levels:table=-1,-0.100000001,0,1:bucket=512:l2:stochastic:F64:seed=18446744073709551615",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back(text):
    form = parse_quantizer(text)
    assert describe(form) == text
    assert parse_quantizer(describe(form)) == form


def test_short_texts():
    assert parse_quantizer("levels:uniform") == Levels()
    assert parse_quantizer("levels:fitted:3:nearest").s == 3
    assert parse_quantizer("levels:table=-1,0,1") == Levels([-1, 0, 1])
    assert parse_quantizer("levels:uniform:f16").scale == "F16"


@pytest.mark.parametrize(
    "text",
    [
        "levels",
        "levels:",
        "levels:3",
        "levels:table=",
        "levels:table=-1,x,1",
        "levels:table=1",
        "levels:table=nan,1",
        "levels:uniform:l3",
        "levels:uniform:-1",
        "levels:uniform:4:4",
        "levels:uniform:bucket",
        "levels:uniform:bucket=x",
        "levels:uniform:base=x",
        "levels:uniform:table=-1,1",
        "levels:nf4:3",
    ],
)
def test_no_such_text(text):
    with pytest.raises(InvalidArgument):
        parse_quantizer(text)


# Norms.


def exact_norm(values, norm):
    """A lower bound of the norm, as a rational number squared or not."""
    numbers = [Fraction(float(v)) for v in values]
    return max(map(abs, numbers)) if norm == "max" else sum(v * v for v in numbers)


BIG_AND_SMALL = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e-300, 1e300, 1.7976931348623157e308, 1e-40]),
)


@patiently
@given(
    st.lists(BIG_AND_SMALL, min_size=1, max_size=24),
    st.sampled_from(["l2", "max"]),
    st.sampled_from(["F64", "F32", "F16", "BF16"]),
    st.integers(1, 9),
)
def test_norms_are_hardly_too_large_and_never_too_small(numbers, norm, scale, bucket):
    form = Levels(bucket=bucket, norm=norm, scale=scale)
    values = np.array(numbers, np.float64)
    fmt = form.scale_format
    norms = unit.bucket_norms(form, form.cut(len(values)), values)
    assert len(norms) == -(-len(values) // bucket)
    for number, word in enumerate(norms.tolist()):
        part = values[number * bucket : (number + 1) * bucket]
        most = max(map(abs, part.tolist()))
        if word > fmt.max_word:
            # Nothing finite is as large; the dtype has no larger number.
            largest = float(np.array([fmt.max_word], fmt.word).view(fmt.numpy)[0])
            exact = exact_norm(part, norm)
            relative = Fraction(1) - Fraction(1, 2**40)
            assert exact > Fraction(largest) ** (1 if norm == "max" else 2) * relative
            continue
        found = float(np.array([word], fmt.word).view(fmt.numpy)[0])
        assert found >= most
        below = float(np.array([max(word - 1, 0)], fmt.word).view(fmt.numpy)[0])
        if norm == "max":
            assert not word or below < most
        else:
            exact = exact_norm(part, norm)
            slack = Fraction(1) - Fraction(1, 2**40)
            # 2**-1074 is the step of the smallest: a norm of subnormals is rounded like any other.
            assert (Fraction(found) + Fraction(1, 2**1074)) ** 2 >= exact * slack
            step = Fraction(below) - Fraction(1, 2**1073)
            assert not word or step <= 0 or step**2 <= exact / slack


@patiently
@given(st.lists(BIG_AND_SMALL, min_size=1, max_size=24), st.sampled_from(["l2", "max"]))
def test_ratios_are_between_minus_one_and_one(numbers, norm):
    form = Levels(bucket=5, norm=norm, scale="F64")
    values, cut = np.array(numbers, np.float64), form.cut(len(numbers))
    norms = unit.bucket_norms(form, cut, values)
    if unit.holds(form, norms):
        found = unit.ratios(form, cut, norms, values)
        assert (np.abs(found) <= 1).all()
        assert (found[values == 0] == 0).all()


# Codes.


def test_codes_by_hand():
    form = Levels([-1, -0.5, 0, 0.25, 1], rounding="nearest")
    found = [-1, -0.8, -0.75, -0.7, -0.25, -0.2, 0, 0.12, 0.125, 0.13, 0.6, 0.625, 0.63, 1]
    # A tie goes to the even code.
    assert codes_of(form, found) == [0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3, 4, 4, 4]
    drawn = Levels([-1, -0.5, 0, 0.25, 1])
    # 0.1 is two fifths of the way from 0 to 0.25: up if what is drawn is below that.
    assert codes_of(drawn, [0.1] * 3, [0.0, 0.39, 0.41]) == [3, 3, 2]
    assert codes_of(drawn, [-0.9] * 2, [0.19, 0.21]) == [1, 0]
    # What is a level stays one, whatever is drawn.
    for level, code in zip(drawn.levels, range(5), strict=True):
        assert codes_of(drawn, [level] * 3, [0.0, 0.5, 1 - 2**-32]) == [code] * 3


@patiently
@given(
    st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=40, unique=True),
    st.lists(st.floats(-1, 1), min_size=1, max_size=30),
)
def test_nearest_is_nearest(table, found):
    form = Levels(
        sorted({float(np.float32(x)) + 0.0 for x in table} | {0.0, 1.0}), rounding="nearest"
    )
    for x, code in zip(found, codes_of(form, found), strict=True):
        away = [abs(Fraction(x) - Fraction(level)) for level in form.levels]
        # The two differences are rounded once each: they decide among what is as near as that.
        assert away[code] <= min(away) * (1 + Fraction(1, 2**50))


@patiently
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 2**64 - 1))
def test_stochastic_takes_a_neighbour(found, seed):
    for table in ("uniform", "exponential", "nf4"):
        form = Levels(table, seed=seed)
        levels = np.array(form.levels)
        drawn = unit.draw(form, "w", 0, len(found))
        made = levels[codes_of(form, found, drawn)]
        for x, level in zip(found, made.tolist(), strict=True):
            low, high = levels[levels <= x].max(), levels[levels >= x].min()
            assert level in (low, high)


# What is drawn.


@pytest.mark.parametrize("place", [(0, 0, 0, "w", 0), (7, 8, 2**64 - 1, "a/b.w", 1 << 19)])
def test_the_generator_by_another_way(place):
    seed, client, round_, name, start = place
    form = Levels(seed=seed, client=client, round=round_)
    message = msgpack.packb(["p2u levels", seed, client, round_, name, start])
    output = blake3(message).digest(4 * 1000)
    expected = [number / 2**32 for number in struct.unpack("<1000I", output)]
    assert unit.draw(form, name, start, 1000).tolist() == expected
    assert unit.draw(form, name, start, 10).tolist() == expected[:10]


def test_what_is_drawn_is_uniform_and_depends_on_everything():
    drawn = [
        unit.draw(Levels(seed=s, client=c, round=r), n, e, 20_000)
        for s, c, r, n, e in [
            (0, 0, 0, "w", 0),
            (1, 0, 0, "w", 0),
            (0, 1, 0, "w", 0),
            (0, 0, 1, "w", 0),
            (0, 0, 0, "v", 0),
            (0, 0, 0, "w", 1),
        ]
    ]
    for one in drawn:
        assert 0 <= one.min() < one.max() < 1
        counts = np.bincount((one * 64).astype(int), minlength=64)
        chi = ((counts - 312.5) ** 2 / 312.5).sum()
        assert 63 - 4 * math.sqrt(126) < chi < 63 + 4 * math.sqrt(126)
    for a, b in itertools.combinations(drawn, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(20_000)
    assert unit.draw(Levels(rounding="nearest"), "w", 0, 5) is None


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("name", ["uniform", "ternary", "exponential", "fitted", "explicit", "two"])
def test_rounding_is_unbiased_and_its_variance_as_expected(name, norm):
    rng = np.random.default_rng(5)
    values = rng.standard_normal(900) * np.exp(rng.standard_normal(900))
    values[:3] = 0.0, 4.0, -1e-9
    form = parse_quantizer(f"levels:{TABLES[name]}:bucket=100:{norm}")
    if form.entries is None:
        held, counts = scan_block(form, values)
        assert held
        form = fitted_to(form, counts)
    cut = form.cut(900)
    norms = unit.bucket_norms(form, cut, values)
    found = unit.ratios(form, cut, norms, values)
    norm_of = np.repeat(norms.view(np.float32).astype(np.float64), 100)
    table = np.array(form.levels)
    below = np.clip(np.searchsorted(table, found, "right") - 1, 0, len(table) - 2)
    variance = (found - table[below]) * (table[below + 1] - found) * norm_of**2
    draws, total, square = 600, np.zeros(900), 0.0
    for seed in range(draws):
        drawn = unit.draw(form.__class__(**_fields(form) | {"seed": seed}), "w", 0, 900)
        made = norm_of * table[unit.encode(form, found, drawn)]
        total += made
        square += ((made - values) ** 2).sum()
    # Each mean within 4 sigma but for one in ten thousand; their sum of squares as it has to be.
    sigma = np.sqrt(variance / draws)
    away = np.abs(total / draws - values)
    # A weight whose chance is tiny is hardly ever drawn: its mean is no normal number.
    usual = variance > 0
    chance = np.zeros(900)
    chance[usual] = ((found - table[below]) / (table[below + 1] - table[below]))[usual]
    usual &= (chance > 0.02) & (chance < 0.98)
    assert usual.sum() > 150
    assert (away[usual] > 4 * sigma[usual]).sum() <= 1
    assert abs((total / draws - values).sum()) <= 4 * math.sqrt(variance.sum() / draws)
    assert square / draws == pytest.approx(variance.sum(), rel=0.03)
    *_, tally = encode_block(form, "w", 0, values, FORMATS["F64"])
    assert tally.expected == pytest.approx(variance.sum(), rel=1e-12)
    assert tally.expected <= tally.bound


def _fields(form):
    names = ("table", "s", "base", "bucket", "norm", "rounding", "scale", "entries")
    return {name: getattr(form, name) for name in names}


# Figures.


@patiently
@given(
    st.sampled_from(sorted(TABLES)),
    st.sampled_from(["l2", "max"]),
    st.sampled_from(["F64", "F32", "BF16"]),
    st.sampled_from(["stochastic", "nearest"]),
    st.integers(1, 40),
    st.lists(
        st.one_of(
            st.floats(-1, 1),
            st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.5000001, 1.0, -1.0, 1e-9, 0.0625]),
            st.floats(-1e30, 1e30),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 100),
)
def test_no_variance_is_expected_above_its_bound(
    table, norm, scale, rounding, bucket, numbers, seed
):
    text = f"levels:{TABLES[table]}:bucket={bucket}:{norm}:{rounding}:{scale}:seed={seed}"
    form, values = parse_quantizer(text), np.array(numbers, np.float64)
    held, counts = scan_block(form, values)
    assert held
    if counts is not None:
        form = fitted_to(form, counts)
    sections, near, tally = encode_block(form, "w", 0, values, FORMATS["F64"])
    assert tally.expected <= tally.bound * (1 + 2**-40)
    assert tally.counts.sum() == len(values)
    assert entropy_bits(tally.counts) <= most_bits(form.count, len(values))
    assert tally.norm_bits == 8 * len(sections[0])
    if rounding == "nearest":
        away = near.view(np.float64) - values
        measured = float((away * away).sum())
        assert measured == pytest.approx(tally.expected, rel=1e-6, abs=1e-300)


def test_the_bound_is_that_of_qsgd():
    rng = np.random.default_rng(9)
    for s, n in ((1, 100), (4, 512), (16, 512), (64, 64)):
        x = rng.standard_normal(n)
        x /= np.linalg.norm(x)
        (bound,) = variance_bounds(uniform(s), np.array([float(n)]), np.array([(x * x).sum()]))
        assert bound <= min(n / s**2, math.sqrt(n) / s) * (1 + 1e-6)


@pytest.mark.parametrize(
    "table", [uniform(1), uniform(3), exponential(4, 0.5), exponential(3, 0.1), NF4, (-1, 0.2, 1)]
)
def test_no_bound_is_below_the_worst_that_can_be_found(table):
    """Of numbers of a given energy, the sum is largest where they are equal, or nearly."""
    levels = np.array(table, np.float64)
    grid = np.linspace(-1, 1, 4001)
    below = np.clip(np.searchsorted(levels, grid, "right") - 1, 0, len(levels) - 2)
    each = (grid - levels[below]) * (levels[below + 1] - grid)
    for n in (1, 7, 512):
        lengths = np.full(len(grid), float(n))
        bounds = variance_bounds(tuple(levels.tolist()), lengths, n * grid * grid)
        assert (n * each <= bounds * (1 + 1e-12)).all()
        # And it says something: at the worst place it is not many times what there is.
        assert bounds[each.argmax()] <= 4 * n * each.max()


def test_logarithms_and_entropies():
    for number in [*range(1, 300), 2**19, 2**40 + 1, 3**30, 2**62 - 1]:
        assert abs(log2_fixed(number) / 2**32 - math.log2(number)) < 2**-30
    assert entropy_bits([0, 0]) == entropy_bits([7]) == 0
    assert entropy_bits([1, 1, 1, 1]) == 8
    rng = np.random.default_rng(2)
    for codes in (2, 3, 5, 256):
        counts = rng.integers(0, 100_000, codes)
        n = counts.sum()
        exact = sum(c * math.log2(n / c) for c in counts.tolist() if c)
        assert exact - n * 2**-30 <= entropy_bits(counts) <= exact + n * 2**-30 + 1
        assert n * math.log2(codes) - 1 <= most_bits(codes, int(n)) <= n * math.log2(codes) + 2
