"""What clients train together: a network, its data, and how that is dealt out to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.sources import Array
from experiments import models, networks

__all__ = ["SPLITS", "Task", "dealt", "digits_mlp", "find", "large", "rays_net", "tasks"]

SPLITS = {"iid": None, "Dirichlet(0.3)": 0.3}
_FEWEST = 24  # rows that each client has
_TRAINED = 1400  # digits
_RAYS = 424  # X-rays of the 624
_TUNED = 1500  # images of CIFAR-10's test that ResNet20 is tuned on, of 2,000
_PYRAMID = (64, 256, 128, 64, 64, 10)
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Task:
    """A network with its data.

    Parameters
    ----------
    name
        What to print.
    make
        Makes the network; its values depend on PyTorch's seed.
    train, test
        Inputs and labels.
    clients
        How many there are.
    batch, steps, rate
        Rows of a step, steps of a client in a round, and their rate.
    rounds
        Of a run.
    """

    name: str
    make: Callable[[], nn.Module]
    train: Batch
    test: Batch
    clients: int
    batch: int
    steps: int
    rate: float
    rounds: int

    def fresh(self, seed: int) -> dict[str, Array]:
        """Return first weights."""
        torch.manual_seed(seed)
        state = self.make().state_dict()
        floats = {name: value for name, value in state.items() if value.is_floating_point()}
        return {name: value.numpy().copy() for name, value in floats.items()}

    def net(self, weights: dict[str, Array]) -> nn.Module:
        """Return the network with values, in memory of its own."""
        made = self.make()
        held = {name: torch.from_numpy(v.copy()) for name, v in weights.items()}
        made.load_state_dict(held, strict=False)
        return made

    def score(self, weights: dict[str, Array]) -> tuple[float, float]:
        """Return how much of the test is right, in percent, and the loss of all training rows."""
        net = self.net(weights).eval()
        with torch.inference_mode():
            right = net(self.test[0]).argmax(1) == self.test[1]
            loss = functional.cross_entropy(net(self.train[0]), self.train[1])
        return 100 * float(right.float().mean()), float(loss)


def digits_mlp() -> nn.Module:
    """Make a network of five layers, of 4 k to 33 k weights and a small last one."""
    parts: list[nn.Module] = []
    for before, width in pairwise(_PYRAMID):
        parts += [_he(nn.Linear(before, width)), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def rays_net() -> nn.Module:
    """Make a small CNN for images of 28 x 28 in uint8: three layers of 5 k to 33 k weights."""
    parts: list[nn.Module] = []
    for before, width in ((1, 16), (16, 32), (32, 64)):
        parts += [_he(nn.Conv2d(before, width, 3, 2, 1)), nn.ReLU()]
    dense = _he(nn.Linear(1024, 32)), nn.ReLU(), _he(nn.Linear(32, 2))
    return networks.XrayNet(*parts, nn.Flatten(), *dense)


def _he(layer: nn.Module) -> nn.Module:
    """Give a layer weights that keep the size of what goes through it (He et al. 2015)."""
    nn.init.kaiming_normal_(layer.weight)
    return layer


def tasks(data: Path | None, *, quick: bool) -> list[Task]:
    """List what can be trained here."""
    return list(_tasks(data, quick=quick))


def find(name: str, data: Path | None, *, quick: bool) -> Task:
    """Return the task of a name, as another process made it.

    Raises
    ------
    LookupError
        If there is none.
    """
    for task in _tasks(data, quick=quick):
        if task.name == name:
            return task
    raise LookupError(name)


def _tasks(data: Path | None, *, quick: bool) -> Iterator[Task]:
    digits = models.digits_data()
    if digits is not None:
        images, labels = digits[0].flatten(1), digits[1]
        parts = (images[:_TRAINED], labels[:_TRAINED]), (images[_TRAINED:], labels[_TRAINED:])
        clients, rounds = (4, 2) if quick else (8, 10)
        yield Task("digits", digits_mlp, *parts, clients, 24, 8, 0.1, rounds)
    if data is not None and not quick:
        yield from _rays(data / "pneumonia" / "test624.npz")


def _rays(path: Path) -> Iterator[Task]:
    if path.is_file():
        with np.load(path) as held:
            values = torch.from_numpy(held["x"])[:, None]
            labels = torch.from_numpy(held["y"].ravel().astype(np.int64))
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
        train, test = order[:_RAYS], order[_RAYS:]
        parts = (values[train], labels[train]), (values[test], labels[test])
        yield Task("chest X-rays", rays_net, *parts, 8, 16, 8, 0.1, 8)


def large(data: Path | None, rounds: int) -> Task | None:
    """Return the tuning of a ResNet20 that was trained on CIFAR-10, if its weights are present."""
    for model in models.real(data):
        if model.key.startswith("resnet20"):
            order = torch.from_numpy(np.random.default_rng(0).permutation(len(model.labels)))
            train, test = order[:_TUNED], order[_TUNED:]

            def make(path: Path = model.path) -> nn.Module:
                net = networks.CifarResNet(3)
                state = {k: torch.from_numpy(v.copy()) for k, v in models.state_of(path).items()}
                net.load_state_dict(state, strict=False)
                return net

            parts = (
                (model.inputs[train], model.labels[train]),
                (model.inputs[test], model.labels[test]),
            )
            return Task("ResNet20 tuned, CIFAR-10", make, *parts, 4, 32, 3, 0.01, rounds)
    return None


def dealt(labels: torch.Tensor, clients: int, alpha: float | None, seed: int) -> list[Array]:
    """Deal rows out to clients.

    Parameters
    ----------
    labels
        Of all rows.
    clients
        How many there are.
    alpha
        None: each has as many, at random. Otherwise each label is divided by shares that are drawn
        from a Dirichlet distribution (Hsu et al. 2019, arXiv 1909.06335), again until everyone has
        two dozen rows.
    seed
        What is drawn from.

    Examples
    --------
    >>> rows = dealt(torch.arange(200) % 4, 4, None, 0)
    >>> sorted(len(each) for each in rows), len(set(np.concatenate(rows)))
    ([50, 50, 50, 50], 200)
    """
    rng = np.random.default_rng((seed, 77))
    if alpha is None:
        return np.array_split(rng.permutation(len(labels)), clients)
    kinds = labels.numpy()
    while True:
        parts: list[list[Array]] = [[] for _ in range(clients)]
        for kind in np.unique(kinds):
            rows = rng.permutation(np.flatnonzero(kinds == kind))
            cuts = np.cumsum(rng.dirichlet([alpha] * clients))[:-1] * len(rows)
            for part, piece in zip(parts, np.split(rows, cuts.astype(int)), strict=True):
                part.append(piece)
        found = [np.concatenate(part) for part in parts]
        if min(map(len, found)) >= _FEWEST:
            return found
