"""Small floats: every code, every pattern, and the formats that others define."""

from __future__ import annotations

import warnings
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2uformat import InvalidArgument
from p2uformat.floats import FORMATS
from p2uformat.quant.binary64 import source_values
from p2uformat.quant.minifloat import Minifloat, encode, holds, values_of, words_of
from p2uformat.quant.packed import dequantize, quantize
from p2uformat.quant.transform import Transform

F32 = FORMATS["F32"]

KNOWN = [
    (Minifloat(5, 10), np.float16),
    (Minifloat(8, 7), ml_dtypes.bfloat16),
    (Minifloat(5, 2), ml_dtypes.float8_e5m2),
    (Minifloat(4, 3), ml_dtypes.float8_e4m3),
    (Minifloat(3, 4), ml_dtypes.float8_e3m4),
    (Minifloat(4, 3, specials="nan"), ml_dtypes.float8_e4m3fn),
    (Minifloat(2, 3, specials="finite"), ml_dtypes.float6_e2m3fn),
    (Minifloat(3, 2, specials="finite"), ml_dtypes.float6_e3m2fn),
    (Minifloat(2, 1, specials="finite"), ml_dtypes.float4_e2m1fn),
]
SMALL = [
    *(form for form, _ in KNOWN),
    Minifloat(3, 7),
    Minifloat(2, 3),
    Minifloat(1, 3),
    Minifloat(4, 0, specials="finite"),
    Minifloat(6, 0, 0, specials="nan"),
    Minifloat(3, 4, 0),
    Minifloat(3, 7, bias=-4, specials="finite"),
]


def _known_codes(values, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return values.astype(dtype).view(f"u{np.dtype(dtype).itemsize}")


@pytest.mark.parametrize(("form", "dtype"), KNOWN, ids=lambda item: getattr(item, "name", ""))
def test_values_are_those_of_formats_that_are_known(form, dtype):
    codes = np.arange(1 << form.width, dtype=np.uint32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = codes.astype(f"u{np.dtype(dtype).itemsize}").view(dtype).astype(np.float64)
    np.testing.assert_array_equal(values_of(form, codes), known)
    np.testing.assert_array_equal(np.signbit(values_of(form, codes)), np.signbit(known))


@pytest.mark.parametrize(("form", "dtype"), KNOWN, ids=lambda item: getattr(item, "name", ""))
def test_rounding_is_that_of_formats_that_are_known(form, dtype):
    values = values_of(form, np.arange(1 << form.width))
    values = np.unique(values[np.isfinite(values)])
    middles = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    over = values[-1] + (values[-1] - values[-2]) / np.array([4, 2, 1])
    over = np.minimum(over, np.finfo(np.float32).max)
    rng = np.random.default_rng(0)
    tried = np.concatenate(
        [
            values.astype(np.float32),
            middles,
            np.nextafter(middles, np.float32(np.inf)),
            np.nextafter(middles, np.float32(-np.inf)),
            over.astype(np.float32),
            np.array([0.0, -0.0, np.inf, -np.inf, 3e38], np.float32),
            (rng.standard_normal(100_000) * 10.0 ** rng.integers(-9, 6, 100_000)).astype(
                np.float32
            ),
        ]
    )
    expected = _known_codes(tried, dtype)
    np.testing.assert_array_equal(encode(form, F32, tried.view(np.uint32)), expected)
    wide = tried.astype(np.float64)
    np.testing.assert_array_equal(encode(form, FORMATS["F64"], wide.view(np.uint64)), expected)


@pytest.mark.parametrize(
    ("form", "name"),
    [(Minifloat(5, 10), "F16"), (Minifloat(8, 7), "BF16"), (Minifloat(5, 2), "F8_E5M2")],
)
def test_every_pattern_of_a_format_is_its_own_code(form, name):
    source = FORMATS[name]
    words = np.arange(1 << form.width).astype(source.word)
    np.testing.assert_array_equal(encode(form, source, words), words)
    np.testing.assert_array_equal(words_of(form, None, source, source, words), words)
    # By way of a wider dtype too: NaNs keep their leading bits.
    wide = words_of(form, None, F32, F32, words)
    np.testing.assert_array_equal(encode(form, F32, wide), words)


def test_every_pattern_of_float16_and_bfloat16_reads_as_numpy_reads_it():
    for form, dtype in KNOWN[:2]:
        codes = np.arange(1 << 16, dtype=np.uint16)
        made = words_of(form, None, F32, F32, codes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = codes.view(dtype).astype(np.float32)
        nan = np.isnan(known)
        np.testing.assert_array_equal(made[~nan], known.view(np.uint32)[~nan])
        assert np.isnan(made.view(np.float32)[nan]).all()
        assert (made[nan] >> 31 == codes[nan] >> 15).all()


def test_all_of_float32_at_its_own_width_comes_back():
    rng = np.random.default_rng(1)
    words = rng.integers(0, 1 << 32, 200_000, dtype=np.uint64).astype(np.uint32)
    edges = np.array([0, 1, 0x7F800000, 0x7F800001, 0x7FC00000, 0xFFFFFFFF, 0x80000000], np.uint32)
    words = np.concatenate([words, edges])
    form = Minifloat(8, 23)
    np.testing.assert_array_equal(encode(form, F32, words), words)
    np.testing.assert_array_equal(words_of(form, None, F32, F32, words), words)


@pytest.mark.parametrize("form", SMALL, ids=lambda form: f"{form.name}-{form.specials}")
@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16"])
def test_codes_come_back(form, name):
    source = FORMATS[name]
    codes = np.arange(1 << form.width)
    values = values_of(form, codes)
    words = words_of(form, None, source, source, codes)
    again = values_of(form, encode(form, source, words))
    exact = source_values(source, words)
    held = (exact == values) | np.isnan(values)
    np.testing.assert_array_equal(again[held], values[held])
    assert held.mean() > 0.1


@given(
    st.integers(1, 8).flatmap(lambda e: st.tuples(st.just(e), st.integers(1, 31 - e))),
    st.lists(st.floats(width=32), min_size=1, max_size=20),
)
def test_any_width_rounds_to_the_nearest(fields, numbers):
    form = Minifloat(*fields)
    values = np.array(numbers, np.float32)
    codes = encode(form, F32, values.view(np.uint32))
    made = values_of(form, codes)
    assert (codes < 1 << form.width).all()
    top = 1 << (form.width - 1)
    for value, code, near in zip(values.tolist(), codes.tolist(), made.tolist(), strict=True):
        if np.isnan(value):
            assert np.isnan(near)
            continue
        if not np.isfinite(near):
            # At least half a unit above the largest number.
            largest = values_of(form, np.array([form.largest_code, form.largest_code - 1]))
            half = (Fraction(largest[0]) - Fraction(largest[1])) / 2
            assert abs(value) == np.inf or abs(Fraction(value)) >= Fraction(largest[0]) + half
            continue
        error = abs(Fraction(value) - Fraction(near))
        for neighbour in (code - 1, code + 1):
            if (
                neighbour < 0
                or neighbour & top != code & top
                or neighbour % top > form.largest_code
            ):
                continue
            other = Fraction(float(values_of(form, np.array([neighbour]))[0]))
            away = abs(Fraction(value) - other)
            assert error < away or (error == away and code % 2 == 0)


def test_what_is_too_large_follows_the_specials():
    words = np.array([1e9, -1e9, np.inf, -np.inf, np.nan], np.float32).view(np.uint32)
    ieee = values_of(Minifloat(3, 4), encode(Minifloat(3, 4), F32, words))
    np.testing.assert_array_equal(ieee, [np.inf, -np.inf, np.inf, -np.inf, np.nan])
    nan = Minifloat(3, 4, specials="nan")
    assert np.isnan(values_of(nan, encode(nan, F32, words))).all()
    finite = Minifloat(3, 4, specials="finite")
    made = values_of(finite, encode(finite, F32, words[:4]))
    np.testing.assert_array_equal(made, [31.0, -31.0, 31.0, -31.0])


def test_a_transform_is_applied_before_the_one_rounding():
    form, transform = Minifloat(3, 7), Transform(1.0 + 2**-30, 2**-40)
    codes = np.arange(1 << 11)
    values = values_of(form, codes)
    finite = np.isfinite(values)
    expected = (values[finite] * transform.scale + transform.offset).astype(np.float32)
    made = words_of(form, transform, F32, F32, codes).view(np.float32)
    np.testing.assert_array_equal(made[finite], expected)
    half = words_of(form, transform, F32, FORMATS["F16"], codes).view(np.float16)
    once = (values[finite] * transform.scale + transform.offset).astype(np.float16)
    np.testing.assert_array_equal(half[finite], once)


def test_the_fit_is_that_of_least_squares():
    rng = np.random.default_rng(2)
    weights = (rng.standard_normal((300, 40)) * 0.05 + 0.01).astype(np.float32)
    plain = quantize(weights, Minifloat(2, 3))
    fitted = quantize(weights, Minifloat(2, 3, fit=True))
    assert fitted.transform is not None
    v, q = weights.astype(np.float64).ravel(), dequantize(plain, dtype="F64").ravel()
    scale, offset = np.polyfit(q, v, 1)
    assert fitted.transform.scale == pytest.approx(scale, rel=1e-9)
    assert fitted.transform.offset == pytest.approx(offset, rel=1e-6)
    errors = [np.square(dequantize(p, dtype="F64").ravel() - v).sum() for p in (plain, fitted)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("weights", [np.full(50, 0.25, np.float32), np.empty(0, np.float32)])
def test_where_nothing_can_be_fitted_nothing_is(weights):
    packed = quantize(weights, Minifloat(3, 7, fit=True))
    assert packed.transform is None
    np.testing.assert_array_equal(dequantize(packed), weights)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ((0, 7), {}),
        ((12, 7), {}),
        ((8, 24), {}),
        ((3, -1), {}),
        ((3, 7, 2), {}),
        ((3, 0), {}),
        ((3, 7), {"specials": "some"}),
        ((3, 7), {"bias": 2000}),
        ((3, 7), {"bias": -2000}),
        ((11, 20), {"bias": 1080, "specials": "finite"}),
    ],
)
def test_no_such_format(fields, options):
    with pytest.raises(InvalidArgument):
        Minifloat(*fields, **options)


def test_numbers_that_a_finite_format_cannot_hold():
    with pytest.raises(InvalidArgument, match="finite"):
        quantize(np.array([1, np.nan], np.float32), Minifloat(3, 4, specials="finite"))


@pytest.mark.parametrize("form", SMALL, ids=lambda form: f"{form.name}-{form.specials}")
@pytest.mark.parametrize("name", ["F16", "F8_E4M3", "F8_E5M2"])
def test_what_a_format_holds(form, name):
    source = FORMATS[name]
    for pattern in range(0, 1 << 8 * source.itemsize, 1 if source.itemsize == 1 else 97):
        words = np.array([pattern], source.word)
        codes = encode(form, source, words)
        (value,), (made,) = source_values(source, words), values_of(form, codes)
        same = np.isfinite(value) == np.isfinite(made) and np.isnan(value) == np.isnan(made)
        assert holds(form, source, words, codes) == (same and (form.sign == 1 or not value < 0))
