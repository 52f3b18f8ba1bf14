"""What it costs that parameters live compressed: memory, time of a step, and what is learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import mean
from typing import Any

import torch
from torch.nn import functional

from benchmarks import timing
from benchmarks.livenets import Job
from benchmarks.report import Cell, Check, Section, Table
from p2uformat import Policy
from p2uformat.torch import EachParameter, compressed

__all__ = ["FORM", "KEPT", "Trained", "left", "peak", "run", "score"]

FORM = "S1E3M7"
KEPT = 0.1
SEEDS = 3
_MOMENTUM = 0.9
_SCORED = 200  # rows of a test at once


class Trained:
    """A model with its optimizer, SGD with momentum.

    Parameters
    ----------
    job
        What to train.
    form
        Of the parameters; None for ordinary ones.
    seed
        Of the first values, of what is kept exact, and of the order of what it sees.
    fit
        Whether each compressed parameter has a scale and an offset.
    """

    def __init__(
        self, job: Job, *, form: str | None = None, seed: int = 0, fit: bool = True
    ) -> None:
        torch.manual_seed(seed)
        self.net = job.make()
        self.dense = sum(parameter.nbytes for parameter in self.net.parameters())
        self.bytes = self.dense
        if form is not None:
            policy = Policy(keep=KEPT, seed=seed)
            self.bytes = compressed(self.net, policy, form=form, fit=fit).bytes
        options: dict[str, Any] = {"lr": job.rate, "momentum": _MOMENTUM}
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(self.net.parameters(), **options)
            if form is None
            else EachParameter(self.net.parameters(), torch.optim.SGD, in_backward=True, **options)
        )

    def step(self, value: torch.Tensor, kind: torch.Tensor) -> None:
        """Train on a batch."""
        self.optimizer.zero_grad()
        functional.cross_entropy(self.net(value), kind).backward()
        self.optimizer.step()

    def learn(self, job: Job) -> float:
        """Train to the end, and return how many of the test's labels are right, in percent."""
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, job.steps)
        for value, kind in job.batches(job.steps):
            self.step(value, kind)
            scheduler.step()
        self.net.eval()
        values, kinds = (part.split(_SCORED) for part in job.test)
        with torch.no_grad():
            found = [self.net(value).argmax(1) for value in values]
        right = [a == b for a, b in zip(found, kinds, strict=True)]
        return 100 * float(torch.cat(right).float().mean())


def score(job: Job, *, seed: int, form: str | None = None) -> float:
    """Train, and return how many of the test's labels are right, in percent."""
    return Trained(job, form=form, seed=seed).learn(job)


def peak(step: Callable[[], object]) -> int:
    """Return the most bytes of tensors that a call has at once, beyond those that were there."""
    return max(_sizes(step))


def left(make: Callable[[], object]) -> int:
    """Return the bytes of tensors that are there when a call has ended, of what it returns."""
    return _sizes(make)[-1]


def _sizes(call: Callable[[], object]) -> list[int]:
    """Return how many bytes of tensors there are more than before, each time that changes."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        result = call()
    events = profiler.profiler.kineto_results.events()
    del result
    moves = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return [0, *accumulate(size for _, size in moves)]


def run(jobs: Sequence[Job], repeats: int) -> Section:
    """Measure each model, ordinary and compressed, in turns."""
    rows: list[list[Cell]] = []
    checks = []
    for job in jobs:
        row, found = _measured(job, repeats)
        rows.append(row)
        checks.extend(found)
    title = f"Parameters that live compressed ({FORM}, {KEPT:.0%} kept), SGD with momentum"
    columns = (
        *("model", "parameters, kB", "live, kB", "fall, %", "peak of a step, kB", "live, kB"),
        *("step, ms", "live, ms", "ratio", "right, %", "live, %"),
    )
    note = (
        "Parameters: what they take between steps. Peak: the most that tensors take during a step"
        " beyond parameters and momentum: activations, gradients, and what is expanded. Right:"
        f" labels of the test, mean of {SEEDS} seeds; of a text, the next character. One thread."
    )
    return Section("live", title, [Table("", columns, rows, note)], checks)


def _measured(job: Job, repeats: int) -> tuple[list[Cell], list[Check]]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _in_turns(job, repeats)
    finally:
        torch.set_num_threads(before)


def _in_turns(job: Job, repeats: int) -> tuple[list[Cell], list[Check]]:
    plain, live = Trained(job), Trained(job, form=FORM)
    batch = next(job.batches(1))
    peaks = []
    for made in (plain, live):
        made.step(*batch)  # momentum is there from now on
        peaks.append(peak(lambda made=made: made.step(*batch)))  # type: ignore[misc]
    calls = [
        timing.Call("step", name, lambda _, made=made: made.step(*batch), 0)  # type: ignore[misc]
        for name, made in (("plain", plain), ("live", live))
    ]
    times = timing.interleaved(calls, 4 * repeats)
    ratio, fall = times["live"] / times["plain"], 100 - 100 * live.bytes / plain.dense
    row: list[Cell] = [job.name, plain.dense / 1e3, live.bytes / 1e3, fall]
    row += [peaks[0] / 1e3, peaks[1] / 1e3, 1e3 * times["plain"], 1e3 * times["live"], ratio]
    checks = [
        Check(f"{job.name}: fall of parameter memory", fall, ">=", 55, "%"),
        Check(f"{job.name}: time of a step, live / plain", ratio, "<=", 1.5),
    ]
    if not job.steps:
        return [*row, None, None], checks
    scores = [mean(score(job, form=x, seed=s) for s in range(SEEDS)) for x in (None, FORM)]
    checks.append(Check(f"{job.name}: points lost, live", scores[0] - scores[1], "<=", 1, "points"))
    return [*row, *scores], checks
