"""A progress bar on a terminal's standard error, and nothing anywhere else."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from p2uformat import Progress

PHASES = {
    "plan": "planning",
    "encode": "encoding",
    "assemble": "writing",
    "verify": "checking",
    "unpack": "unpacking",
    "compare": "comparing",
    "dissect": "dissecting",
    "bring": "copying",
    "fetch": "fetching",
    "fetch parents": "fetching parents",
    "verify parents": "checking parents",
    "push": "pushing",
    "mark": "marking",
    "repack": "repacking",
    "delete": "deleting",
}


def described(state: "Progress") -> "dict[str, Any]":
    """Return the figures of a state for a program."""
    rate = getattr(state, "fetched", 0) / max(getattr(state, "seconds", 0.0), 1e-9)
    known = {"phase": state.phase, "done": state.done, "total": state.total}
    if hasattr(state, "to_dict"):
        left = state.total - state.done
        known = {**state.to_dict(), "bytes_per_second": round(rate)}
        known["seconds_left"] = round(left / rate, 1) if rate > 0 else None
    return known


@contextmanager
def shown() -> "Iterator[Callable[[Progress], None] | None]":
    """Yield a callback that draws progress, or None where no person would see it.

    The bar goes to standard error and vanishes at the end, so that standard output and what
    stays on the screen are the result alone.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with _bar() as bar:
        yield _Drawer(bar)


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description:<10}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Rich would otherwise send print() through the bar's console, to standard error.
        redirect_stdout=False,
    )


class _Drawer:
    """Draws one line per phase, in the order in which the phases come."""

    def __init__(self, bar: "Bar") -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: "Progress") -> None:
        task = self._tasks.get(progress.phase)
        if task is None:
            name = PHASES.get(progress.phase, "working")
            task = self._tasks[progress.phase] = self._bar.add_task(name, total=progress.total)
        self._bar.update(task, completed=progress.done, total=progress.total)
