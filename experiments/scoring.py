"""Scores of many forms of models, in processes beside this one."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

from benchmarks.sources import Array
from experiments import models
from experiments.models import Model
from experiments.setting import Setting

__all__ = ["Pool", "pool"]


class Pool:
    """Scores models in the background.

    With several threads in one process PyTorch waits in short barriers, several times as long as it
    computes once somebody else uses the machine: so each process has one.
    """

    def __init__(self, setting: Setting, executor: ProcessPoolExecutor | None) -> None:
        self._setting = setting
        self._executor = executor

    def scores(self, model: Model, tensors: Mapping[str, Array]) -> Future[Array]:
        """Score a model with values."""
        if self._executor is None:
            done: Future[Array] = Future()
            done.set_result(model.scores(tensors))
            return done
        place = self._setting.data, self._setting.work
        return self._executor.submit(_scores, model.key, place, dict(tensors))


@contextmanager
def pool(setting: Setting) -> Iterator[Pool]:
    """Start as many processes as the setting has workers; of one, none."""
    if setting.workers < 2:
        yield Pool(setting, None)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(setting.workers, context, _one_thread) as executor:
        yield Pool(setting, executor)


def _one_thread() -> None:
    torch.set_num_threads(1)


@lru_cache(maxsize=2)
def _model(key: str, place: tuple[Path | None, Path]) -> Model:
    return models.find(key, *place)


def _scores(key: str, place: tuple[Path | None, Path], tensors: dict[str, Array]) -> Array:
    return _model(key, place).scores(tensors)
