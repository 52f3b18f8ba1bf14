"""Differences by the compiled kernels: the bytes of numpy, whatever the blocks are."""

import numpy as np
import pytest

from p2uformat.errors import Malformed
from p2uformat.floats import FORMATS
from p2uformat.kernels.compiled import CompiledKernels
from p2uformat.native import native_module
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.ladder import Ladder
from tests.kernel_cases import LEVELS
from tests.unit.test_difference import LADDERS, NUMPY, check_round_trip, ladders, pair

pytestmark = pytest.mark.skipif(not LEVELS, reason="nothing is compiled here")


def compiled(level):
    return CompiledKernels(native_module(), level)


def check_same(kernels, spec, made, known, row):
    (old, new), (parent, child) = made, known
    for name, arguments in (
        ("base_difference", (old.base, new.base, row)),
        *(("digits_difference", (parent, child, t, row)) for t in range(1, len(spec.digits))),
        ("exact_difference", (parent, child, row)),
    ):
        expected = getattr(NUMPY, name)(*arguments)
        assert getattr(kernels, name)(*arguments) == expected, name


@pytest.mark.parametrize("digits", LADDERS, ids=str)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_bytes_of_numpy(name, digits, sparse):
    rng = np.random.default_rng(11)
    fmt = FORMATS[name]
    for level in LEVELS:
        kernels = compiled(level)
        for n, row in ((1, 1), (7, 7), (501, 20), (5000, 50), (4100, 1024), (9000, 8)):
            for scale in (0, 1e-3, 0.3):
                words = pair(rng, fmt, n, scale, wild=0.03, sparse=sparse)
                known = ladders(rng, fmt, n, digits, words, sparse=sparse)
                check_same(kernels, *known, row)
    check_round_trip(kernels, *known, row)


def test_steps_far_from_the_weights():
    rng = np.random.default_rng(12)
    for name in FORMATS:
        fmt = FORMATS[name]
        words = pair(rng, fmt, 3000, 0.1, wild=0.5)
        for step in (-2000, -160, -30, 10, 130, 2000):
            steps = np.full(3, step, np.int16)
            spec = BlockSpec(
                fmt, 3000, 1000, -(-max(0, fmt.mantissa - 15) // 8), (0, 4), ((0, 0),) * 2
            )
            made = [NUMPY.encode_block(spec, w, steps, sparse=False, sums=False) for w in words]
            known = [
                Ladder(spec, layers.base, layers.refinements, w)
                for layers, w in zip(made, words, strict=True)
            ]
            check_same(compiled(LEVELS[0]), spec, made, known, 30)


def test_a_parent_with_other_digits_is_refused_as_numpy_does():
    rng = np.random.default_rng(13)
    fmt = FORMATS["F32"]
    words = pair(rng, fmt, 2000, 0.1)
    spec, _, (parent, child) = ladders(rng, fmt, 2000, (0, 4), words)
    for payload in (b"", parent.digits[0][:-1], parent.digits[0] + b"\0"):
        wrong = Ladder(spec, parent.base, (payload,), parent.words)
        for kernels in (NUMPY, compiled(LEVELS[-1])):
            with pytest.raises(Malformed):
                kernels.digits_difference(wrong, child, 1, 50)
            with pytest.raises(Malformed):
                kernels.exact_difference(wrong, child, 50)


def test_arguments_that_do_not_fit_are_refused():
    native = native_module()
    symbols, other = np.zeros(10, np.uint8), np.zeros(9, np.uint8)
    n, kinds = np.zeros(10, np.uint32), np.zeros(10, np.uint8)
    out, bits = np.empty(80, np.uint8), np.empty(88, np.uint8)
    for call in (
        lambda: native.base_numbers(symbols, other, False, kinds, out, bits),
        lambda: native.base_numbers(symbols, symbols, False, kinds + 5, out, bits),
        lambda: native.base_numbers(symbols, symbols, False, kinds, out, bits[:87]),
        lambda: native.base_numbers(symbols, symbols, False, kinds, out[:79], bits),
        lambda: native.digit_numbers(symbols, symbols, False, n, n[:9], kinds, 4, out, bits),
        lambda: native.digit_numbers(symbols, symbols, False, n, n, kinds, 25, out, bits),
        lambda: native.digit_numbers(symbols, symbols, False, n, n, kinds, 0, out, bits),
        lambda: native.kinds(symbols, symbols, False, n, n, 5, n[:1], n, out),
        lambda: native.kinds(symbols, symbols, False, n, n, 5, n, n[:4], out),
        lambda: native.indices(symbols, False, (4,), (), n),
        lambda: native.indices(symbols, False, (), (), n[:9]),
    ):
        with pytest.raises(ValueError, match=r"expected|no such|aligned|more weights"):
            call()
    with pytest.raises(TypeError):
        native.indices(symbols)
    assert native.indices(symbols, False, (4,), (b"\0" * 4,), n) is False
