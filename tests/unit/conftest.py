"""One small artifact with several pages, for the tests that read."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import p2uformat


def make_arrays():
    rng = np.random.default_rng(5)
    arrays = {f"l.{i}": rng.standard_normal((64, 64 + i), np.float32) * 0.02 for i in range(3)}
    arrays["half"] = rng.standard_normal((80, 64)).astype(np.float16)
    arrays["brain"] = rng.standard_normal((90, 50)).astype(ml_dtypes.bfloat16)
    arrays["double"] = rng.standard_normal((70, 60))
    arrays["wide"] = rng.standard_normal((2, (1 << 19) - 1), np.float32)
    arrays["wider"] = rng.standard_normal((2, (1 << 19) + 3), np.float32)
    arrays["ids"] = np.arange(500, dtype=np.int64).reshape(50, 10)
    arrays["scalar"] = np.array(1.5, np.float32)
    arrays["empty"] = np.zeros((0, 5), np.float32)
    odd = rng.standard_normal((64, 64), np.float32)
    odd[0, :4] = np.inf, -np.inf, np.nan, -0.0
    arrays["odd"] = odd
    return arrays


@pytest.fixture(scope="session")
def arrays():
    return make_arrays()


@pytest.fixture(scope="session")
def checkpoint(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "m.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
    return path


@pytest.fixture(scope="session")
def artifact_path(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "m.p2u"
    p2uformat.pack(checkpoint, path)
    return path


@pytest.fixture(scope="session")
def small_path(arrays, tmp_path_factory):
    """Return an artifact that is small enough to damage everywhere."""
    folder = tmp_path_factory.mktemp("small")
    names = ("l.0", "l.1", "half", "ids", "scalar", "empty", "odd")
    safetensors.numpy.save_file({name: arrays[name] for name in names}, folder / "s.safetensors")
    p2uformat.pack(folder / "s.safetensors", folder / "s.p2u")
    return folder / "s.p2u"


@pytest.fixture(scope="session")
def paged_path(tmp_path_factory):
    """Return an artifact of several pages."""
    folder = tmp_path_factory.mktemp("paged")
    arrays = {f"t.{i:03}.{'x' * 100}": np.full((3, i + 1), i, np.int32) for i in range(400)}
    safetensors.numpy.save_file(arrays, folder / "p.safetensors")
    p2uformat.pack(folder / "p.safetensors", folder / "p.p2u")
    return folder / "p.p2u"
