"""Integer codes with scales: who shares one, what is rebuilt, and the difference to the source."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2uformat import InvalidArgument, Malformed
from p2uformat.floats import FORMATS
from p2uformat.quant import affine
from p2uformat.quant.affine import Affine
from p2uformat.quant.binary64 import add_up, as_scaled, source_values
from p2uformat.quant.packed import dequantize, quantize
from p2uformat.quant.quantizer import describe, parse_quantizer
from p2uformat.quant.ulp import from_residual, residual

FORMS = [
    Affine(4),
    Affine(8, axis=0),
    Affine(3, axis=1),
    Affine(5, axis=2),
    Affine(4, group=32),
    Affine(4, group=7, symmetric=False),
    Affine(2, group=5, scale="F16"),
    Affine(8, symmetric=False, scale="F64"),
    Affine(6, group=1, symmetric=False, scale="F32"),
]


def _slots(form, shape):
    """Return the number of each element's scale, the slow way."""
    index = np.indices(shape).reshape(len(shape), -1)
    if form.axis is not None:
        return index[form.axis]
    if form.group is None:
        return np.zeros(index.shape[1], int)
    rows = np.arange(index.shape[1]) // shape[-1]
    return rows * -(-shape[-1] // form.group) + index[-1] // form.group


@pytest.mark.parametrize("form", FORMS, ids=describe)
def test_each_weight_has_the_scale_of_its_own(form):
    shape = (6, 10, 37)
    slots = _slots(form, shape)
    cut = form.cut(shape, 0, slots.size)
    np.testing.assert_array_equal(cut.spread(np.arange(cut.count)), slots)


@pytest.mark.parametrize("form", [Affine(4, axis=0), Affine(4, axis=1), Affine(4, axis=2)])
def test_blocks_begin_in_the_middle_of_a_channel(form):
    shape = (4, 5, 6)
    whole = _slots(form, shape)
    for start, stop in [(0, 120), (6, 12), (36, 96), (90, 120), (0, 6)]:
        cut = form.cut(shape, start, stop)
        found = (cut.first + cut.spread(np.arange(cut.count))) % shape[form.axis]
        np.testing.assert_array_equal(found, whole[start:stop])


@pytest.mark.parametrize("form", FORMS, ids=describe)
@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_no_weight_is_further_than_half_a_step(form, name):
    fmt = FORMATS[name]
    weights = np.random.default_rng(0).standard_normal((6, 10, 37)).astype(fmt.numpy)
    packed = quantize(weights, form)
    values = weights.astype(np.float64).ravel()
    made = dequantize(packed, dtype="F64").ravel()
    cut = form.cut(weights.shape, 0, values.size)
    grid, codes = affine.parse_layer(form, cut, packed.data)
    steps = cut.spread(source_values(form.scale_format, grid.scales))
    # The rounding of a scale moves the ends: by 2^-8 of them at most, for BF16.
    slack = np.abs(values).max() * 2.0**-8
    assert (np.abs(made - values) <= steps / 2 + slack).all()
    assert codes.max() < 1 << form.bits
    np.testing.assert_array_equal(
        made,
        np.clip(
            steps * (codes.astype(float) - cut.spread(grid.zeros.astype(float))),
            -448 if name == "F8_E4M3" else None,
            448 if name == "F8_E4M3" else None,
        ),
    )


def test_what_is_rebuilt_never_leaves_the_dtype():
    weights = np.full((2, 64), 448, FORMATS["F8_E4M3"].numpy)
    made = dequantize(quantize(weights, Affine(4, group=64, scale="BF16")))
    assert np.isfinite(made.astype(np.float32)).all()
    huge = np.array([[1.7e308, -1.7e308, 1.0]])
    assert np.isfinite(dequantize(quantize(huge, Affine(2, scale="F64")))).all()
    assert np.isfinite(dequantize(quantize(huge, Affine(2)))).all()


@pytest.mark.parametrize("form", [Affine(4, group=4), Affine(4, group=4, symmetric=False)])
def test_groups_of_zeros_and_of_tiny_weights(form):
    weights = np.array([[0, 0, -0.0, 0, 1e-45, 0, 0, -1e-45, 1, 2, 3, 4]], np.float32)
    made = dequantize(quantize(weights, form))
    assert not made[0, :4].any()
    assert np.abs(made - weights).max() <= 4 / 7 / 2 + 2**-6


def test_equal_arrays_in_other_dtypes_of_output():
    weights = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    packed = quantize(weights, "affine:5:group=16")
    exact = dequantize(packed, dtype="F64")
    np.testing.assert_array_equal(dequantize(packed), exact.astype(np.float32))
    out = np.empty((64, 64), np.float16)
    assert dequantize(packed, out=out) is out
    np.testing.assert_array_equal(out, exact.astype(np.float16))
    assert packed.nbytes == 64 * 64 * 5 // 8 + 2 * 64 * 4


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 1},
        {"bits": 9},
        {"bits": 4, "group": 0},
        {"bits": 4, "group": 1 << 20},
        {"bits": 4, "axis": -1},
        {"bits": 4, "axis": 64},
        {"bits": 4, "axis": 0, "group": 32},
        {"bits": 4, "scale": "I8"},
    ],
)
def test_no_such_quantizer(options):
    with pytest.raises(InvalidArgument):
        Affine(**options)


def test_arrays_that_cannot_be_quantized():
    for array, form, words in [
        (np.arange(4), Affine(4), "int"),
        (np.array([1, np.inf], np.float32), Affine(4), "finite"),
        (np.ones(4, np.float32), Affine(4, axis=1), "axis 1"),
    ]:
        with pytest.raises(InvalidArgument, match=words):
            quantize(array, form)
    packed = quantize(np.ones((2, 2), np.float32), Affine(4))
    with pytest.raises(InvalidArgument, match="C-contiguous"):
        dequantize(packed, out=np.empty((2, 3), np.float32))
    with pytest.raises(InvalidArgument, match="no float dtype"):
        dequantize(packed, out=np.empty((2, 2), np.int32))


def test_layers_that_break_a_rule():
    form = Affine(3, group=2, symmetric=False)
    cut = form.cut((3, 5), 0, 15)
    good = quantize(np.ones((3, 5), np.float32), form).data
    affine.parse_layer(form, cut, good)
    for data in (
        good[:-1],
        good + b"\0",
        b"\x80\xff" + good[2:],
        b"\x80\x7f" + good[2:],
        good[:-1] + bytes([good[-1] | 0x80]),
        good[:21] + b"\xff" + good[22:],
    ):
        with pytest.raises(Malformed):
            affine.parse_layer(form, cut, data)


@pytest.mark.parametrize(
    "text",
    [
        "affine:4",
        "affine:8:axis=1",
        "affine:3:group=64:asymmetric:F16",
        "minifloat:S1E3M7",
        "minifloat:S0E4M4:nan:bias=3:fit",
    ],
)
def test_names_of_quantizers(text):
    assert describe(parse_quantizer(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "affine",
        "affine:x",
        "affine:4:bits=2",
        "affine:4:group=x",
        "minifloat",
        "minifloat:E3M7",
        "minifloat:S1E3M7:some",
        "levels:3",
        "",
    ],
)
def test_names_of_no_quantizer(text):
    with pytest.raises(InvalidArgument, match=r"quantizer|float"):
        parse_quantizer(text)


@pytest.mark.parametrize("name", ["F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_the_residual_leads_from_every_pattern_to_every_other(name):
    fmt = FORMATS[name]
    words = np.arange(1 << 8 * fmt.itemsize).astype(fmt.word)
    rng = np.random.default_rng(3)
    for near in (words, words[::-1], rng.permutation(words), np.zeros_like(words)):
        made = from_residual(fmt, residual(fmt, words, near), near)
        np.testing.assert_array_equal(made, words)


@given(
    st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1)), max_size=40)
)
def test_the_residual_of_wide_floats(pairs):
    for name in ("F32", "F64"):
        fmt = FORMATS[name]
        low = (1 << 8 * fmt.itemsize) - 1
        words = np.array([a & low for a, _ in pairs], fmt.word)
        near = np.array([b & low for _, b in pairs], fmt.word)
        np.testing.assert_array_equal(from_residual(fmt, residual(fmt, words, near), near), words)


def test_near_floats_have_small_residuals():
    fmt = FORMATS["F32"]
    near = np.array([1.0, 1.0, -1.0, 0.0, -0.0], np.float32)
    words = np.array(
        [
            np.nextafter(np.float32(1), np.float32(2)),
            1,
            np.nextafter(np.float32(-1), np.float32(0)),
            -0.0,
            0.0,
        ],
        np.float32,
    )
    made = np.frombuffer(residual(fmt, words.view("u4"), near.view("u4")), np.uint32)
    assert made.tolist() == [2, 0, 2, 1, 2]
    with pytest.raises(Malformed, match="expected 20 bytes, got 19"):
        from_residual(fmt, made.tobytes()[:-1], near.view("u4"))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=50))
def test_sums_are_in_the_order_of_the_specification(numbers):
    def halves(items):
        if len(items) < 2:
            return items[0] if items else 0.0
        half = -(-len(items) // 2)
        return halves(
            [
                x + items[half + i] if half + i < len(items) else x
                for i, x in enumerate(items[:half])
            ]
        )

    assert add_up(np.array(numbers, np.float64)) == halves(numbers)


@given(st.floats(min_value=0, allow_nan=False))
def test_figures_keep_32_bits(value):
    for up in (True, False):
        mantissa, exponent = as_scaled(value, up=up)
        assert mantissa < 1 << 32
        assert mantissa % 2 == 1 or (mantissa, exponent) == (0, 0)
        if 1e-290 < value < np.inf:
            made = float(np.ldexp(float(mantissa), exponent)) if value < 1e300 else value
            assert (made >= value) if up else (made <= value)
            assert abs(made - value) <= value * 2.0**-31
