"""Models, stores and the places they lie in."""

import itertools

import numpy as np
import pytest

import p2uformat

COUNTER = itertools.count()


def fresh_name() -> str:
    """Return a name that no other test of this run has: servers are shared."""
    return f"store-{next(COUNTER)}"


def model_of(seed: int, layers: int = 6, size: int = 128) -> dict[str, np.ndarray]:
    """Return small weights: matrices of a few chunks each, and biases that share chunks."""
    rng = np.random.default_rng(seed)
    model = {
        f"l.{i}.w": rng.standard_normal((size, size)).astype(np.float32) for i in range(layers)
    }
    model |= {f"l.{i}.b": rng.standard_normal(size).astype(np.float32) for i in range(layers)}
    return model


def changed(model, names, seed: int, by: float = 1e-4) -> dict[str, np.ndarray]:
    """Return the model with some tensors a little, or entirely, different."""
    rng = np.random.default_rng(seed)
    newer = dict(model)
    for name in names:
        newer[name] = (newer[name] + by * rng.standard_normal(newer[name].shape)).astype(np.float32)
    return newer


def same(artifact, model) -> bool:
    """Return whether an artifact gives a model back, bit for bit."""
    return set(artifact.keys()) == set(model) and all(
        artifact.get(name).tobytes() == array.tobytes() for name, array in model.items()
    )


@pytest.fixture(scope="session")
def model():
    return model_of(1)


@pytest.fixture(scope="session")
def packed(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "m.p2u"
    p2uformat.pack(model, path)
    return path


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def store(place):
    return p2uformat.Store(place)


@pytest.fixture(params=["local", "moto", "azurite", "gcs", "rclone", "radosgw"])
def anywhere(request, tmp_path):
    """Return a place for a store, and storage options: a folder, and each server there is."""
    if request.param == "local":
        return str(tmp_path / "store"), {}
    served = request.getfixturevalue(request.param)
    return f"{served.url}{fresh_name()}", served.options
