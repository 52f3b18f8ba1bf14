"""Small models and the data that they are trained on, for what `compressed` costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import peers

__all__ = ["Job", "Net", "jobs"]

Batch = tuple[torch.Tensor, torch.Tensor]

_CHARACTERS = 64  # of a text, that one pass reads
_TRAINED = 400_000  # characters; what follows is for the score


@dataclass(frozen=True, slots=True)
class Job:
    """A model and its data.

    Parameters
    ----------
    name
        What to print.
    make
        Makes the model.
    train
        Inputs and labels.
    test
        The same, for the score.
    batch
        Rows of a step.
    steps
        Steps of a training; 0 if it is only timed.
    rate
        Learning rate at first; it falls as a cosine.
    """

    name: str
    make: Callable[[], nn.Module]
    train: Batch
    test: Batch
    batch: int
    steps: int
    rate: float

    def batches(self, steps: int) -> Iterator[Batch]:
        """Yield random rows; what is drawn depends on PyTorch's seed."""
        for _ in range(steps):
            rows = torch.randint(len(self.train[0]), (self.batch,))
            yield self.train[0][rows], self.train[1][rows]


class Net(nn.Module):
    """Next characters of a text: an embedding, two layers of LSTM, a linear layer."""

    def __init__(self, kinds: int, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, width)
        self.lstm = nn.LSTM(width, width, 2, batch_first=True)
        self.head = nn.Linear(width, kinds)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Return logits, the classes in the second dimension."""
        logits: torch.Tensor = self.head(self.lstm(self.embedding(text))[0])
        return logits.transpose(1, 2)


class _Residual(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norms[1](self.second(functional.relu(self.norms[0](self.first(x)))))
        if y.shape != x.shape:
            more = (y.shape[1] - x.shape[1]) // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))
        return functional.relu(x + y)


def _resnet20() -> nn.Module:
    parts: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    before = 16
    for width in (16, 32, 64):
        for number in range(3):
            parts.append(_Residual(before, width, 2 if number == 0 and width != before else 1))
            before = width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _small_convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def jobs(folder: Path | None) -> list[Job]:
    """List the models whose data are present."""
    found = []
    if peers.has("sklearn"):
        found.append(_digits())
    if folder is not None and (folder / "charrnn" / "bronte.txt").is_file():
        found.append(_characters(folder / "charrnn" / "bronte.txt"))
    if folder is not None and (folder / "cifar10-resnet" / "test2000.npz").is_file():
        found.append(_images(folder / "cifar10-resnet" / "test2000.npz"))
    return found


def _digits() -> Job:
    from sklearn.datasets import load_digits

    value, kind = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(kind))
    images = torch.from_numpy(value[order].astype(np.float32) / 16).view(-1, 1, 8, 8)
    kinds = torch.from_numpy(kind[order])
    parts = (images[:1200], kinds[:1200]), (images[1200:], kinds[1200:])
    return Job("digits, convolutions", _small_convolutions, *parts, 60, 160, 0.1)


def _characters(path: Path) -> Job:
    raw = np.frombuffer(path.read_bytes()[: _TRAINED + 50_000], np.uint8)
    kinds, text = np.unique(raw, return_inverse=True)
    rows = torch.from_numpy(text[: len(text) // _CHARACTERS * _CHARACTERS]).view(-1, _CHARACTERS)
    pairs = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    cut = _TRAINED // _CHARACTERS
    parts = (pairs[0][:cut], pairs[1][:cut]), (pairs[0][cut:], pairs[1][cut:])
    return Job("text, LSTM", lambda: Net(len(kinds)), *parts, 32, 200, 2.0)


def _images(path: Path) -> Job:
    with np.load(path) as data:
        images = torch.from_numpy(data["x"].astype(np.float32) / 128 - 1).permute(0, 3, 1, 2)
        kinds = torch.from_numpy(data["y"].astype(np.int64))
    return Job("CIFAR-10, ResNet20", _resnet20, (images, kinds), (images, kinds), 128, 0, 0.1)
