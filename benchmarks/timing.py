"""Timing calls in turns, each with fresh memory, on one core or on all."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import p2uformat

#: Where Linux keeps files in memory.
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made inside


@dataclass(frozen=True, slots=True)
class Call:
    """One thing to time.

    Parameters
    ----------
    group
        What it is compared with: calls of one group do like things.
    name
        What to print, unique within a run.
    run
        The call. What it allocates, it allocates inside the timing.
    size
        How many bytes it is said to handle; 0 where only the time says something.
    prepare
        Makes the argument of `run`, outside the timing.
    release
        Takes that argument back, outside the timing.
    kernels
        The kernels to use meanwhile; those in use where nothing is said.
    """

    group: str
    name: str
    run: Callable[[Any], object]
    size: int
    prepare: Callable[[], Any] = lambda: None
    release: Callable[[Any], object] = lambda _: None
    kernels: str | None = None


def interleaved(calls: Sequence[Call], repeats: int) -> dict[str, float]:
    """Time each call `repeats` times, in turns, and return median seconds by name.

    Turns let a slow minute of a shared machine fall on all of them alike.
    """
    times: dict[str, list[float]] = {call.name: [] for call in calls}
    for _ in range(repeats):
        for call in calls:
            times[call.name].append(once(call))
    return {name: median(taken) for name, taken in times.items()}


def once(call: Call) -> float:
    """Run a call once and return its seconds; its result is freed after the clock stopped."""
    with using_kernels(call.kernels):
        argument = call.prepare()
        _level_memory(2 * call.size)
        collecting = gc.isenabled()
        gc.disable()
        try:
            start = time.perf_counter()
            result = call.run(argument)
            taken = time.perf_counter() - start
        finally:
            if collecting:
                gc.enable()
        del result
        call.release(argument)
    return taken


def rates(calls: Sequence[Call], seconds: dict[str, float]) -> dict[str, float]:
    """Return bytes a second by name, of the calls that handle bytes."""
    return {call.name: call.size / seconds[call.name] for call in calls if call.size}


def _level_memory(size: int) -> None:
    """Let every call find memory as the others do, whatever ran before it.

    A first touch of a page costs more than a copy on many machines. An allocator keeps or returns
    a freed buffer by its size, so what it kept goes back; and the system hands out pages that were
    in use a moment ago faster than those it has to look for, so it gets `size` bytes of the former.
    """
    if _trim is not None:
        _trim(0)
    np.empty(size, np.uint8).fill(1)


def _find_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # not a system with a global symbol table
        return None
    return found


_trim = _find_trim()


@contextmanager
def using_kernels(name: str | None) -> Iterator[None]:
    """Use other kernels for a while."""
    before = p2uformat.kernels_in_use()
    p2uformat.use_kernels(name or before)
    try:
        yield
    finally:
        p2uformat.use_kernels(before)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those it starts, on one core, where the platform can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def memory_folder(fallback: Path, needed: int) -> Iterator[tuple[Path, bool]]:
    """Make a folder for files that no disk should slow down.

    Parameters
    ----------
    fallback
        Where to make it if the system keeps no files in memory, or has not enough room for them.
    needed
        Bytes that will be written.

    Yields
    ------
    tuple of Path and bool
        The folder, and whether it is in memory.
    """
    usable = os.access(MEMORY_FOLDER, os.W_OK) and shutil.disk_usage(MEMORY_FOLDER).free > needed
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER if usable else fallback) as held:
        yield Path(held), usable
