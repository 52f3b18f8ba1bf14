"""What it costs that parameters live compressed: memory, time of a step, and what is learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import torch
from torch.nn import functional

from benchmarks import timing
from benchmarks.livenets import Job
from benchmarks.report import Cell, Check, Section, Table
from p2uformat import Policy
from p2uformat.torch import EachParameter, compressed

__all__ = ["peak", "run", "score"]

FORM = "S1E3M7"
KEPT = 0.1
SEEDS = 3
_MOMENTUM = 0.9


class _Trained:
    """A model with its optimizer."""

    def __init__(self, job: Job, *, live: bool, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.net = job.make()
        self.dense = sum(parameter.nbytes for parameter in self.net.parameters())
        self.bytes = self.dense
        if live:
            self.bytes = compressed(self.net, Policy(keep=KEPT, seed=seed), form=FORM).bytes
        options: dict[str, Any] = {"lr": job.rate, "momentum": _MOMENTUM}
        self.optimizer: torch.optim.Optimizer = (
            EachParameter(self.net.parameters(), torch.optim.SGD, in_backward=True, **options)
            if live
            else torch.optim.SGD(self.net.parameters(), **options)
        )

    def step(self, value: torch.Tensor, kind: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        functional.cross_entropy(self.net(value), kind).backward()
        self.optimizer.step()


def score(job: Job, *, live: bool, seed: int) -> float:
    """Train, and return how many of the test's labels are right, in percent."""
    made = _Trained(job, live=live, seed=seed)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(made.optimizer, job.steps)
    for value, kind in job.batches(job.steps):
        made.step(value, kind)
        scheduler.step()
    with torch.no_grad():
        right = made.net(job.test[0]).argmax(1) == job.test[1]
    return 100 * float(right.float().mean())


def peak(step: Callable[[], object]) -> int:
    """Return the most bytes of tensors that a call has at once, beyond those that were there."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        step()
    events = profiler.profiler.kineto_results.events()
    moves = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    now = most = 0
    for _, size in sorted(moves, key=lambda move: move[0]):
        now += size
        most = max(most, now)
    return most


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
    plain, live = _Trained(job, live=False), _Trained(job, live=True)
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
    scores = [mean(score(job, live=x, seed=s) for s in range(SEEDS)) for x in (False, True)]
    checks.append(Check(f"{job.name}: points lost, live", scores[0] - scores[1], "<=", 1, "points"))
    return [*row, *scores], checks
