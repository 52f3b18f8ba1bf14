"""FedMPQ: mixed precision for clients of unequal budgets, from one ladder.

Chen, Vikalo: Mixed-Precision Quantization for Federated Learning on Resource-Constrained
Heterogeneous Devices, CVPR 2024 (arXiv 2311.18129).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.report import Cell, Check, Section, Table
from experiments import fedlinks, fedplots, fedsizes, fedtasks
from experiments.fedcarry import KEY_EVERY
from experiments.fedlinks import Sizes
from experiments.fedlocal import Lasso
from experiments.fedpool import spread
from experiments.fedrun import BUDGETS, METHODS, History, Method, at_bytes
from experiments.fedrun import run as train
from experiments.fedtasks import SPLITS, Task
from experiments.setting import Experiment, Setting
from experiments.statistics import Mean, mean_of

__all__ = ["EXPERIMENT", "run"]

TITLE = "FedMPQ: mixed precision for unequal budgets"
FP32, FIXED, EVEN, PLANNED, RULED = METHODS
ROUNDS_FOLLOWING, ROUNDS_THROUGH = 14, 4
SHARES = np.linspace(0.25, 1, 16)  # of the bytes: scores are means over these
Job = tuple[str, Method, str, int, bool]
Found = Mapping[Job, History]
Place = tuple[Path | None, bool, Path]


def run(setting: Setting) -> Section:
    """Measure all of it."""
    tasks = fedtasks.tasks(setting.data, quick=setting.quick)
    if not tasks:
        return Section("fedmpq", TITLE, [], [], {}, ["Nothing to train: no scikit-learn."])
    place = setting.data, setting.quick, setting.work
    stored = METHODS[-1:] if setting.quick else METHODS[1:]
    through = [(tasks[0].name, method, "iid", 0, True) for method in stored]
    jobs = [
        (task.name, method, split, seed, False)
        for task in tasks
        for split in SPLITS
        for seed in range(setting.seeds)
        for method in METHODS
    ]
    every = [*through, *jobs]
    found = dict(zip(every, spread(_one, every, place, setting), strict=True))
    compared, checks = _compared(tasks, found, setting)
    ladder, sizes = fedsizes.ladders(
        fedsizes.known(setting, tasks[0]),
        setting.work,
    )
    follows, more = _follows(setting, tasks[0])
    simulated, seconds = fedlinks.simulated(_sizes(tasks[0], found))
    used = max(history.used for history in found.values())
    tables = [
        compared,
        _curves(found),
        _widths(tasks[0], found),
        _through(through, found),
        ladder,
        follows,
        simulated,
        seconds,
    ]
    budget = Check("largest share of a budget that a client of a run used", used, "<=", 1)
    every_check = [*checks, budget, *sizes, *more]
    return Section("fedmpq", TITLE, tables, every_check, {}, [_note(tasks)])


def _note(tasks: Sequence[Task]) -> str:
    parts = [
        f"{task.name}: {len(task.train[0]):,} rows to train on, {len(task.test[0]):,} to test, "
        f"{task.clients} clients, {task.rounds} rounds of {task.steps} steps of {task.batch}, rate "
        f"{task.rate:g}"
        for task in tasks
    ]
    lasso = Lasso()
    return (
        f"{'; '.join(parts)}. Two clients for each of the budgets 2, 4, 6 and 8: as many stored "
        "bits as the tier of that name takes of the whole model, so that fixed and mixed "
        "precision take the same bytes of a fresh model. Updates have each layer's width as well "
        "(`Levels`, uniform, `max`, as many levels as the width has codes). Fixed: every layer at "
        "the client's width; or at 5 bits for all clients, which is as many bytes in all, but "
        "more than half of the clients can take. Planned: `plan_widths`, with sensitivities that "
        "clients report (squared gradients times squared weights). Pruned and grown: the paper's "
        f"rule, with the group lasso on top bit planes (strength {lasso.strength:g}) in "
        f"clients' steps; a plane is dropped at a density of {lasso.density:g}. Models are "
        "children of the last round's, "
        f"every {KEY_EVERY}th is whole."
    )


def _one(job: Job, place: Place) -> History:
    name, method, split, seed, through = job
    data, quick, work = place
    task = fedtasks.find(name, data, quick=quick)
    if through:
        task = replace(task, rounds=2 if quick else ROUNDS_THROUGH)
    return train(task, method, split, seed, work, through=through)


# Accuracy for bytes.


def _mean(history: History, spent: float) -> float:
    return float(np.mean([at_bytes(history, spent * share) for share in SHARES]))


def _compared(tasks: Sequence[Task], found: Found, setting: Setting) -> tuple[Table, list[Check]]:
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    for task in tasks:
        for split in SPLITS:
            runs = {
                method: [found[task.name, method, split, s, False] for s in range(setting.seeds)]
                for method in METHODS
            }
            for method, mine in runs.items():
                last = mean_of([one.score[-1] for one in mine])
                row: list[Cell] = [task.name, split, method.name, last.value, last.error]
                gain = _gain(mine, runs[FIXED]) if method not in {FP32, FIXED} else None
                row += [None, None] if gain is None else [gain.value, gain.error]
                row += [
                    float(np.mean([sum(kind) for kind in each])) / 1e3
                    for each in zip(*((h.down, h.manifests, h.up) for h in mine), strict=True)
                ]
                dropped = sum(one.dropped for one in mine) if method == RULED else None
                rows.append([*row, dropped])
                if method in {PLANNED, RULED} and gain is not None:
                    what = f"above fixed precision at equal bytes, {method.name}, {task.name}, "
                    what += f"{split} (± {gain.error or 0:.2f})"
                    checks.append(Check(what, gain.value, ">=", 0, "points"))
    columns = (
        *("task", "split", "method", "right at the end, %", "±", "above fixed at equal bytes", "±"),
        *("down, kB", "manifests, kB", "up, kB", "planes dropped"),
    )
    note = (
        "Mean and standard error over seeds. Above fixed at equal bytes: accuracy minus that of "
        "`fixed 2, 4, 6, 8` of the same seed when as many bytes had moved (down, manifests, up), "
        "the mean from a quarter of the bytes on; points. Bytes: of all clients and rounds."
    )
    return Table("Accuracy for bytes", columns, rows, note), checks


def _gain(mine: Sequence[History], other: Sequence[History]) -> Mean:
    gains = []
    for a, b in zip(mine, other, strict=True):
        spent = float(min(a.bytes[-1], b.bytes[-1]))
        gains.append(_mean(a, spent) - _mean(b, spent))
    return mean_of(gains)


def _curves(found: Found) -> Table:
    rows: list[list[Cell]] = []
    for (task, method, split, seed, through), history in found.items():
        if not through:
            spent = history.bytes.tolist()
            for number, (score, loss) in enumerate(zip(history.score, history.loss, strict=True)):
                rows.append(
                    [task, split, method.name, seed, number + 1, spent[number], score, loss]
                )
    columns = ("task", "split", "method", "seed", "round", "bytes", "right, %", "loss")
    return Table("Round by round", columns, rows, shown=False)


def _widths(task: Task, found: Found) -> Table:
    rows: list[list[Cell]] = []
    sizes = {name: int(value.size) for name, value in task.fresh(0).items()}
    for method in (PLANNED, RULED):
        history = found[task.name, method, "Dirichlet(0.3)", 0, False]
        for number, widths in enumerate(history.widths):
            rows += [
                [method.name, number + 1, name, sizes[name], width]
                for name, width in widths.items()
            ]
    columns = ("way", "round", "layer", "weights", "bits, mean of clients")
    return Table("Widths of layers", columns, rows, f"{task.name}, Dirichlet(0.3).", shown=False)


def _through(jobs: Sequence[Job], found: Found) -> Table:
    """Lay runs through a store beside those whose sizes were planned."""
    rows: list[list[Cell]] = []
    for job in jobs:
        mine, other = found[job], found[*job[:4], False]
        count = len(mine.score)
        same = mine.score == other.score[:count]
        row: list[Cell] = [job[1].name, count, sum(mine.down), sum(other.down[:count])]
        rows.append([*row, sum(mine.up), sum(other.up[:count]), "yes" if same else "no"])
    note = (
        "The first rounds of a run, iid and of the first seed, through `Server` and `Client`, "
        "beside the run above it, which packs the same files, reads from them what clients would, "
        "and counts with `plan_fetch`. Models in a store have some bytes more: facts of the round."
    )
    columns = ("method", "rounds", "down", "planned", "up", "packed", "same accuracy")
    return Table("Through a store", columns, rows, note)


# What follows, and how long it takes.


def _follows(setting: Setting, small: Task) -> tuple[Table, list[Check]]:
    rounds = 2 if setting.quick else ROUNDS_FOLLOWING
    tasks = [replace(small, rounds=rounds)]
    large = None if setting.quick else fedtasks.large(setting.data, rounds)
    if large is not None:
        tasks.append(large)
    rows: list[list[Cell]] = []
    checks = []
    for task in tasks:
        mine, *both = fedsizes.following(task, rounds, setting.work)
        rows += mine
        checks += both
    note = (
        "Bytes of chunks that `Client(tier='q4').receive` moved in each round of a run through "
        "`Server.publish(tiers='q4,q8,exact')`, and of q4 of the same model packed afresh. All "
        "clients train from what one of them received; a key frame is whole."
    )
    columns = ("task", "round", "", "moved", "fresh q4", "moved / fresh")
    return Table("What follows at q4", columns, rows, note), checks


def _sizes(task: Task, found: Found) -> Sizes:
    """Return what classes of clients moved in the first round and in later ones."""
    history = found[task.name, FIXED, "iid", 0, False]
    manifest = history.manifests[0] / task.clients
    plain = found[task.name, FP32, "iid", 0, False]
    whole = plain.down[0] / task.clients, plain.up[0] / task.clients
    fresh, later = {32: whole}, {32: whole}
    for width in BUDGETS:
        down, up = history.classes[width], history.updates[width]
        fresh[width] = down[0] + manifest, float(up[0])
        later[width] = float(np.mean(down[1:])) + manifest, float(np.mean(up[1:]))
    return Sizes(task.name, fresh, later)


EXPERIMENT = Experiment(
    "fedmpq",
    run,
    {
        "fedmpq.png": fedplots.methods,
        "fedmpq-widths.png": fedplots.widths,
        "fedmpq-links.png": fedplots.links,
    },
)
