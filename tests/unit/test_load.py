"""Whole models at once, into fresh arrays or given ones, from a file or from its bytes."""

from __future__ import annotations

import numpy as np
import pytest

import p2uformat


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(3)
    return {
        "large": (rng.standard_normal((1100, 512)) * 0.04).astype(np.float16),
        "small": (rng.standard_normal((70, 64)) * 0.02).astype(np.float16),
        "bias": rng.standard_normal(9).astype(np.float16),
        "ids": np.arange(12, dtype=np.int64).reshape(3, 4),
        "empty": np.empty((0, 5), np.float32),
        "one": np.array(7, np.int32),
    }


@pytest.fixture(scope="module")
def packed(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("load") / "m.p2u"
    p2uformat.pack(arrays, path)
    return path


@pytest.mark.parametrize("kernels", p2uformat.available_kernels())
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tier", ["q4", "q8", "exact", None])
@pytest.mark.parametrize("dtype", [None, "F32", "BF16"])
def test_load_gives_what_get_gives(packed, arrays, kernels, threads, tier, dtype):
    before = p2uformat.kernels_in_use()
    p2uformat.use_kernels(kernels)
    try:
        with p2uformat.open(packed, threads=threads) as artifact:
            model = artifact.load(tier, dtype)
            assert list(model) == list(artifact.keys())
            given = {name: np.full_like(array, 1) for name, array in model.items()}
            again = artifact.load(tier, dtype, out=given)
            for name, array in model.items():
                floats = arrays[name].dtype.kind == "f"
                expected = artifact.get(name, tier, dtype=dtype if floats else None)
                assert array.dtype == expected.dtype
                assert array.shape == expected.shape
                assert array.tobytes() == expected.tobytes() == again[name].tobytes()
                assert again[name] is given[name]
                assert array.flags.writeable
    finally:
        p2uformat.use_kernels(before)


def test_the_exact_tier_is_the_original(packed, arrays):
    with p2uformat.open(packed) as artifact:
        model = artifact.load()
    assert all(model[name].tobytes() == array.tobytes() for name, array in arrays.items())


def test_only_what_is_named(packed):
    with p2uformat.open(packed) as artifact:
        assert list(artifact.load(names=["one", "small", "one"])) == ["one", "small"]
        with pytest.raises(p2uformat.TensorNotFound):
            artifact.load(names=["smal"])


def test_get_into_an_array(packed, arrays):
    with p2uformat.open(packed) as artifact:
        out = np.empty((40, 512), np.float16)
        assert artifact.get("large", rows=(1020, 1060), out=out) is out
        assert out.tobytes() == arrays["large"][1020:1060].tobytes()


@pytest.mark.parametrize(
    "wrong",
    [
        np.empty((70, 63), np.float16),
        np.empty((70, 64), np.float32),
        np.empty((64, 70), np.float16).T,
        np.empty((70, 64), np.float16)[::-1],
        [[0.0] * 64] * 70,
    ],
)
def test_arrays_that_do_not_fit_are_refused(packed, wrong):
    with p2uformat.open(packed) as artifact:
        with pytest.raises(p2uformat.InvalidArgument, match="small"):
            artifact.get("small", out=wrong)
        with pytest.raises(p2uformat.InvalidArgument, match="small"):
            artifact.load(names=["small"], out={"small": wrong})


def test_arrays_that_cannot_be_written_or_are_missing_are_refused(packed):
    fixed = np.empty((70, 64), np.float16)
    fixed.flags.writeable = False
    with p2uformat.open(packed) as artifact:
        with pytest.raises(p2uformat.InvalidArgument, match="writable"):
            artifact.get("small", out=fixed)
        with pytest.raises(p2uformat.InvalidArgument, match="no array for tensor 'small'"):
            artifact.load(names=["small"], out={})


def test_damage_in_one_of_many_is_named(packed, arrays):
    data = bytearray(packed.read_bytes())
    data[-2000] ^= 1
    with p2uformat.open(bytes(data), threads=2) as artifact:
        with pytest.raises(p2uformat.DigestMismatch) as caught:
            artifact.load()
        assert caught.value.tier == "exact"
        assert caught.value.tensor in {"large", "small"}
        assert artifact.load("q8").keys() == arrays.keys()


def test_the_bytes_of_a_file_do_as_well(packed, arrays, tmp_path):
    data = packed.read_bytes()
    with p2uformat.open(data) as artifact, p2uformat.open(packed) as file:
        assert artifact.path == "<bytes>"
        assert artifact.root == file.root
        for tier in ("q4", "exact"):
            mine, theirs = artifact.load(tier), file.load(tier)
            assert all(mine[name].tobytes() == theirs[name].tobytes() for name in arrays)
    assert p2uformat.verify(data, deep=True).ok
    p2uformat.unpack(data, tmp_path / "a.safetensors")
    p2uformat.unpack(packed, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_bytes_that_are_cut_off_or_damaged_are_told_like_a_file(packed):
    data = packed.read_bytes()
    with p2uformat.open(data[:-1]) as artifact:
        assert artifact.complete == ("q4", "q8")
        with pytest.raises(p2uformat.Incomplete):
            artifact.load("exact")
    assert not p2uformat.verify(data[:-1]).ok
    spoiled = bytearray(data)
    spoiled[len(data) // 2] ^= 4
    assert len(p2uformat.verify(bytes(spoiled)).damage) == 1
    with pytest.raises(p2uformat.NotAnArtifact):
        p2uformat.open(b"")
