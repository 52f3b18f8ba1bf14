"""The forward passes that accuracy needs, in plain numpy (NHWC, float32)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# Always float32; typed loosely because numpy promotes half of the expressions below on paper only.
Floats = np.ndarray[Any, np.dtype[Any]]
Weights = Mapping[str, Floats]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Labels = np.ndarray[Any, np.dtype[np.int64]]

BATCH = 50
CIFAR_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
CIFAR_STD = np.array([0.229, 0.224, 0.225], np.float32)


def conv3x3(x: Floats, weight: Floats, stride: int = 1) -> Floats:
    """Convolve with 3 x 3 kernels and padding 1.

    Parameters
    ----------
    x
        Images, shape (N, H, W, C).
    weight
        Kernels as PyTorch keeps them, shape (O, C, 3, 3).
    stride
        Step between outputs.

    Returns
    -------
    Floats
        Shape (N, ceil(H / stride), ceil(W / stride), O).
    """
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]  # (N, H', W', C, 3, 3)
    n, high, wide = windows.shape[:3]
    # Channels last: the copy then moves runs of C values, three times faster than single ones.
    columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n * high * wide, -1)
    kernel = weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])
    product: Floats = columns @ kernel
    return product.reshape(n, high, wide, -1)


def batch_norm(x: Floats, weights: Weights, name: str) -> Floats:
    """Apply the batch norm `name` with its running statistics."""
    scale = weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"] + 1e-5)
    shifted: Floats = x * scale + (
        weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale
    )
    return shifted


def _residual(x: Floats, weights: Weights, name: str, stride: int) -> Floats:
    y = conv3x3(x, weights[f"{name}.conv1.weight"], stride)
    y = np.maximum(batch_norm(y, weights, f"{name}.bn1"), 0)
    y = batch_norm(conv3x3(y, weights[f"{name}.conv2.weight"]), weights, f"{name}.bn2")
    if stride == 2:
        # Option A: subsample, and pad the new channels with zeros on both sides.
        more = (y.shape[3] - x.shape[3]) // 2
        x = np.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (more, more)))
    total: Floats = np.maximum(y + x, 0)
    return total


def cifar_resnet(images: Bytes, weights: Weights) -> Floats:
    """Run a CIFAR ResNet (20, 44, 56, ...) on uint8 images and return the logits, (N, 10)."""
    x = ((images.astype(np.float32) / 255) - CIFAR_MEAN) / CIFAR_STD
    x = np.maximum(batch_norm(conv3x3(x, weights["conv1.weight"]), weights, "bn1"), 0)
    for stage in (1, 2, 3):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in weights:
            stride = 2 if stage > 1 and block == 0 else 1
            x = _residual(x, weights, f"layer{stage}.{block}", stride)
            block += 1
    logits: Floats = x.mean((1, 2)) @ weights["linear.weight"].T + weights["linear.bias"]
    return logits


def xray_cnn(images: Bytes, weights: Weights) -> Floats:
    """Run the chest X-ray CNN (three strided convolutions, two dense layers); logits, (N, 2)."""
    x: Floats = images.astype(np.float32)[..., None] / 255 - 0.5
    for layer in ("0", "2", "4"):
        x = np.maximum(conv3x3(x, weights[f"{layer}.weight"], 2) + weights[f"{layer}.bias"], 0)
    flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    hidden = np.maximum(flat @ weights["7.weight"].T + weights["7.bias"], 0)
    logits: Floats = hidden @ weights["9.weight"].T + weights["9.bias"]
    return logits


def accuracy(
    forward: Callable[[Bytes, Weights], Floats], weights: Weights, images: Bytes, labels: Labels
) -> float:
    """Return the share of images classified right, in percent."""
    right = 0
    for first in range(0, len(images), BATCH):
        logits = forward(images[first : first + BATCH], weights)
        right += int(np.sum(logits.argmax(1) == labels[first : first + BATCH]))
    return 100 * right / len(images)
