"""Sizes that need no training to its end: ladders for all budgets, and what follows at q4."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import p2uformat
from benchmarks.report import Cell, Check, Table
from benchmarks.sources import Array
from experiments import models
from experiments.fedcarry import scratch
from experiments.fedlocal import learn
from experiments.fedtasks import Task, dealt
from experiments.setting import Setting
from p2uformat.federated import Client, Server, layers_of, plan_widths, used_bits

__all__ = ["following", "ladders"]

BUDGETS = (2, 4, 6, 8)
MOST_LADDER, MOST_FOLLOWING = 1.02, 0.25
LADDERS = (
    "q2,q4,q6,q8,exact",
    "q2,q3,q4,q5,q6,q7,q8,exact",
    "q1,q2,q3,q4,q5,q6,q7,q8,exact",
)
Arrays = dict[str, Array]


def known(setting: Setting, task: Task) -> dict[str, Arrays]:
    """Return the weights that ladders are measured on."""
    found = {f"{task.name}, untrained": task.fresh(0)}
    if setting.quick:
        return found
    digits = models.digits(setting.work)
    if digits is not None:
        found[digits.name] = models.state_of(digits.path)
    for model in models.real(setting.data):
        if not model.text:
            found[model.name] = models.state_of(model.path)
    return found


def ladders(weights: Mapping[str, Arrays], work: Path) -> tuple[Table, list[Check]]:
    """Lay one ladder for all budgets beside an artifact of the widest alone."""
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    with scratch(work) as held:
        for name, arrays in weights.items():
            alone = _up_to(arrays, Path(held, "q8.p2u"), "q8,exact", apart=False)
            for tiers in LADDERS:
                path = Path(held, "ladder.p2u")
                ratio = _up_to(arrays, path, tiers, apart=True) / alone
                rows.append([name, tiers.removesuffix(",exact"), alone, ratio, *_budgets(path)])
                if tiers.startswith("q2"):
                    what = f"all budgets by one ladder / q8 alone, {tiers.count('q')} tiers, {name}"
                    checks.append(Check(what, ratio, "<=", MOST_LADDER))
    used = max(float(cell) for row in rows for cell in row[4:] if cell is not None)
    checks.append(Check("largest share of a budget that a plan used", used, "<=", 1))
    note = (
        "Bytes of all tiers up to q8, of what travels exactly and of the manifest, over those of "
        "an artifact with q8 alone; the ladder has a chunk for each tensor and tier. Then, for "
        "budgets of 2, 4, 6 and 8 stored bits a weight, what `plan_widths` uses of them; `-`: even "
        "the least widths take more."
    )
    columns = (
        "model",
        "ladder",
        "q8 alone, bytes",
        "ladder / q8 alone",
        *(f"of {b} bits" for b in BUDGETS),
    )
    return Table("One ladder for all budgets", columns, rows, note), checks


def _up_to(arrays: Arrays, path: Path, tiers: str, *, apart: bool) -> float:
    """Return bytes of manifest and tiers to q8."""
    summary = p2uformat.pack(arrays, path, tiers=tiers, chunk_per_tensor=apart, overwrite=True)
    plan = p2uformat.plan_fetch(path, f"{path}.none", tier="q8")
    return summary.manifest_bytes + plan.total


def _budgets(path: Path) -> list[Cell]:
    with p2uformat.open(path) as artifact:
        layers = layers_of(artifact)
    weights = sum(layer.weights for layer in layers)
    found: list[Cell] = []
    for budget in BUDGETS:
        try:
            used = used_bits(layers, plan_widths(layers, budget)) / weights
        except p2uformat.InvalidArgument:
            found.append(None)
        else:
            found.append(used / budget)
    return found


def following(task: Task, rounds: int, work: Path) -> tuple[list[list[Cell]], Check, Check]:
    """Train through a store, with clients at q4, and count what comes down after the first round.

    Returns
    -------
    rows, check of all later rounds, check of those that are no key frames
    """
    weights = task.fresh(0)
    rows = dealt(task.train[1], task.clients, None, 0)
    rows_out: list[list[Cell]] = []
    with scratch(work) as held:
        place = f"{held}/store"
        server = Server(place, "run", tiers="q4,q8,exact")
        client = Client(place, "run", 0, f"{held}/client", tier="q4")
        for number in range(rounds):
            server.publish(weights)
            got = client.receive()
            p2uformat.pack(weights, f"{held}/fresh", tiers="q4,q8,exact", overwrite=True)
            whole = p2uformat.plan_fetch(f"{held}/fresh", f"{held}/none", tier="q4").total
            kind = "key" if number and got.fetched.parent is None else ""
            rows_out.append([task.name, number + 1, kind, got.moved, whole, got.moved / whole])
            weights = _averaged(task, got.weights, weights, rows, number)
    later = [float(row[5] or 0) for row in rows_out[1:]]
    steady = [float(row[5] or 0) for row in rows_out[1:] if not row[2]]
    keys = f"{len(later) - len(steady)} key frame of {len(later)}"
    return (
        rows_out,
        Check(
            f"bytes down at q4 after the first / fresh q4, {task.name}, {keys}",
            float(np.mean(later)),
            "<=",
            MOST_FOLLOWING,
        ),
        Check(
            f"the same without key frames, {task.name}",
            float(np.mean(steady)),
            "<=",
            MOST_FOLLOWING,
        ),
    )


def _averaged(task: Task, start: Arrays, model: Arrays, rows: list[Array], number: int) -> Arrays:
    """Let all clients train from what one of them received, and add the mean of differences."""
    sums = {name: np.zeros(value.shape) for name, value in model.items()}
    for client, mine in enumerate(rows):
        after = learn(task, start, mine, (0, number, client)).weights
        for name, total in sums.items():
            total += (after[name].astype(np.float64) - start[name]) / len(rows)
    return {name: (value + sums[name]).astype(value.dtype) for name, value in model.items()}
