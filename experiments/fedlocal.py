"""What a client does in a round: some steps, and what it has to say of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.sources import Array
from experiments.fedtasks import Task

__all__ = ["Lasso", "Learnt", "learn", "top_plane"]


@dataclass(frozen=True, slots=True)
class Lasso:
    """The group lasso on top bit planes, and when a plane is dropped.

    Parameters
    ----------
    strength
        Of the penalty: times the root of a layer's size times the norm of what is in the plane.
    density
        A plane is dropped when no larger share of the layer's weights has its bit.
    """

    strength: float = 1e-4
    density: float = 0.002


@dataclass(frozen=True, slots=True)
class Learnt:
    """What became of a client's steps.

    Parameters
    ----------
    weights
        By name.
    loss
        Mean over the steps.
    sensitivity
        For matrices: mean squared gradient times mean squared weight. With the relative squared
        error of a layer times its weights it is the diagonal second-order estimate of what is lost.
    drops
        For each layer of a lasso, whether its top plane went: 1 or 0.
    """

    weights: dict[str, Array]
    loss: float
    sensitivity: dict[str, float]
    drops: dict[str, int]


def learn(
    task: Task,
    weights: dict[str, Array],
    rows: Array,
    drawn: tuple[int, ...],
    lasso: Lasso | None = None,
    widths: Mapping[str, int] | None = None,
) -> Learnt:
    """Train on rows.

    Parameters
    ----------
    task
        What, and how.
    weights
        From where on.
    rows
        The client's rows.
    drawn
        What batches are drawn from: seed, round, client.
    lasso
        The penalty, if any.
    widths
        Of the layers that it is for; a plane of the last bit is never dropped.
    """
    net = task.net(weights).train()
    held = dict(net.named_parameters())
    layers = {name: held[name] for name in (widths or {})} if lasso is not None else {}
    halves = {name: _half(layer) for name, layer in layers.items()}
    squares = {name: 0.0 for name, value in held.items() if value.ndim > 1}
    optimizer = torch.optim.SGD(net.parameters(), lr=task.rate, momentum=0.5)
    rng, losses = np.random.default_rng(drawn), []
    for _ in range(task.steps):
        chosen = torch.from_numpy(rng.choice(rows, task.batch))
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(task.train[0][chosen]), task.train[1][chosen])
        whole = loss
        for name, layer in layers.items():
            whole = whole + cast("Lasso", lasso).strength * _penalty(layer, halves[name])
        whole.backward()
        losses.append(float(loss.detach()))
        for name in squares:
            squares[name] += float(cast("torch.Tensor", held[name].grad).square().mean())
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
    drops = {
        name: int((widths or {})[name] > 1 and _dropped(layer, halves[name], cast("Lasso", lasso)))
        for name, layer in layers.items()
    }
    with torch.no_grad():
        sensitivity = {
            name: total / task.steps * float(held[name].square().mean())
            for name, total in squares.items()
        }
    state = net.state_dict()
    after = {name: state[name].detach().numpy().copy() for name in weights}
    return Learnt(after, float(np.mean(losses)), sensitivity, drops)


def top_plane(layer: torch.Tensor, half: float) -> torch.Tensor:
    """Return by how much magnitudes reach into the top bit plane, which begins at `half`.

    Examples
    --------
    >>> top_plane(torch.tensor([0.25, -0.75, 1.0]), 0.5).tolist()
    [0.0, 0.25, 0.5]
    """
    return functional.relu(layer.abs() - half)


def _half(layer: torch.Tensor) -> float:
    return float(layer.detach().abs().max()) / 2


def _penalty(layer: torch.Tensor, half: float) -> torch.Tensor:
    """Return the root of the layer's size times the norm of what is in its top plane."""
    inside = top_plane(layer, half).square().sum()
    return float(np.sqrt(layer.numel())) * torch.sqrt(inside + 1e-12)


def _dropped(layer: torch.Tensor, half: float, lasso: Lasso) -> bool:
    """Drop a plane that is nearly empty: what is left in it goes to the end of the next one."""
    with torch.no_grad():
        if float((layer.abs() > half).float().mean()) > lasso.density:
            return False
        layer.clamp_(-half, half)
    return True
