"""Random small artifacts of levels, and updates: library and reference read the same bits."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import p2uformat

DTYPES = [
    np.float64,
    np.float32,
    np.float16,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
]
TABLES = [
    "uniform:1",
    "uniform:4",
    "uniform:127",
    "exponential:5",
    "exponential:3:base=0.2",
    "fitted:1",
    "fitted:9",
    "nf4",
    "table=-1,-0.1,0.3,1",
    "table=-1,1",
]
QUANTIZERS = st.builds(
    ":".join,
    st.tuples(
        st.just("levels"),
        st.sampled_from(TABLES),
        st.sampled_from(["bucket=1", "bucket=3", "bucket=64", "bucket=512", "bucket=524288"]),
        st.sampled_from(["l2", "max"]),
        st.sampled_from(["stochastic", "nearest"]),
        st.sampled_from(["F64", "F32", "F16", "BF16"]),
        st.integers(0, 2**64 - 1).map("seed={}".format),
    ),
)


@st.composite
def models(draw):
    """A few tensors, of which some have weights that are odd."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = {"ids": np.arange(3)}
    for number in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 40)))
        values = rng.standard_normal(shape) * 10.0 ** draw(st.integers(-6, 1))
        values[rng.random(shape) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = 0
        dtype = draw(st.sampled_from(DTYPES))
        made[f"w{number}"] = values.astype(dtype)
    return made


def agree(reference, path, tiers=None):
    with p2uformat.open(path) as artifact:
        for tier in artifact.tiers if tiers is None else tiers:
            tensors = reference.read(path, tier)
            assert set(tensors) == set(artifact)
            for name, (dtype, shape, data) in tensors.items():
                info = artifact.info(name)
                assert (dtype, shape) == (info.dtype, info.shape)
                assert np.ascontiguousarray(artifact.get(name, tier=tier)).tobytes() == data
    assert p2uformat.verify(path, deep=True).ok


few = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@few
@given(models(), QUANTIZERS, st.booleans())
def test_reference_and_library_agree_on_levels(reference, tmp_path, model, quantizer, lossy):
    path = tmp_path / "m.p2u"
    p2uformat.pack(model, path, quantizer=quantizer, lossy=lossy, overwrite=True)
    agree(reference, path)


@few
@given(models(), QUANTIZERS | st.sampled_from(["affine:4", "minifloat:S1E4M3", None]), st.data())
def test_reference_and_library_agree_on_updates(reference, tmp_path, model, quantizer, data):
    base, path = tmp_path / "b.p2u", tmp_path / "u.p2u"
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    moved = {
        name: array
        if array.dtype.kind == "i"
        else (array.astype(np.float64) + 1e-3 * rng.standard_normal(array.shape)).astype(
            array.dtype
        )
        for name, array in model.items()
    }
    p2uformat.pack(model, base, overwrite=True)
    lossy = quantizer is not None and data.draw(st.booleans())
    numbers = st.integers(0, 2**64 - 1)
    client, round_ = data.draw(numbers), data.draw(numbers)
    made = p2uformat.pack_update(
        moved,
        base,
        path,
        quantizer=quantizer,
        lossy=lossy,
        client=client,
        round=round_,
        weight=data.draw(st.floats(1e-300, 1e300)),
        overwrite=True,
    )
    assert made.update.bound is None or made.update.expected <= made.update.bound
    agree(reference, path)


@pytest.mark.parametrize("place", [0, 0.3, 0.7, 0.99])
def test_a_damaged_update_is_refused_by_both(reference, tmp_path, place):
    rng = np.random.default_rng(1)
    model = {"w": rng.standard_normal((40, 40)).astype(np.float32)}
    p2uformat.pack(model, tmp_path / "b.p2u")
    path = tmp_path / "u.p2u"
    p2uformat.pack_update(
        {"w": model["w"] * 1.01}, tmp_path / "b.p2u", path, quantizer="levels:uniform", lossy=True
    )
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(reference.RefError):
        reference.read(path)
    try:
        assert not p2uformat.verify(path, deep=True).ok
    except p2uformat.P2UError as error:
        assert error.code  # noqa: PT017 - either way of saying so
