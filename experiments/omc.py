"""OMC: training with parameters that live as small floats.

Yang et al.: Online Model Compression for Federated Learning with Large Models, 2022
(arXiv 2205.03494).
"""

from __future__ import annotations

import copy
import math
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

import p2uformat
from benchmarks import live, timing
from benchmarks.livenets import Job
from benchmarks.report import Cell, Check, Section, Table
from experiments import omcformats, omcjobs, plots
from experiments.setting import Experiment, Setting
from experiments.statistics import Mean, mean_of

__all__ = ["EXPERIMENT", "run"]

FORMS = ("S1E3M7", "S1E4M14", "S1E2M3")
CLAIMED = live.FORM  # of which the figures speak
LEAST_FALL, MOST_LOST, SLOWEST = 55.0, 1.0, 1.5  # %, points, times
TURNS = 15
COLUMNS = (
    *("model", "parameters", "transformation", "score", "±", "lost", "±", "most lost"),
    *("memory, % of fp32", "artifact, % of fp32"),
)
LEARNT_NOTE = (
    "Score: labels of the test that are right, in percent (of the text, next characters); "
    "mean and standard error over seeds. Lost: the score of fp32 minus this one, with the "
    "same seed: the same first values and the same batches. Memory: what parameters take "
    "between steps. Artifact: the trained parameters packed with the same policy and format, "
    "lossy. `Diverged`: weights became infinite. Matrices only, a tenth kept exact, SGD with "
    "momentum."
)
COST_NOTE = (
    "One thread, steps in turns, medians. Of a copy: what there is more, as PyTorch's "
    "profiler counts, after the module was copied, buffers included. Peak of a step: the "
    "most that tensors take beyond parameters and momentum."
)


@dataclass(frozen=True, slots=True)
class Way:
    """How parameters live.

    Parameters
    ----------
    form
        None for fp32.
    fit
        Whether with the transformation of each variable.
    """

    form: str | None
    fit: bool = True

    @property
    def transformation(self) -> str:
        """What to print."""
        return "-" if self.form is None else "yes" if self.fit else "no"


PLAIN = Way(None)
WAYS = (PLAIN, *(Way(form, fit) for form in FORMS for fit in (True, False)))


@dataclass(frozen=True, slots=True)
class _Run:
    """A training, and what it came to."""

    score: float
    memory: float
    artifact: float


def run(setting: Setting) -> Section:
    """Measure all of it."""
    jobs = omcjobs.jobs(setting)
    runs = _trained(jobs, setting)
    learnt = [_learnt(job, way, runs) for job in jobs for way in WAYS]
    costs, checks = _costs(jobs, 3 if setting.quick else TURNS)
    shares, more = omcformats.shares(setting)
    same, equal = omcformats.equal_formats()
    tables = [
        Table("What is learned", COLUMNS, learnt, LEARNT_NOTE),
        costs,
        shares,
        same,
        _claims(jobs, runs),
    ]
    every = [*(_lost(job, runs) for job in jobs), *checks, *more, *equal]
    notes = [_splits(jobs)]
    return Section("omc", "OMC: parameters that live as small floats", tables, every, {}, notes)


def _splits(jobs: Iterable[Job]) -> str:
    parts = [
        f"{job.name}: {len(job.train[0]):,} rows to train on, {len(job.test[0]):,} to test, "
        f"{job.steps} steps of {job.batch}"
        for job in jobs
    ]
    return "; ".join(parts) + "."


# Training, in processes.


def _trained(jobs: Sequence[Job], setting: Setting) -> dict[tuple[str, Way], list[_Run]]:
    tasks = [(job.name, way, seed) for job in jobs for seed in range(setting.seeds) for way in WAYS]
    place = setting.data, setting.quick
    if setting.workers < 2:
        found: Iterator[_Run] = map(_one, tasks, [place] * len(tasks))
        return _grouped(tasks, list(found))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(setting.workers, context) as pool:
        return _grouped(tasks, list(pool.map(_one, tasks, [place] * len(tasks))))


def _grouped(
    tasks: Iterable[tuple[str, Way, int]], found: Iterable[_Run]
) -> dict[tuple[str, Way], list[_Run]]:
    runs: dict[tuple[str, Way], list[_Run]] = {}
    for (name, way, _), one in zip(tasks, found, strict=True):
        runs.setdefault((name, way), []).append(one)
    return runs


def _one(task: tuple[str, Way, int], place: tuple[Path | None, bool]) -> _Run:
    """Train once."""
    name, way, seed = task
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        job = omcjobs.find(name, place[0], quick=place[1])
        made = live.Trained(job, form=way.form, seed=seed, fit=way.fit)
        try:
            score = made.learn(job)
        except p2uformat.InvalidArgument:  # of values that are not finite
            return _Run(math.nan, 100 * made.bytes / made.dense, math.nan)
        return _Run(score, 100 * made.bytes / made.dense, _artifact(made, way, seed))
    finally:
        torch.set_num_threads(threads)


def _artifact(made: live.Trained, way: Way, seed: int) -> float:
    """Return the bytes of the parameters, packed, as a share of those of fp32."""
    names = {name for name, _ in made.net.named_parameters()}
    state = made.net.state_dict()
    arrays = {name: value.numpy() for name, value in state.items() if name in names}
    return omcformats.artifact_share(arrays, way.form, fit=way.fit, seed=seed)


# What becomes of it.


def _learnt(job: Job, way: Way, runs: dict[tuple[str, Way], list[_Run]]) -> list[Cell]:
    mine, plain = runs[job.name, way], runs[job.name, PLAIN]
    row: list[Cell] = [job.name, way.form or "fp32", way.transformation]
    if any(math.isnan(one.score) for one in mine):
        row += ["diverged", None, None, None, None]
    else:
        score, lost = mean_of([one.score for one in mine]), _lost_by(mine, plain)
        row += [score.value, score.error, lost.value, lost.error, max(_differences(mine, plain))]
    packed = [one.artifact for one in mine if not math.isnan(one.artifact)]
    return [*row, mean(one.memory for one in mine), mean(packed) if packed else None]


def _differences(mine: Sequence[_Run], plain: Sequence[_Run]) -> list[float]:
    return [before.score - after.score for before, after in zip(plain, mine, strict=True)]


def _lost_by(mine: Sequence[_Run], plain: Sequence[_Run]) -> Mean:
    return mean_of(_differences(mine, plain))


def _lost(job: Job, runs: dict[tuple[str, Way], list[_Run]]) -> Check:
    lost = _lost_by(runs[job.name, Way(CLAIMED)], runs[job.name, PLAIN])
    what = f"points lost with {CLAIMED}, {job.name} (± {lost.error or 0:.2f})"
    return Check(what, lost.value, "<=", MOST_LOST, "points")


def _claims(jobs: Sequence[Job], runs: dict[tuple[str, Way], list[_Run]]) -> Table:
    """Say what came of what the paper says."""
    rows: list[list[Cell]] = []
    lost = [_lost_by(runs[job.name, Way(CLAIMED)], runs[job.name, PLAIN]) for job in jobs]
    falls = [100 - runs[job.name, Way(CLAIMED)][0].memory for job in jobs]
    most = max(each.value for each in lost)
    rows.append(
        [
            f"up to 59 % less memory at like accuracy ({CLAIMED}, a tenth kept)",
            f"{min(falls):.1f} to {max(falls):.1f} % less; {most:.2f} points lost at most",
            "yes" if most <= MOST_LOST else "not for every model",
        ]
    )
    for form in FORMS:
        for job in jobs:
            with_, without = (runs[job.name, Way(form, fit)] for fit in (True, False))
            gain = _lost_by(without, with_)
            claim = f"the transformation of each variable helps {form}, {job.name}"
            rows.append([claim, f"{gain} points more with it", _verdict(gain)])
    note = (
        "Here the transformation also brings a variable into the range of the format, by a power "
        "of two, before it is rounded; that is more than a least-squares fit afterwards can do. "
        "`Yes` and `no`: by more than two standard errors over the seeds."
    )
    return Table("What the paper says, and what came of it", ("claim", "here", ""), rows, note)


def _verdict(gain: Mean) -> str:
    if math.isnan(gain.value):
        return "yes: without it training diverged"
    if gain.error is None or abs(gain.value) <= 2 * gain.error:
        return "not seen here"
    return "yes" if gain.value > 0 else "no, the other way round"


def _costs(jobs: Iterable[Job], turns: int) -> tuple[Table, list[Check]]:
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    for job in jobs:
        mine = _cost_rows(job, turns)
        rows += mine
        fall = 100 - 100 * float(mine[1][4] or 0) / float(mine[0][4] or 0)
        checks.append(Check(f"fall of parameter memory, {job.name}", fall, ">=", LEAST_FALL, "%"))
        ratio = float(mine[1][7] or 0)
        checks.append(Check(f"time of a step / fp32, {job.name}", ratio, "<=", SLOWEST))
    columns = (
        *("model", "parameters", "transformation", "weights", "parameters, kB"),
        *("of a copy, kB", "step, ms", "/ fp32", "peak of a step, kB"),
    )
    return Table("What it costs", columns, rows, COST_NOTE), checks


def _cost_rows(job: Job, turns: int) -> list[list[Cell]]:
    """Time a step each way, in turns."""
    torch.manual_seed(0)
    batch = next(job.batches(1))
    made = {way: live.Trained(job, form=way.form, fit=way.fit) for way in WAYS}
    copies = {way: live.left(lambda net=one.net: copy.deepcopy(net)) for way, one in made.items()}  # type: ignore[misc]
    for one in made.values():
        one.step(*batch)  # momentum is there from now on
    peaks = {way: live.peak(lambda one=one: one.step(*batch)) for way, one in made.items()}  # type: ignore[misc]
    calls = [
        timing.Call("step", str(way), lambda _, one=one: one.step(*batch), 0)  # type: ignore[misc]
        for way, one in made.items()
    ]
    taken = timing.interleaved(calls, turns)
    weights = sum(parameter.numel() for parameter in made[PLAIN].net.parameters())
    return [
        [
            *(job.name, way.form or "fp32", way.transformation, weights, one.bytes / 1e3),
            *(copies[way] / 1e3, 1e3 * taken[str(way)], taken[str(way)] / taken[str(PLAIN)]),
            peaks[way] / 1e3,
        ]
        for way, one in made.items()
    ]


EXPERIMENT = Experiment("omc", run, {"omc.png": plots.omc, "omc-steps.png": plots.steps})
