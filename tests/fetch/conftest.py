"""Artifacts to fetch, made once; a server for each test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import p2uformat


def weights(seed: int = 0, tensors: int = 6, rows: int = 512) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {f"layer.{i}": rng.standard_normal((rows, 256), np.float32) for i in range(tensors)}
    # Wide enough for several blocks, so that rows can be fetched apart.
    made["wide"] = rng.standard_normal((5000, 256), np.float32)
    made["steps"] = np.arange(9)
    return made


@pytest.fixture(scope="session")
def model() -> dict[str, np.ndarray]:
    return weights()


@pytest.fixture(scope="session")
def whole(model: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed model."""
    path = tmp_path_factory.mktemp("whole") / "m.p2u"
    p2uformat.pack(model, path)
    return path


@pytest.fixture(scope="session")
def next_version(model, whole, tmp_path_factory) -> dict[str, Path]:
    """The next version, as differences and alone: one tensor changed, one is new."""
    folder = tmp_path_factory.mktemp("next")
    rng = np.random.default_rng(9)
    newer = dict(model)
    newer["wide"] = model["wide"] + 1e-4 * rng.standard_normal((5000, 256), np.float32)
    newer["added"] = rng.standard_normal((600, 256), np.float32)
    p2uformat.pack(newer, folder / "child.p2u", parent=whole)
    p2uformat.squash(folder / "child.p2u", folder / "alone.p2u", parents=whole)
    return {"child": folder / "child.p2u", "alone": folder / "alone.p2u"}
