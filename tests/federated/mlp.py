"""A small network in numpy, its data, and what a client does with it: for tests."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits


def data(seed: int = 0):
    """Return digits for training and for testing, shuffled."""
    digits = load_digits()
    values = (digits.data / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(values))
    values, labels = values[order], digits.target[order]
    return (values[:1400], labels[:1400]), (values[1400:], labels[1400:])


def fresh(seed: int = 0) -> dict[str, np.ndarray]:
    """Return weights to begin with: two matrices with a ladder, and vectors without."""
    rng = np.random.default_rng(seed)
    shapes = {"in.w": (64, 128), "mid.w": (128, 64), "out.w": (64, 10)}
    model = {
        name: (rng.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(np.float32)
        for name, shape in shapes.items()
    }
    sizes = {"in.b": 128, "mid.b": 64, "out.b": 10}
    return model | {name: np.zeros(size, np.float32) for name, size in sizes.items()}


def forward(model, values):
    """Return logits, and what came before them."""
    first = np.maximum(values @ model["in.w"] + model["in.b"], 0)
    second = np.maximum(first @ model["mid.w"] + model["mid.b"], 0)
    return second @ model["out.w"] + model["out.b"], first, second


def loss(model, values, labels) -> float:
    """Return the mean cross entropy."""
    logits = forward(model, values)[0]
    logits = logits - logits.max(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return float(-logs[np.arange(len(labels)), labels].mean())


def score(model, values, labels) -> float:
    """Return the share of right answers."""
    return float((forward(model, values)[0].argmax(1) == labels).mean())


def trained(model, values, labels, steps: int = 20, rate: float = 0.1, seed: int = 0):
    """Return the model after some steps of gradient descent."""
    rng = np.random.default_rng(seed)
    model = {name: array.copy() for name, array in model.items()}
    for _ in range(steps):
        chosen = rng.integers(0, len(values), 64)
        batch = values[chosen]
        logits, first, second = forward(model, batch)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        shares[np.arange(64), labels[chosen]] -= 1
        top = shares / 64
        middle = (top @ model["out.w"].T) * (second > 0)
        bottom = (middle @ model["mid.w"].T) * (first > 0)
        for name, below, above in (
            ("out", second, top),
            ("mid", first, middle),
            ("in", batch, bottom),
        ):
            model[f"{name}.w"] -= np.float32(rate) * (below.T @ above).astype(np.float32)
            model[f"{name}.b"] -= np.float32(rate) * above.sum(0).astype(np.float32)
    return model
