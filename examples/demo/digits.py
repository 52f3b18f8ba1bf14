"""A small classifier, trained in seconds on scikit-learn's digits, for accuracy per tier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import p2uformat

Array = np.ndarray[Any, np.dtype[Any]]

#: Two hidden layers of this width: two of the three matrices are large enough to be quantized.
WIDTH = 128


@dataclass(frozen=True, slots=True)
class Digits:
    """Images that the classifier has not seen, shape (N, 64) in 0..1, and what they show."""

    images: Array
    labels: Array

    def accuracy(self, weights: Mapping[str, Array]) -> float:
        """Return the share classified right with these weights, in percent."""
        x = self.images
        for layer in range(3):
            if layer:
                x = np.maximum(x, 0)
            x = x @ np.asarray(weights[f"layers.{layer}.weight"], np.float32).T
            x = x + np.asarray(weights[f"layers.{layer}.bias"], np.float32)
        return 100 * float(np.mean(x.argmax(1) == self.labels))


def train(path: Path, iterations: int = 60) -> Digits:
    """Train, save the float32 weights to `path`, and return the held-out images."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    kept, held, kept_labels, held_labels = train_test_split(
        images, labels, test_size=0.4, random_state=0
    )
    # Epoch by epoch: `fit` would warn that so short a training has not converged.
    model = MLPClassifier((WIDTH, WIDTH), random_state=0)
    for _ in range(iterations):
        model.partial_fit(kept, kept_labels, classes=np.arange(10))
    tensors: dict[str, Array] = {}
    for layer, (matrix, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        tensors[f"layers.{layer}.weight"] = np.ascontiguousarray(matrix.T, np.float32)
        tensors[f"layers.{layer}.bias"] = np.asarray(bias, np.float32)
    save_file(tensors, path)
    return Digits(held, held_labels)


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy of the classifier at one tier, and the bits per weight it took to have it."""

    tier: str
    bits: float
    accuracy: float


def score_ladder(source: Path, packed: Path, ladder: tuple[str, ...], held: Digits) -> list[Score]:
    """Pack the classifier with a ladder and score it at each of its tiers."""
    summary = p2uformat.pack(source, packed, tiers=ladder, overwrite=True)
    scores: list[Score] = []
    bits = 0.0
    with p2uformat.open(packed) as artifact:
        for tier in summary.tiers:
            bits += tier.bits_per_weight
            weights = {name: artifact.get(name, tier=tier.name) for name in artifact}
            scores.append(Score(tier.name, bits, held.accuracy(weights)))
    return scores
