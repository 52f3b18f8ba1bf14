"""The plots of the report: which are drawn, and those of bytes and errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import speedplots
from benchmarks.report import Cell, Section, cell

#: One colour per kind of thing, the same in every plot.
OURS, THEIRS = "#1b6ca8", "#c8553d"


def draw(folder: Path, sections: Sequence[Section]) -> list[str]:
    """Draw what the sections allow, and return the names of the files written."""
    held = {section.key: section.tables for section in sections if section.tables}
    drawn = []
    for name, (key, table, plot) in PLOTS.items():
        if key in held and held[key][table].rows:
            plot(folder / name, held[key][table].columns, held[key][table].rows)
            drawn.append(name)
    return drawn


def tiers(path: Path, _: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Draw bytes to fetch against error, for the tiers of every model and for GGUF."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(str(row[0]) for row in rows))
    figure = Figure(figsize=(4 * len(models), 3.4), layout="constrained")
    axes = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    for axis, model in zip(axes, models, strict=True):
        mine = [row for row in rows if row[0] == model]
        for start, colour, label in (("p2u", OURS, "p2u tiers"), ("GGUF", THEIRS, "GGUF")):
            points = [row for row in mine if str(row[1]).startswith(start) and row[5]]
            across = [float(row[3] or 0) / 1e6 for row in points]
            axis.plot(
                across, [float(row[5] or 0) for row in points], "o-", color=colour, label=label
            )
            for row, x in zip(points, across, strict=True):
                name = str(row[1]).split()[-1]
                axis.annotate(name, (x, float(row[5] or 0)), (6, 4), textcoords="offset points")
        axis.set(title=model, xlabel="bytes to fetch, MB", yscale="log")
        axis.margins(x=0.25, y=0.15)
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("relative RMS error")
    axes[0].legend(loc="lower left")
    figure.savefig(path, dpi=110)


def ratios(path: Path, _: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Draw the q4 error of every model as a share of Q4_0's, at both budgets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.28 * len(rows) + 1.2), layout="constrained")
    axis = figure.subplots()
    at = range(len(rows))
    axis.axvline(1, color=THEIRS, label="GGUF Q4_0 (4.5 bits)")
    axis.scatter([float(row[4] or 0) for row in rows], at, color=OURS, label="q4 at 4.0 bits")
    at_45 = [float(row[7] or 0) for row in rows]
    axis.scatter(at_45, at, facecolors="none", edgecolors=OURS, label="q4 at 4.5 bits")
    axis.set_yticks(at, [str(row[0]) for row in rows])
    axis.set(xlabel="error / error of Q4_0 (smaller is better)")
    axis.grid(visible=True, axis="x", alpha=0.3)
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def updates(path: Path, _: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Draw the bytes of every update beside zstd's patch, packing afresh and casync's chunks."""
    from matplotlib.figure import Figure

    kinds = [
        (1, "update", OURS),
        (3, "zstd -19 --patch-from", THEIRS),
        (2, "packed afresh", "#9db8cc"),
        (4, "casync, new chunks", "#e3b8a8"),
    ]
    kinds = [kind for kind in kinds if any(row[kind[0]] is not None for row in rows)]
    figure = Figure(figsize=(8, 0.5 * len(rows) + 1.2), layout="constrained")
    axis = figure.subplots()
    thick = 0.8 / len(kinds)
    for place, (column, label, colour) in enumerate(kinds):
        at = [number + (place - (len(kinds) - 1) / 2) * thick for number in range(len(rows))]
        across = [float(row[column] or 0) / 1e3 for row in rows]
        bars = axis.barh(at, across, thick, label=label, color=colour)
        shown = [f"{kb:,.3g}" if kb < 1000 else f"{kb:,.0f}" for kb in across]
        axis.bar_label(
            bars,
            [text if kb else "" for text, kb in zip(shown, across, strict=True)],
            padding=2,
            fontsize=6,
        )
    axis.set_yticks(range(len(rows)), [str(row[0]) for row in rows])
    axis.set(xlabel="kB (smaller is better)")
    axis.grid(visible=True, axis="x", alpha=0.3)
    axis.margins(x=0.08, y=0.02)
    axis.set_axisbelow(True)
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def fetches(path: Path, _: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Draw the seconds of every fetch, a panel for each link, the longest on top."""
    from matplotlib.figure import Figure

    links = list(dict.fromkeys(str(cell(row[0])) for row in rows))
    parts = [[row for row in rows if cell(row[0]) == link] for link in links]
    heights = [len(part) + 0.6 for part in parts]
    figure = Figure(figsize=(8, 0.42 * sum(heights) + 1), layout="constrained")
    axes = figure.subplots(len(links), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, link, part in zip(axes, links, parts, strict=True):
        ordered = sorted(part, key=lambda row: float(row[4] or 0))
        seconds = [float(row[4] or 0) for row in ordered]
        colours = [OURS if str(row[1]).startswith("p2u") else THEIRS for row in ordered]
        bars = axis.barh([str(row[1]) for row in ordered], seconds, 0.7, color=colours)
        labels = [
            f"{taken:.3g} s, {float(row[2] or 0) / 1e6:.3g} MB"
            for taken, row in zip(seconds, ordered, strict=True)
        ]
        axis.bar_label(bars, labels, padding=3, fontsize=8)
        axis.set_title(f"MiniLM over {link} Mbit/s", fontsize=10, loc="left")
        axis.set_xlim(0, 1.25 * max(seconds))
        axis.grid(visible=True, axis="x", alpha=0.3)
        axis.set_axisbelow(True)
    axes[-1].set_xlabel("seconds (smaller is better)")
    figure.savefig(path, dpi=110)


Plot = Callable[[Path, Sequence[str], Sequence[Sequence[Cell]]], None]

#: File -> section, number of its table, how it is drawn.
PLOTS: dict[str, tuple[str, int, Plot]] = {
    "tiers.png": ("sizes", 1, tiers),
    "q4-error.png": ("q4-error", 0, ratios),
    "speed-one-core.png": ("speed", 0, speedplots.bars),
    "speed-all-cores.png": ("speed", 2, speedplots.bars),
    "growth.png": ("growth", 0, speedplots.growth),
    "updates.png": ("versions", 0, updates),
    "fetching.png": ("fetching", 0, fetches),
}
