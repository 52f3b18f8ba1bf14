"""The plots of federated training, drawn from the tables of its sections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.plots import OURS, THEIRS
from benchmarks.report import Cell, Table

__all__ = ["elastic", "links", "methods", "widths"]

_UPDATES = {
    "QSGD": (THEIRS, "-"),
    "NUQSGD": ("#7a9a3a", "-"),
    "elastic, uniform levels": (OURS, "-"),
    "elastic, fitted tables": ("#7fb3d5", "--"),
}
_METHODS = {
    "fp32 FedAvg": ("black", ":"),
    "fixed 2, 4, 6, 8": (THEIRS, "-"),
    "fixed 5 for all": ("#777777", "--"),
    "planned": (OURS, "-"),
    "pruned and grown": ("#7fb3d5", "-"),
}
_POINTS = 60
Rows = Sequence[Sequence[Cell]]


def _rows(tables: Sequence[Table], title: str) -> Rows:
    return next((table.rows for table in tables if table.title == title), [])


def _names(rows: Rows, column: int) -> list[str]:
    return list(dict.fromkeys(str(row[column]) for row in rows))


def _mean_curve(rows: Rows, seed: int, x: int, y: int) -> tuple[list[float], list[float]]:
    """Return the mean over seeds of y at common x."""
    curves = []
    for one in _names(rows, seed):
        mine = [row for row in rows if str(row[seed]) == one]
        curves.append(([float(r[x] or 0) for r in mine], [float(r[y] or 0) for r in mine]))
    low, high = max(c[0][0] for c in curves), min(c[0][-1] for c in curves)
    at = np.linspace(low, high, _POINTS)
    return at.tolist(), np.mean([np.interp(at, *curve) for curve in curves], axis=0).tolist()


def elastic(path: Path, tables: Sequence[Table]) -> bool:
    """Draw loss against bytes up, a panel for each split, and the levels of one run."""
    from matplotlib.figure import Figure

    rows = _rows(tables, "Round by round")
    splits = _names(rows, 0)
    if not splits:
        return False
    figure = Figure(figsize=(4.2 * (len(splits) + 1), 3.8), layout="constrained")
    axes = figure.subplots(1, len(splits) + 1)
    for axis, split in zip(axes, splits, strict=False):
        for name, (colour, line) in _UPDATES.items():
            mine = [row for row in rows if row[0] == split and row[1] == name]
            x, y = _mean_curve(mine, 2, 4, 5)
            axis.plot([v / 1e6 for v in x], y, line, color=colour, label=name)
        axis.set(title=split, xlabel="bytes up of all clients, MB", yscale="log")
        axis.set_ylabel("training loss, mean of seeds")
        axis.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
        axis.set_yticks([], minor=True)
        axis.set_ylim(0.9 * min(float(row[5] or 0) for row in rows if row[1] != "fp32"), 2.5)
        axis.grid(visible=True, alpha=0.3)
    for name, (colour, line) in _UPDATES.items():
        mine = [row for row in rows if row[0] == splits[0] and row[1] == name and row[2] == 0]
        x, y = [float(row[3] or 0) for row in mine], [float(row[7] or 0) for row in mine]
        axes[-1].step(x, y, line, color=colour, where="mid")
    axes[-1].set(title=f"{splits[0]}, seed 0", xlabel="round", ylabel="levels above 0")
    axes[-1].set_ylim(bottom=0)
    axes[-1].grid(visible=True, alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    return True


def methods(path: Path, tables: Sequence[Table]) -> bool:
    """Draw accuracy against all bytes, a row for each task and a column for each split."""
    from matplotlib.figure import Figure

    rows = _rows(tables, "Round by round")
    tasks, splits = _names(rows, 0), _names(rows, 1)
    if not tasks:
        return False
    figure = Figure(figsize=(5 * len(splits), 3.6 * len(tasks) + 0.5), layout="constrained")
    axes = figure.subplots(len(tasks), len(splits), squeeze=False)
    for line_of, task in zip(axes, tasks, strict=True):
        for axis, split in zip(line_of, splits, strict=True):
            for name, (colour, line) in _METHODS.items():
                mine = [row for row in rows if list(row[:3]) == [task, split, name]]
                x, y = _mean_curve(mine, 3, 5, 6)
                axis.plot([v / 1e6 for v in x], y, line, color=colour, label=name)
            axis.set(title=f"{task}, {split}", xlabel="bytes down and up of all clients, MB")
            axis.set(ylabel="right of the test, %", xscale="log")
            axis.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
            axis.set_xticks([], minor=True)
            axis.grid(visible=True, alpha=0.3)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110)
    return True


def widths(path: Path, tables: Sequence[Table]) -> bool:
    """Draw the widths of layers over the rounds, a panel for each way to choose them."""
    from matplotlib.figure import Figure

    rows = _rows(tables, "Widths of layers")
    ways = _names(rows, 0)
    if not ways:
        return False
    figure = Figure(figsize=(4.6 * len(ways), 3.6), layout="constrained")
    axes = figure.subplots(1, len(ways), squeeze=False, sharey=True)[0]
    for axis, way in zip(axes, ways, strict=True):
        for number, layer in enumerate(_names(rows, 2)):
            mine = [row for row in rows if row[0] == way and row[2] == layer]
            at = [float(row[1] or 0) for row in mine]
            colour = ("#12406a", OURS, "#7fb3d5", "#c8a53d", THEIRS)[number % 5]
            label = f"{layer}, {mine[0][3]:,} weights"
            axis.plot(at, [float(row[4] or 0) for row in mine], "o-", color=colour, label=label)
        axis.set(title=way, xlabel="round")
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("bits, mean of clients")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
    return True


def links(path: Path, tables: Sequence[Table]) -> bool:
    """Draw how many clients are done after how many seconds."""
    from matplotlib.figure import Figure

    rows = _rows(tables, "Seconds of clients")
    ways = _names(rows, 0)
    if not ways:
        return False
    figure = Figure(figsize=(6.4, 3.9), layout="constrained")
    axis = figure.subplots()
    for way, colour in zip(ways, ("black", "#777777", "#7fb3d5", OURS), strict=False):
        mine = [row for row in rows if row[0] == way]
        at = [float(row[2] or 0) for row in mine]
        axis.plot(at, [float(row[1] or 0) for row in mine], color=colour, label=way)
    axis.set(xlabel="seconds since the round began", ylabel="clients that are done, %")
    axis.set(xscale="log", ylim=(0, 101))
    axis.set_xticks([0.2, 0.3, 0.5, 1, 2, 4], ["0.2", "0.3", "0.5", "1", "2", "4"])
    axis.set_xticks([], minor=True)
    axis.grid(visible=True, alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)
    return True
