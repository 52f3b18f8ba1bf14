"""Levels in memory, in artifacts and in stores: what comes back, what is exact, what is shared."""

from __future__ import annotations

import contextlib
import itertools

import ml_dtypes
import numpy as np
import pytest

import p2uformat
from p2uformat import InvalidArgument, Levels, Malformed, PackedArray, dequantize, quantize
from p2uformat.floats import FORMATS
from p2uformat.quant.binary64 import source_values
from p2uformat.quant.rounding import format_of

DTYPES = [
    np.float64,
    np.float32,
    np.float16,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
]
NAMES = [
    "levels:uniform:4",
    "levels:uniform:1:bucket=1:max:nearest",
    "levels:exponential:7:bucket=33:seed=5",
    "levels:exponential:3:bucket=64:max:base=0.3:f64",
    "levels:fitted:2:bucket=100:f16",
    "levels:fitted:60:max:nearest:bf16:bucket=524288",
    "levels:nf4:bucket=64:max:nearest:f16",
    "levels:table=-1,-0.1,0,0.3,1:bucket=7",
    "levels:table=-0.5,0.25:nearest",
]


def model(seed=0):
    rng = np.random.default_rng(seed)
    weights = {
        f"layer.{i}.weight": (rng.standard_normal((40, 24)) * 0.3).astype(dtype)
        for i, dtype in enumerate(DTYPES)
    }
    weights["embedding"] = (rng.standard_normal((700, 800)) * 0.02).astype(np.float32)
    weights["zeros"] = np.zeros((5, 7), np.float32)
    weights["minus"] = np.full((5, 7), -0.0, np.float32)
    weights["tiny"] = (rng.standard_normal((9, 9)) * 1e-42).astype(np.float32)
    weights["mixed"] = np.array([[0.0, -0.0, 1e-45, -1e-30, 1.0, -1e4]] * 6, np.float32)
    weights["odd"] = np.array([[np.nan, 0, np.inf, 1]], np.float32)
    weights["bias"] = rng.standard_normal(24).astype(np.float32)
    weights["step"] = np.arange(3)
    return weights


@pytest.fixture(scope="module")
def weights():
    return model()


def wide(array):
    fmt = format_of(array.dtype)
    return source_values(fmt, np.ascontiguousarray(array).reshape(-1).view(fmt.word))


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_comes_back(tmp_path, weights, name):
    path = tmp_path / "m.p2u"
    summary = p2uformat.pack(weights, path, quantizer=name)
    assert [tier.name for tier in summary.tiers][1:] == ["exact"]
    assert p2uformat.verify(path, deep=True, expect=summary.root).ok
    with p2uformat.open(path) as artifact:
        base = artifact.tiers[0]
        near = artifact.load(tier=base)
        exact = artifact.load(tier="exact")
        for key, array in weights.items():
            assert exact[key].tobytes() == array.tobytes()
            info = artifact.info(key)
            if info.quantizer == "opaque":
                assert near[key].tobytes() == array.tobytes()
                continue
            away = np.abs(wide(near[key]) - wide(array)).max()
            assert away <= info.max_error[0] <= away * (1 + 2**-30)
        assert {k for k in weights if artifact.info(k).quantizer == "opaque"} == {
            "odd",
            "bias",
            "step",
        }
        assert (near["zeros"] == 0).all()
        rows = artifact.get("embedding", tier=base, rows=(300, 690))
        assert rows.tobytes() == near["embedding"][300:690].tobytes()
    assert p2uformat.unpack(path, tmp_path / "o.safetensors").identical
    again = p2uformat.pack(weights, tmp_path / "2.p2u", quantizer=name, threads=1)
    assert (again.root, again.encoding_root) == (summary.root, summary.encoding_root)


@pytest.mark.parametrize("name", NAMES)
def test_a_lossy_artifact_is_the_base_of_the_exact_one(tmp_path, weights, name):
    whole, path = tmp_path / "w.p2u", tmp_path / "m.p2u"
    p2uformat.pack(weights, whole, quantizer=name)
    summary = p2uformat.pack(weights, path, quantizer=name, lossy=True)
    assert summary.lossy
    assert p2uformat.verify(path, deep=True).ok
    with p2uformat.open(path) as artifact, p2uformat.open(whole) as other:
        assert artifact.tiers == other.tiers[:1]
        for key in weights:
            made = artifact.get(key)
            assert made.tobytes() == other.get(key, tier=other.tiers[0]).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_levels_times_norms(name, dtype):
    """Rebuilt in Python, from norms and codes by hand."""
    rng = np.random.default_rng(3)
    array = (rng.standard_normal((13, 11)) * 0.7).astype(dtype)
    packed = quantize(array, name)
    form = packed.quantizer
    fmt = form.scale_format
    buckets = -(-array.size // form.bucket)
    norms = source_values(fmt, np.frombuffer(packed.data, fmt.word, buckets))
    values, made = wide(array), dequantize(packed, dtype="F64").reshape(-1)
    table = np.array(form.levels)
    largest = float(ml_dtypes.finfo(dtype).max)
    gap = np.diff(table).max()
    for number in range(buckets):
        part = slice(number * form.bucket, (number + 1) * form.bucket)
        norm = norms[number]
        exact = np.abs(values[part]).max()
        if form.norm == "l2":
            exact = np.sqrt((values[part] ** 2).sum())
        assert exact * (1 - 1e-12) <= norm <= exact * (1 + 2.0**-7)
        products = np.clip(norm * table, -largest, largest)
        assert np.isin(made[part], products).all()
        within = np.abs(values[part]) <= norm * min(table[-1], -table[0])
        away = np.abs(made[part] - values[part])[within]
        limit = gap / 2 if form.rounding == "nearest" else gap
        assert (away <= norm * limit * (1 + 1e-12)).all()
    # One rounding to its dtype, and to others.
    for target in ("F32", "BF16", "F16"):
        once = dequantize(packed, dtype=target)
        assert once.tobytes() == made.astype(FORMATS[target].numpy).tobytes()
    own = dequantize(packed)
    assert own.reshape(-1).tobytes() == made.astype(dtype).tobytes()
    out = np.empty((13, 11), np.float32)
    assert dequantize(packed, out=out) is out


def test_in_memory_it_is_what_an_artifact_has_of_an_array_without_a_name(tmp_path):
    array = np.random.default_rng(0).standard_normal((50, 60)).astype(np.float32)
    for name in ("levels:uniform:2:max:nearest", "levels:fitted:3:nearest"):
        p2uformat.pack({"w": array}, tmp_path / "m.p2u", quantizer=name, overwrite=True)
        with p2uformat.open(tmp_path / "m.p2u") as artifact:
            near = artifact.get("w", tier=artifact.tiers[0])
        assert dequantize(quantize(array, name)).tobytes() == near.tobytes()


def test_arrays_in_memory_that_are_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(InvalidArgument, match="finite numbers only"):
            quantize(np.array([1, bad], np.float32), "levels:uniform")
    with pytest.raises(InvalidArgument, match="norms that F16 cannot hold"):
        quantize(np.array([1e6], np.float32), "levels:uniform:f16")
    with pytest.raises(InvalidArgument, match="cannot quantize"):
        quantize(np.arange(3), "levels:uniform")
    empty = quantize(np.empty((0, 3), np.float32), "levels:fitted:2")
    assert dequantize(empty).shape == (0, 3)


def test_damaged_arrays_in_memory_are_refused():
    packed = quantize(np.linspace(-1, 1, 64, dtype=np.float32), "levels:uniform:1:bucket=16:max")
    for data in (
        packed.data[:-1],
        packed.data + b"\0",
        b"",
        packed.data[:16],
        b"\0\0\x80\x7f" + packed.data[4:],
        b"\0\0\0\x80" + packed.data[4:],
    ):
        broken = PackedArray(packed.quantizer, packed.dtype, packed.shape, data)
        with pytest.raises(Malformed):
            dequantize(broken)


def test_what_norms_cannot_hold_is_kept_exact(tmp_path):
    model = {
        "large": np.array([[1e5, 1.0]], np.float32),
        "together": np.full((300, 2), 6e4, np.float32),  # their root is above the largest F16
        "fine": np.full((1, 1), 65504.0, np.float32),
    }
    path = tmp_path / "m.p2u"
    p2uformat.pack(model, path, quantizer="levels:uniform:f16", lossy=True)
    with p2uformat.open(path) as artifact:
        kinds = {name: artifact.info(name).quantizer.split(":")[0] for name in artifact}
        assert kinds == {"large": "opaque", "together": "opaque", "fine": "levels"}
        assert all(artifact.get(name).tobytes() == model[name].tobytes() for name in model)


def test_huge_numbers_are_not_rounded_to_infinity(tmp_path):
    most = np.finfo(np.float32).max
    half = ml_dtypes.finfo(ml_dtypes.bfloat16).max
    model = {
        "w": np.array([[most, -most, 1.0, 0.0]], np.float32),
        "b": np.array([[half, -half]], ml_dtypes.bfloat16),
        "d": np.array([[np.finfo(np.float64).max, 1.0]]),
    }
    path = tmp_path / "m.p2u"
    p2uformat.pack(model, path, quantizer="levels:uniform:2:max:nearest:f64")
    assert p2uformat.verify(path, deep=True).ok
    with p2uformat.open(path) as artifact:
        assert artifact.get("w", tier="levels5").tolist() == [[most, -most, 0, 0]]
        assert np.isfinite(artifact.get("b", tier="levels5").astype(np.float32)).all()
        assert artifact.get("d", tier="levels5").tolist() == [[np.finfo(np.float64).max, 0]]
    # Norms in bfloat16 are rounded up: what is then above the dtype's largest number is cut to it.
    packed = quantize(np.array([most * 0.99, -most * 0.99], np.float32), "levels:uniform:1:max:f64")
    assert np.isfinite(dequantize(packed)).all()


def test_a_tensor_of_several_blocks(tmp_path):
    """Buckets start anew with a block, and each block draws from its own first element."""
    count = (1 << 19) + 777
    array = np.random.default_rng(1).standard_normal((1, count)).astype(np.float32)
    form = Levels("uniform", 2, bucket=1000, seed=3)
    path = tmp_path / "m.p2u"
    p2uformat.pack({"w": array}, path, quantizer=form, lossy=True)
    assert p2uformat.verify(path, deep=True).ok
    from p2uformat.quant import levels as unit

    with p2uformat.open(path) as artifact:
        made = artifact.get("w").reshape(-1)
    for start, stop in ((0, 1 << 19), (1 << 19, count)):
        values = array.reshape(-1)[start:stop].astype(np.float64)
        cut = form.cut(stop - start)
        norms = unit.bucket_norms(form, cut, values)
        found = unit.ratios(form, cut, norms, values)
        codes = unit.encode(form, found, unit.draw(form, "w", start, stop - start))
        norm = np.repeat(norms.view(np.float32), 1000)[: stop - start].astype(np.float64)
        expected = (norm * np.array(form.levels)[codes]).astype(np.float32)
        assert made[start:stop].tobytes() == expected.tobytes()


def test_other_seeds_names_and_rounds_draw_otherwise(tmp_path):
    array = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    found = set()
    for name, form in (
        ("w", Levels()),
        ("v", Levels()),
        ("w", Levels(seed=1)),
        ("w", Levels(client=1)),
        ("w", Levels(round=1)),
    ):
        p2uformat.pack({name: array}, tmp_path / "m.p2u", quantizer=form, overwrite=True)
        with p2uformat.open(tmp_path / "m.p2u") as artifact:
            found.add(artifact.get(name, tier="levels9").tobytes())
    assert len(found) == 5


def test_what_inspect_says_names_the_quantizer(tmp_path, weights):
    path = tmp_path / "m.p2u"
    for text in (
        "levels:uniform:4:bucket=512:l2:stochastic:F16:seed=7:client=1:round=2",
        "levels:fitted:3:bucket=64:max:nearest",
        "levels:nf4:bucket=64:max:nearest",
        "levels:table=-1,-0.25,0,1:bucket=512:l2:stochastic",
    ):
        p2uformat.pack(weights, path, quantizer=text, overwrite=True)
        with p2uformat.open(path) as artifact:
            said = artifact.info("embedding").quantizer
        assert said == text, said


def test_children_in_a_store_share_what_did_not_change(tmp_path, weights):
    store = str(tmp_path / "store")
    form = Levels("uniform", 4, seed=1)
    p2uformat.pack(weights, f"{store}#m", quantizer=form, lossy=True)
    changed = dict(weights)
    changed["mixed"] = weights["mixed"] * np.float32(2)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    made = p2uformat.pack(changed, f"{store}#m", quantizer=form, lossy=True)
    grown = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) - size
    alone = p2uformat.pack(changed, tmp_path / "alone.p2u", quantizer=form, lossy=True)
    assert made.root == alone.root
    assert grown < alone.bytes / 5
    assert p2uformat.Store(store).verify().ok
    fetched = p2uformat.fetch(f"{store}#m@2", tmp_path / "f.p2u")
    assert fetched.whole
    with p2uformat.open(f"{store}#m@2") as artifact, p2uformat.open(tmp_path / "alone.p2u") as one:
        for name in changed:
            assert artifact.get(name).tobytes() == one.get(name).tobytes()


def test_children_in_a_file(tmp_path, weights):
    parent, child = tmp_path / "1.p2u", tmp_path / "2.p2u"
    form = Levels("exponential", 4, seed=1)
    p2uformat.pack(weights, parent, quantizer=form)
    changed = dict(weights)
    changed["mixed"] = weights["mixed"] * np.float32(2)
    summary = p2uformat.pack(changed, child, quantizer=form, parent=parent)
    alone = p2uformat.pack(changed, tmp_path / "3.p2u", quantizer=form)
    assert (summary.root, summary.bytes < alone.bytes / 20) == (alone.root, True)
    assert p2uformat.verify(child, deep=True, parents=parent).ok
    squashed = p2uformat.squash(child, tmp_path / "4.p2u", parents=parent)
    assert (squashed.root, squashed.bytes) == (alone.root, alone.bytes)
    diff = p2uformat.diff(parent, child, parents=parent)
    assert diff.to_dict()


def test_every_flipped_bit_is_found(tmp_path):
    array = np.random.default_rng(1).standard_normal((20, 30)).astype(np.float32)
    data = bytearray()
    for lossy in (False, True):
        path = tmp_path / "m.p2u"
        p2uformat.pack({"w": array}, path, quantizer="levels:fitted:2", lossy=lossy, overwrite=True)
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), 7):
            data[at] ^= 1 << at % 8
            with contextlib.suppress(p2uformat.P2UError):
                assert not p2uformat.verify(bytes(data), deep=True).ok
            data[at] ^= 1 << at % 8
        assert p2uformat.verify(bytes(data), deep=True).ok


def test_tables_by_tensor_are_their_own(tmp_path):
    rng = np.random.default_rng(4)
    model = {
        "n": rng.standard_normal((80, 80)).astype(np.float32),
        "l": np.exp(3 * rng.standard_normal((80, 80))).astype(np.float32),
    }
    errors = {}
    for table in ("fitted:3", "uniform:3", "exponential:3"):
        path = tmp_path / "m.p2u"
        p2uformat.pack(model, path, quantizer=f"levels:{table}:max:nearest", overwrite=True)
        with p2uformat.open(path) as artifact:
            errors[table] = {name: artifact.info(name).rms_error[0] for name in model}
    for name, other in itertools.product(model, ("uniform:3", "exponential:3")):
        assert errors["fitted:3"][name] < errors[other][name]


def test_anatomy_knows_every_byte(tmp_path, weights):
    path = tmp_path / "m.p2u"
    summary = p2uformat.pack(weights, path, quantizer="levels:uniform:4")
    anatomy = p2uformat.anatomy(path)
    assert sum(part.bytes for part in anatomy.parts) == summary.bytes
    assert {part.kind for part in anatomy.parts} >= {"norms", "codes", "residuals"}
    assert "zero points" not in {part.kind for part in anatomy.parts}
