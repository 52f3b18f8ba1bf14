"""Artifacts of quantizers without a ladder: packing, reading, checking, versions, what is lossy."""

from __future__ import annotations

import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import p2uformat
from p2uformat import Affine, InvalidArgument, Minifloat, Policy, TierNotFound, quantize
from p2uformat.quant.binary64 import source_values
from p2uformat.quant.packed import dequantize
from p2uformat.quant.rounding import format_of

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
QUANTIZERS = [
    "minifloat:S1E3M7",
    "minifloat:S1E4M14:fit:finite",
    "minifloat:S1E2M3:finite",
    "affine:4:group=32",
    "affine:3:axis=1:asymmetric",
    "affine:8",
]


def model(seed=0):
    rng = np.random.default_rng(seed)
    weights = {
        f"layer.{i}.weight": (rng.standard_normal((40, 24)) * 0.3).astype(dtype)
        for i, dtype in enumerate(DTYPES)
    }
    weights["embedding"] = (rng.standard_normal((700, 1024)) * 0.02).astype(np.float32)
    weights["conv"] = rng.standard_normal((4, 3, 5, 5)).astype(np.float32)
    weights["odd"] = np.array([[np.nan, -0.0, np.inf, 1e30]], np.float32)
    weights["bias"] = rng.standard_normal(24).astype(np.float32)
    weights["step"] = np.arange(3)
    return weights


@pytest.fixture(scope="module")
def weights():
    return model()


def same(a, b):
    return a.keys() == b.keys() and all(a[n].tobytes() == b[n].tobytes() for n in a)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_weight_comes_back(tmp_path, weights, name):
    path = tmp_path / "m.p2u"
    summary = p2uformat.pack(weights, path, quantizer=name)
    assert [tier.name for tier in summary.tiers][1:] == ["exact"]
    assert not summary.lossy
    assert p2uformat.verify(path, deep=True, expect=summary.root).ok
    with p2uformat.open(path) as artifact:
        assert same(artifact.load(tier="exact"), weights)
        base = artifact.load(tier=artifact.tiers[0])
        for key, array in weights.items():
            info = artifact.info(key)
            if info.quantizer == "opaque":
                assert base[key].tobytes() == array.tobytes()
                continue
            packed = quantize(array, name)
            assert base[key].tobytes() == dequantize(packed).tobytes()
            away = np.abs(base[key].astype(np.float64) - array.astype(np.float64)).max()
            assert away <= info.max_error[0] <= away * (1 + 2**-30)
            norm = np.linalg.norm(array.astype(np.float64))
            rms = np.linalg.norm(base[key].astype(np.float64) - array.astype(np.float64)) / norm
            assert info.rms_error[0] == pytest.approx(rms, rel=1e-6)
            assert info.max_error[1] == info.rms_error[1] == 0
        assert artifact.info("odd").quantizer == "opaque"
        assert artifact.info("bias").quantizer == "opaque"
        assert artifact.info("embedding").quantizer.startswith(name.partition(":")[0])
    result = p2uformat.unpack(path, tmp_path / "again.safetensors")
    assert result.identical


def test_rows_and_other_dtypes(tmp_path, weights):
    path = tmp_path / "m.p2u"
    p2uformat.pack(weights, path, quantizer="affine:4:group=100")
    with p2uformat.open(path) as artifact:
        whole = artifact.get("embedding", tier="affine4")
        np.testing.assert_array_equal(
            artifact.get("embedding", tier="affine4", rows=(500, 640)), whole[500:640]
        )
        exact = artifact.get("embedding", dtype="F16")
        np.testing.assert_array_equal(exact, weights["embedding"].astype(np.float16))
        double = artifact.get("embedding", tier="affine4", dtype="F64")
        np.testing.assert_array_equal(double.astype(np.float32), whole)
        np.testing.assert_array_equal(
            artifact.get("embedding", tier="affine4", dtype="F16"), double.astype(np.float16)
        )


@pytest.mark.parametrize("name", ["minifloat:S1E3M7:fit", "affine:4:axis=0"])
def test_a_lossy_artifact_says_so(tmp_path, weights, name):
    source, path = tmp_path / "m.safetensors", tmp_path / "m.p2u"
    save_file({k: v for k, v in weights.items() if v.dtype.itemsize > 1}, source)
    summary = p2uformat.pack(source, path, quantizer=name, lossy=True, sha256=True)
    assert summary.lossy
    assert len(summary.tiers) == 1
    assert summary.tiers[0].max_error > 0
    assert summary.to_dict()["lossy"] is True
    assert p2uformat.verify(path, deep=True, expect=summary.root).ok
    with p2uformat.open(path) as artifact:
        assert artifact.complete == artifact.tiers
        assert "exact" not in artifact.tiers
        with pytest.raises(TierNotFound):
            artifact.load(tier="exact")
        rebuilt = artifact.load()
        # The file is named by the digest of what it was, which nobody claims to have.
        assert artifact.files[0].digest == "blake3:" + _blake3(source)
    result = p2uformat.unpack(path, tmp_path / "out.safetensors")
    assert not result.identical
    assert same(load_file(tmp_path / "out.safetensors"), rebuilt)
    assert not np.array_equal(rebuilt["embedding"], weights["embedding"])
    fetched = p2uformat.fetch(path, tmp_path / "f.p2u")
    assert fetched.whole
    assert (tmp_path / "f.p2u").read_bytes() == path.read_bytes()


def _blake3(path):
    from blake3 import blake3

    return blake3(path.read_bytes()).hexdigest()


def test_lossy_roots_stand_for_what_is_rebuilt(tmp_path, weights):
    """Packing what a lossy artifact gives back changes nothing but what is known of the source."""
    chosen = {"embedding": weights["embedding"], "conv": weights["conv"]}
    first = tmp_path / "1.p2u"
    p2uformat.pack(chosen, first, quantizer="minifloat:S1E3M7", lossy=True)
    with p2uformat.open(first) as artifact:
        rebuilt = artifact.load()
    p2uformat.pack(rebuilt, tmp_path / "2.p2u", quantizer="minifloat:S1E3M7", lossy=True)
    with p2uformat.open(tmp_path / "2.p2u") as artifact:
        assert same(artifact.load(), rebuilt)
        assert artifact.info("embedding").max_error == (0.0,)
    diff = p2uformat.diff(first, tmp_path / "2.p2u")
    assert sum(tier.changed + tier.added for tier in diff.tiers) == 0


@pytest.mark.parametrize("lossy", [False, True])
def test_every_flipped_bit_of_a_chunk_is_found(tmp_path, weights, lossy):
    path = tmp_path / "m.p2u"
    small = {"conv": weights["conv"]}
    p2uformat.pack(small, path, quantizer="affine:4:group=5", lossy=lossy)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<Q", data, 88)
    for at in range(start, len(data), max(1, (len(data) - start) // 40)):
        data[at] ^= 4
        report = p2uformat.verify(bytes(data), deep=True)
        assert not report.ok
        data[at] ^= 4
    assert p2uformat.verify(bytes(data), deep=True).ok


def test_children_share_what_did_not_change(tmp_path, weights):
    parent, child = tmp_path / "1.p2u", tmp_path / "2.p2u"
    form = Affine(bits=4, group=32)
    p2uformat.pack(weights, parent, quantizer=form)
    changed = dict(weights)
    changed["conv"] = weights["conv"] + np.float32(1)
    changed["bias"] = weights["bias"] + np.float32(1)
    summary = p2uformat.pack(changed, child, quantizer=form, parent=parent)
    alone = p2uformat.pack(changed, tmp_path / "3.p2u", quantizer=form)
    assert summary.root == alone.root
    assert summary.bytes < alone.bytes / 50
    assert p2uformat.verify(child, deep=True, parents=parent).ok
    with p2uformat.open(child, parents=parent) as artifact:
        assert same(artifact.load(), changed)
    squashed = p2uformat.squash(child, tmp_path / "4.p2u", parents=parent)
    assert (squashed.root, squashed.bytes) == (alone.root, alone.bytes)
    with pytest.raises(InvalidArgument, match="tiers affine4,exact"):
        p2uformat.pack(changed, tmp_path / "5.p2u", quantizer="affine:5", parent=parent)
    with pytest.raises(InvalidArgument, match="a quantizer of its own"):
        p2uformat.pack(changed, tmp_path / "5.p2u", parent=parent)
    lossy = tmp_path / "lossy.p2u"
    p2uformat.pack(weights, lossy, quantizer=form, lossy=True)
    grandchild = p2uformat.pack(
        changed, tmp_path / "6.p2u", quantizer=form, lossy=True, parent=lossy
    )
    assert grandchild.parent is not None
    assert p2uformat.verify(tmp_path / "6.p2u", deep=True, parents=lossy).ok


def test_a_redrawn_policy_shares_with_the_round_before(tmp_path, weights):
    """Other tensors are kept in the next round: their layers are others, whatever their names."""
    form = Minifloat(3, 7)
    paths = []
    for number in range(3):
        path = tmp_path / f"{number}.p2u"
        policy = Policy(keep=0.05, seed=1, round=number)
        more = {"parent": paths[-1], "parents": paths} if paths else {}
        p2uformat.pack(weights, path, quantizer=form, policy=policy, lossy=True, **more)
        assert p2uformat.verify(path, deep=True, parents=paths).ok
        paths.append(path)


def test_the_policy_is_recorded(tmp_path, weights):
    path = tmp_path / "m.p2u"
    policy = Policy(keep=0.02, seed=5, client=6, round=7, skip=("conv",))
    p2uformat.pack(weights, path, quantizer=Minifloat(3, 7), policy=policy)
    with p2uformat.open(path) as artifact:
        assert artifact.policy == policy
        kept = {
            name
            for name in artifact
            if artifact.info(name).quantizer == "opaque" and weights[name].ndim > 1
        }
    p2uformat.pack(weights, path, quantizer=Minifloat(3, 7), policy=Policy(), overwrite=True)
    with p2uformat.open(path) as artifact:
        assert artifact.policy == Policy()
    plain = tmp_path / "plain.p2u"
    p2uformat.pack(weights, plain)
    with p2uformat.open(plain) as artifact:
        assert artifact.policy is None
    assert kept > {"conv", "odd"}


def test_a_tenth_kept_exact_takes_the_bytes_that_it_should(tmp_path):
    """0.9 * 11 / 32 + 0.1 = 40.9 % of fp32, with what everything beside the weights takes."""
    rng = np.random.default_rng(3)
    layers = {
        f"h.{i}.{n}.weight": rng.standard_normal(s).astype(np.float32) * np.float32(0.05)
        for i in range(6)
        for n, s in (("q", (96, 96)), ("k", (96, 96)), ("up", (192, 96)), ("down", (96, 192)))
    }
    layers |= {f"h.{i}.bias": np.zeros(96, np.float32) for i in range(6)}
    for number in range(5):
        path = tmp_path / f"{number}.p2u"
        policy = Policy(keep=0.1, seed=7, round=number)
        form = Minifloat(3, 7)
        summary = p2uformat.pack(layers, path, quantizer=form, policy=policy, lossy=True)
        total = sum(array.nbytes for array in layers.values())
        weights = 1 - summary.quantized_parameters * 4 / total
        # Exact weights are compressed a little, and so are the codes: it is rather less than more.
        assert abs(weights - 0.1) < 0.017
        assert summary.tiers[0].bytes <= ((1 - weights) * 11 / 32 + weights) * total + 4096


def test_the_same_input_gives_the_same_bytes(tmp_path, weights):
    roots = set()
    for threads in (1, 2):
        path = tmp_path / f"{threads}.p2u"
        summary = p2uformat.pack(weights, path, quantizer="minifloat:S1E3M7:fit", threads=threads)
        roots.add((summary.root, summary.encoding_root))
    assert len(roots) == 1


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_every_pattern_of_a_dtype_comes_back(tmp_path, dtype):
    fmt = format_of(np.dtype(dtype))
    words = np.arange(1 << 8 * fmt.itemsize).astype(fmt.word).reshape(16, -1)
    for name in ("minifloat:S1E5M10", "minifloat:S1E8M7", "minifloat:S1E8M0:nan"):
        path = tmp_path / "m.p2u"
        p2uformat.pack({"w": words.view(dtype)}, path, quantizer=name, overwrite=True)
        assert p2uformat.verify(path, deep=True).ok
        with p2uformat.open(path) as artifact:
            assert artifact.get("w").view(fmt.word).tobytes() == words.tobytes()


def test_what_a_format_holds_is_not_turned_opaque(tmp_path):
    words = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    path = tmp_path / "m.p2u"
    summary = p2uformat.pack({"w": words.view(np.float16)}, path, quantizer="minifloat:S1E5M10")
    assert summary.quantized_parameters == 1 << 16
    assert summary.tiers[0].max_error == 0
    with p2uformat.open(path) as artifact:
        assert artifact.get("w", tier="s1e5m10").view(np.uint16).tobytes() == words.tobytes()
        assert np.isnan(source_values(format_of(np.dtype(np.float16)), words)).sum() == 2046


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantizer": "levels:3"}, "unknown quantizer"),
        ({"quantizer": "affine:9"}, "9 bits"),
        ({"quantizer": "minifloat:S1E8M24"}, "33 bits"),
        ({"quantizer": "affine:4:axis=3"}, "no axis 3"),
        ({"quantizer": "affine:4", "policy": Policy(only=("nothing*",))}, "names none"),
        ({"quantizer": "affine:4", "overrides": {"*": "exact"}}, "names none"),
        ({"quantizer": "affine:4", "overrides": {"*": "bits:4"}}, "exact only"),
        ({"quantizer": "affine:4", "tiers": "q4,exact"}, "tiers q4,exact"),
        ({"quantizer": "affine:4", "base_bits": 4.0}, "budget"),
        ({"policy": Policy()}, "without a quantizer"),
        ({"lossy": True}, "without a quantizer"),
    ],
)
def test_options_that_make_no_sense(tmp_path, weights, options, words):
    with pytest.raises(InvalidArgument, match=words):
        p2uformat.pack(weights, tmp_path / "m.p2u", **options)
    assert list(tmp_path.iterdir()) == []


def test_tiers_may_be_said_too(tmp_path, weights):
    path = tmp_path / "m.p2u"
    p2uformat.pack(weights, path, quantizer="affine:4", tiers="affine4,exact")
    assert p2uformat.verify(path).ok


def test_anatomy_knows_every_byte(tmp_path, weights):
    path = tmp_path / "m.p2u"
    summary = p2uformat.pack(weights, path, quantizer="affine:4:group=32:asymmetric")
    anatomy = p2uformat.anatomy(path)
    assert sum(part.bytes for part in anatomy.parts) == summary.bytes
    assert {part.kind for part in anatomy.parts} >= {"scales", "zero points", "codes", "residuals"}


def test_several_quantizers_by_name(tmp_path):
    rng = np.random.default_rng(3)
    model = {
        name: rng.standard_normal((64, 64)).astype(np.float32) for name in ("a.w", "b.w", "c.w")
    }
    forms = {"?.w": "affine:4", "b.*": "affine:8", "c.w": p2uformat.Minifloat(3, 7)}
    made = p2uformat.pack(model, tmp_path / "m.p2u", quantizer=forms)
    assert [tier.name for tier in made.tiers] == ["mixed", "exact"]
    alone = {}
    for name, form in (("a.w", "affine:4"), ("b.w", "affine:8"), ("c.w", forms["c.w"])):
        p2uformat.pack({name: model[name]}, tmp_path / "one.p2u", quantizer=form, overwrite=True)
        with p2uformat.open(tmp_path / "one.p2u") as one:
            alone[name] = one.get(name, tier=one.tiers[0]), one.info(name).quantizer
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        for name, (near, text) in alone.items():
            assert artifact.info(name).quantizer == text
            assert (artifact.get(name, tier="mixed") == near).all()
            assert (artifact.get(name) == model[name]).all()
    assert p2uformat.verify(tmp_path / "m.p2u", deep=True).ok
    some = p2uformat.pack(
        model, tmp_path / "s.p2u", quantizer={"a.*": "affine:4", "b.*": "affine:2"}
    )
    assert [tier.name for tier in some.tiers] == ["affine", "exact"]
    with p2uformat.open(tmp_path / "s.p2u") as artifact:
        assert artifact.info("c.w").quantizer == "opaque"
    for wrong in ({}, {"x*": "affine:4"}, {"a*": "nothing"}):
        with pytest.raises(InvalidArgument):
            p2uformat.pack(model, tmp_path / "no.p2u", quantizer=wrong)
    assert not (tmp_path / "no.p2u").exists()
