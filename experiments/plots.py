"""The plots of the report, drawn from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import OURS, THEIRS
from benchmarks.report import Cell, Table

__all__ = ["live", "omc", "steps", "tiers"]

GREY = "#777777"
_SPARE = 2.5  # points
_FAR = 12.0  # points below the rest, where what is further away is put
Rows = Sequence[Sequence[Cell]]


def tiers(path: Path, tables: Sequence[Table]) -> bool:
    """Draw score against bytes, a panel for each model."""
    from matplotlib.figure import Figure

    rows = tables[0].rows
    names = list(dict.fromkeys(str(row[0]) for row in rows))
    if not names:
        return False
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(4.6 * across, 3.6 * down + 0.5), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        _tier_panel(axis, [row for row in rows if row[0] == name], name)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    return True


#: Start of a form's name -> label, colour, marker, line.
_KINDS = {
    "p2u: ": ("p2u, q4 q8 exact", OURS, "o", "-"),
    "p2u from q2: ": ("p2u, q2 q4 q8 exact", "#7fb3d5", "s", "-"),
    "naive": ("naive P2U, 2 4 8 bits", THEIRS, "o", "--"),
    "with": ("naive, with its difference", THEIRS, "D", ""),
    "GGUF": ("GGUF Q4_0, Q8_0", "#7a9a3a", "^", ":"),
    "one-shot": ("best one-shot lossless", GREY, "v", ""),
    "plain": ("plain file", "black", "*", ""),
}


def _kind(name: str) -> str | None:
    if "every matrix" in name:
        return None
    if name.endswith("difference"):
        return "with"
    return next(start for start in _KINDS if name.startswith(start))


def _tier_panel(axis: Any, rows: Rows, name: str) -> None:  # noqa: ANN401 - matplotlib has no types
    text = "bits" in name
    original = float(rows[0][4] or 0)
    # What is far worse than the rest would press all others into one line: it is put on the edge.
    worst = original + 0.6 if text else original - 8
    for start, (label, colour, marker, line) in _KINDS.items():
        mine = [row for row in rows if _kind(str(row[1])) == start]
        x = [float(row[3] or 0) for row in mine]
        true = [float(row[4] or 0) for row in mine]
        y = [min(value, worst) if text else max(value, worst) for value in true]
        out = [shown != value for shown, value in zip(y, true, strict=True)]
        error = [0 if far else float(row[6] or 0) for row, far in zip(mine, out, strict=True)]
        axis.errorbar(
            *(x, y, error),
            color=colour,
            marker=marker,
            linestyle=line,
            label=label,
            capsize=2,
            markersize=8 if marker == "*" else 5,
        )
        side = "right" if start.startswith("p2u") else "left"
        for at, shown, value in zip(x, y, true, strict=True):
            if shown != value:
                away = (-5 if side == "right" else 5, -12)
                axis.annotate(
                    *(f"{value:.3g}", (at, shown), away),
                    textcoords="offset points",
                    ha=side,
                    fontsize=8,
                    color=colour,
                )
    axis.axhline(original, color="black", linewidth=0.6, alpha=0.5)
    axis.set(title=name, xlabel="bytes until it is usable, % of the plain file", xscale="log")
    axis.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    axis.set_xticks([], minor=True)
    axis.set_ylabel("bits per character" if text else "right, %")
    axis.set_xlim(4.5, 135)
    axis.margins(y=0.12)
    if text:
        axis.invert_yaxis()
    axis.grid(visible=True, alpha=0.3)


def live(path: Path, tables: Sequence[Table]) -> bool:
    """Draw what a program answers over time, a column for each model and link."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys((str(row[0]), float(row[1] or 0)) for row in tables[0].rows))
    if not cases:
        return False
    figure = Figure(figsize=(3.9 * len(cases), 6.2), layout="constrained")
    axes = figure.subplots(2, len(cases), squeeze=False, sharex="col")
    for (over, under), case in zip(axes.T, cases, strict=True):
        end = max(float(row[3] or 0) for row in _of(tables[1].rows, case))
        for program, colour in (("stream", OURS), ("download, then load", THEIRS)):
            _score_over_time(over, _of(tables[0].rows, case, program), program, colour, end)
            first = float(_of(tables[0].rows, case, program)[0][5] or 0)
            answered = _of(tables[1].rows, case, program)
            _answers_over_time(under, answered, program, colour, first)
        over.set_title(f"{case[0]}, {case[1]:g} Mbit/s", fontsize=10)
        under.set_xlabel("seconds since the program asked for its model")
        for axis in (over, under):
            axis.grid(visible=True, alpha=0.3)
            axis.set_xlim(0, end)
    axes[0][0].set_ylabel("right of the whole test, %\n(shaded: no answers yet)")
    axes[1][0].set_ylabel("right answers so far")
    handles, labels = axes[1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
    return True


def _of(rows: Rows, case: tuple[str, float], program: str | None = None) -> Rows:
    mine = [row for row in rows if (row[0], row[1]) == case]
    return [row for row in mine if program is None or row[2] == program]


def _score_over_time(axis: Any, rows: Rows, label: str, colour: str, end: float) -> None:  # noqa: ANN401
    at = [float(row[5] or row[4] or 0) for row in rows]
    score = [float(row[7] or 0) for row in rows]
    axis.step([*at, end], [*score, score[-1]], where="post", color=colour, label=label)
    axis.plot(at, score, "o", color=colour, markersize=5)
    if label == "stream":
        for row, x, y in zip(rows, at, score, strict=True):
            axis.annotate(str(row[3]), (x, y), (4, 5), textcoords="offset points", color=colour)
    # Steps of a tenth of a point would fill a panel otherwise.
    axis.set_ylim(min(score) - _SPARE, max(score) + _SPARE)
    axis.axvspan(0, at[0], color=colour, alpha=0.08, linewidth=0)


def _answers_over_time(axis: Any, rows: Rows, label: str, colour: str, first: float) -> None:  # noqa: ANN401
    total, x, y = 0, [0.0, first], [0, 0]
    for row in rows:
        total += int(row[5] or 0)
        if float(row[3] or 0) > first:
            x.append(float(row[3] or 0))
            y.append(total)
    axis.plot(x, y, color=colour, label=label)


#: Format -> colour.
_FORMATS = {"fp32": "black", "S1E4M14": "#7a9a3a", "S1E3M7": OURS, "S1E2M3": THEIRS}


def omc(path: Path, tables: Sequence[Table]) -> bool:
    """Draw what is learned against the memory that parameters take, a panel for each model."""
    from matplotlib.figure import Figure

    rows = tables[0].rows
    names = list(dict.fromkeys(str(row[0]) for row in rows))
    figure = Figure(figsize=(3.8 * len(names), 3.7), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        mine = [row for row in rows if row[0] == name and not isinstance(row[3], str)]
        least = float(mine[0][3] or 0) - _FAR
        for row in mine:
            plain, without = row[1] == "fp32", row[2] == "no"
            x, true = float(row[8] or 0), float(row[3] or 0)
            if true < least:
                away = (8, -3)
                axis.annotate(f"{true:.3g}", (x, least), away, textcoords="offset points")
            axis.errorbar(
                *(x, max(true, least), float(row[4] or 0) if true >= least else 0),
                color=_FORMATS[str(row[1])],
                marker="*" if plain else "x" if without else "o",
                markersize=11 if plain else 7,
                linestyle="",
                capsize=3,
                label=f"{row[1]}, without the transformation" if without else str(row[1]),
            )
        axis.set_title(name, fontsize=10)
        axis.set(xlabel="parameter memory, % of fp32", xlim=(15, 105))
        axis.margins(y=0.15)
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("right, %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    return True


def steps(path: Path, tables: Sequence[Table]) -> bool:
    """Draw how long a step takes, as a multiple of one with ordinary parameters."""
    from matplotlib.figure import Figure

    rows = [row for row in tables[1].rows if row[1] != "fp32"]
    names = list(dict.fromkeys(str(row[0]) for row in rows))
    ways = list(dict.fromkeys((str(row[1]), str(row[2])) for row in rows))
    figure = Figure(figsize=(8, 0.75 * len(names) + 1.4), layout="constrained")
    axis = figure.subplots()
    thick = 0.8 / len(ways)
    for place, (form, fit) in enumerate(ways):
        mine = [float(row[7] or 0) for row in rows if (row[1], row[2]) == (form, fit)]
        at = [number + (place - (len(ways) - 1) / 2) * thick for number in range(len(names))]
        label = form if fit == "yes" else f"{form}, without the transformation"
        shade = 1.0 if fit == "yes" else 0.45
        bars = axis.barh(at, mine, thick, label=label, color=_FORMATS[form], alpha=shade)
        axis.bar_label(bars, [f"{value:.2f}" for value in mine], padding=2, fontsize=6)
    axis.axvline(1.5, color="black", linestyle=":", linewidth=1)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="time of a step / with ordinary parameters (dotted: the figure to be met)")
    axis.invert_yaxis()
    axis.grid(visible=True, axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
    return True
