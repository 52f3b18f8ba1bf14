"""A small network in numpy, and the digits that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Model = dict[str, NDArray[Any]]
Data = tuple[NDArray[Any], NDArray[Any]]


def data(part: int, parts: int) -> Data:
    """Return a part of the digits and what they are."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    chosen = np.array_split(order, parts)[part]
    return (digits.data[chosen] / 16).astype(np.float32), digits.target[chosen]


def fresh() -> Model:
    """Return a model to begin with."""
    rng = np.random.default_rng(0)
    return {
        "in.weight": (rng.standard_normal((64, 128)) / 8).astype(np.float32),
        "in.bias": np.zeros(128, np.float32),
        "out.weight": (rng.standard_normal((128, 10)) / 11).astype(np.float32),
        "out.bias": np.zeros(10, np.float32),
    }


def right(model: Model, values: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the share of right answers."""
    return float((_forward(model, values)[1].argmax(1) == labels).mean())


def trained(model: Model, values: NDArray[Any], labels: NDArray[Any], steps: int) -> Model:
    """Return the model after some steps of gradient descent, on all of the data."""
    model = {name: array.astype(np.float32) for name, array in model.items()}
    rate = np.float32(0.5)
    for _ in range(steps):
        hidden, shares = _forward(model, values)
        shares[np.arange(len(labels)), labels] -= 1
        shares /= len(labels)
        below = (shares @ model["out.weight"].T) * (hidden > 0)
        model["out.weight"] -= rate * (hidden.T @ shares)
        model["out.bias"] -= rate * shares.sum(0)
        model["in.weight"] -= rate * (values.T @ below)
        model["in.bias"] -= rate * below.sum(0)
    return model


def _forward(model: Model, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    hidden = np.maximum(values @ model["in.weight"] + model["in.bias"], 0)
    logits = hidden @ model["out.weight"] + model["out.bias"]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return hidden, shares / shares.sum(1, keepdims=True)
