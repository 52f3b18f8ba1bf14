"""What is trained with compressed parameters: models that are small, but not all tiny."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks import livenets
from benchmarks.livenets import Job
from experiments import models, networks
from experiments.setting import Setting

__all__ = ["find", "jobs"]

_STEPS = 100  # of the LSTM
_TUNED = 1500  # images of CIFAR-10's test that ResNet20 is tuned on; the other 500 are its test
_TUNING = 36  # steps


def jobs(setting: Setting) -> list[Job]:
    """List what can be trained here."""
    return list(_jobs(setting.data, quick=setting.quick))


def find(name: str, data: Path | None, *, quick: bool) -> Job:
    """Return the job of a name, as another process made it.

    Raises
    ------
    LookupError
        If there is none.
    """
    for job in _jobs(data, quick=quick):
        if job.name == name:
            return job
    raise LookupError(name)


def _jobs(data: Path | None, *, quick: bool) -> Iterator[Job]:
    for job in livenets.jobs(None if quick else data):
        if job.name.startswith("digits"):
            tiny = replace(job, name="digits, 17 k weights", steps=20 if quick else job.steps)
            yield tiny
            yield replace(tiny, name="digits, 151 k weights", make=networks.digits_net)
        elif job.name.startswith("text"):
            yield replace(job, steps=_STEPS)
    if not quick and data is not None:
        yield from _tuning(data)


def _tuning(data: Path) -> Iterator[Job]:
    """Yield the tuning of a ResNet20 that was trained on CIFAR-10 already."""
    found = [model for model in models.real(data) if model.key.startswith("resnet20")]
    for model in found:
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(model.labels)))
        train, test = order[:_TUNED], order[_TUNED:]

        def make(path: Path = model.path) -> torch.nn.Module:
            net = networks.CifarResNet(3)
            state = {k: torch.from_numpy(v.copy()) for k, v in models.state_of(path).items()}
            net.load_state_dict(state, strict=False)
            return net

        parts = (
            (model.inputs[train], model.labels[train]),
            (model.inputs[test], model.labels[test]),
        )
        yield Job("CIFAR-10, ResNet20 tuned", make, *parts, 64, _TUNING, 0.01)
