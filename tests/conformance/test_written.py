"""What the library writes, the reference reads: to the same bits at every tier."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import p2uformat


def checkpoint() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    normal = rng.standard_normal((64, 80)) * 0.05
    pruned = np.where(rng.random((64, 80)) < 0.7, 0.0, normal)
    odd = normal.astype(np.float32)
    odd[0, :5] = np.inf, -np.inf, np.nan, -0.0, 1e-42
    return {
        "f64": normal,
        "f32": odd,
        "f16": normal.astype(np.float16),
        "bf16": normal.astype(ml_dtypes.bfloat16),
        "pruned": pruned.astype(np.float16),
        "zeros": np.zeros((64, 80), np.float32),
        "ids": np.arange(300, dtype=np.int64),
        "flag": np.array(True),
        "none": np.zeros((0, 4), np.float32),
    }


@pytest.fixture(scope="module")
def artifact_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    safetensors.numpy.save_file(checkpoint(), folder / "m.safetensors", metadata={"a": "b"})
    p2uformat.pack(folder / "m.safetensors", folder / "m.p2u")
    return folder / "m.p2u"


@pytest.mark.parametrize("tier", ["q4", "q8", "exact"])
def test_reference_and_library_agree(reference, artifact_path, tier):
    tensors = reference.read(artifact_path, tier)
    with p2uformat.open(artifact_path) as artifact:
        assert set(tensors) == set(artifact)
        for name, (dtype, shape, data) in tensors.items():
            info = artifact.info(name)
            assert (dtype, shape) == (info.dtype, info.shape)
            assert np.ascontiguousarray(artifact.get(name, tier=tier)).tobytes() == data


def test_some_tensors_are_quantized(artifact_path):
    with p2uformat.open(artifact_path) as artifact:
        kinds = {artifact.info(name).quantizer for name in artifact}
    assert kinds == {"bitplane", "opaque"}


def test_a_prefix_is_read_by_both(reference, artifact_path, tmp_path):
    data = artifact_path.read_bytes()
    short = tmp_path / "short.p2u"
    short.write_bytes(data[:-1])
    with p2uformat.open(short) as artifact:
        assert artifact.complete == ("q4", "q8")
        expected = {name: artifact.get(name, tier="q8").tobytes() for name in artifact}
    assert {name: row[2] for name, row in reference.read(short).items()} == expected
    with pytest.raises(reference.RefError) as caught:
        reference.read(short, "exact")
    assert caught.value.code == "incomplete"
