"""The plots of time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import calls
from benchmarks import growth as growth_runs
from benchmarks.report import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, THEIRS, LIMIT = "#1b6ca8", "#c8553d", "#9a9a9a"
#: Group -> what stands above its panel, GB/s of which bytes.
PANELS = {
    "pack": "compress\nGB/s of the original",
    "exact": "back to the original\nGB/s of the original",
    "lossy": "to fp32\nGB/s of output",
    "check": "check\nGB/s of what is stored",
}
SHORT = (" decompress", " compress", "p2u ", " (numpy)")


def bars(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Draw every rate as a bar: a row of panels per model, a panel per group of calls."""
    from matplotlib.figure import Figure

    groups = {k: v for k, v in _grouped(rows).items() if k in PANELS}
    models = columns[1:]
    most = max(len(held) for held in groups.values())
    height = len(models) * (0.27 * most + 0.3) + 0.8
    figure = Figure(figsize=(4 * len(groups), height), layout="constrained")
    axes = figure.subplots(len(models), len(groups), squeeze=False, sharex="col")
    for line, model in enumerate(models):
        axes[line][0].set_ylabel(model, fontsize=11, fontweight="bold")
        for axis, held in zip(axes[line], groups.values(), strict=True):
            _panel(axis, [(str(row[0]), float(row[line + 1] or 0)) for row in held], most)
    for axis, group in zip(axes[0], groups, strict=True):
        axis.set_title(PANELS[group], fontsize=10, loc="left")
    figure.savefig(path, dpi=110)


def _grouped(rows: Sequence[Sequence[Cell]]) -> dict[str, list[Sequence[Cell]]]:
    """Split the table at its headings."""
    by_heading = {f"**{text}**": group for group, text in calls.GROUPS.items()}
    groups: dict[str, list[Sequence[Cell]]] = {}
    group = ""
    for row in rows:
        group = by_heading.get(str(row[0]), group)
        if str(row[0]) not in by_heading:
            groups.setdefault(group, []).append(row)
    return groups


def _panel(axis: Axes, named: Sequence[tuple[str, float]], slots: int) -> None:
    """Draw the bars, the fastest on top, as thick as in a panel of `slots` bars."""
    ordered = sorted(named, key=lambda pair: pair[1])
    drawn = axis.barh(
        [_short(name) for name, _ in ordered],
        [value for _, value in ordered],
        color=[_colour(name) for name, _ in ordered],
        height=0.72,
    )
    axis.bar_label(drawn, fmt="%.3g", padding=3, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.margins(x=0.16)
    axis.set_ylim(len(ordered) - slots - 0.5, len(ordered) - 0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _short(name: str) -> str:
    """Leave out what the panel says already."""
    ours = name.startswith("p2u ")
    for part in SHORT:
        name = name.replace(part, "")
    return f"p2u {name}" if ours else name


def _colour(name: str) -> str:
    if name.startswith("p2u"):
        return OURS
    return LIMIT if name.startswith(("BLAKE3", "safetensors")) else THEIRS


def growth(path: Path, _: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Draw time and peak memory of every command against the size of the checkpoint."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    time, memory = figure.subplots(1, 2)
    for command in dict.fromkeys(str(row[0]) for row in rows):
        points = [[float(value or 0) for value in row[1:4]] for row in rows if row[0] == command]
        across = [size / 2**20 for size, _, _ in points]
        time.plot(across, [seconds for _, seconds, _ in points], "o-", label=command)
        memory.plot(across, [mib for _, _, mib in points], "o-", label=command)
    memory.axhline(growth_runs.BOUND_MIB, color=LIMIT, linestyle="--", label="bound")
    time.set(ylabel="seconds", yscale="log")
    time.yaxis.set_major_formatter("{x:g}")
    memory.set(ylabel="peak memory, MiB", ylim=0)
    ticks = sorted({float(row[1] or 0) / 2**20 for row in rows})
    for axis in (time, memory):
        axis.set(xlabel="checkpoint, MiB", xscale="log")
        axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        axis.minorticks_off()
        axis.grid(visible=True, alpha=0.3)
    figure.legend(*memory.get_legend_handles_labels(), loc="outside right", frameon=False)
    figure.savefig(path, dpi=110)
