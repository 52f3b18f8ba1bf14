"""Runs in processes, one thread each, so that sums are those of any other run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import torch

from experiments.setting import Setting

__all__ = ["spread"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    function: Callable[[Item, Any], Result], items: Sequence[Item], place: object, setting: Setting
) -> list[Result]:
    """Call a function with each item and `place`, as many at once as the setting says."""
    if setting.workers < 2:
        return [function(item, place) for item in items]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(setting.workers, context, torch.set_num_threads, (1,)) as pool:
        found: Iterable[Result] = pool.map(function, items, [place] * len(items))
        return list(found)
