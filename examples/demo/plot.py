"""Draw the demonstration's tables: bytes against error, and accuracy per tier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from examples.demo.digits import Score
from examples.demo.tiers import TierRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BYTES, LINE, EXACT = "#9fc5dd", "#c8553d", "#3a7d44"


def draw(path: Path, name: str, model: Sequence[TierRow], scores: Sequence[Score]) -> None:
    """Draw both halves side by side into one PNG.

    Parameters
    ----------
    path
        Where to write it.
    name
        What to call the large model.
    model
        One row per tier of the large model.
    scores
        One score per tier of the small classifier.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _bytes_and_error(left, name, model)
    _accuracy(right, scores)
    figure.savefig(path, dpi=110)


def _bytes_and_error(axis: Axes, name: str, rows: Sequence[TierRow]) -> None:
    names = [row.name for row in rows]
    bars = axis.bar(names, [row.fetched / 1e6 for row in rows], color=BYTES, width=0.55)
    labels = [f"{row.fetched / 1e6:.1f} MB" for row in rows]
    axis.bar_label(bars, labels, label_type="center")
    axis.axhline(rows[-1].source / 1e6, color="grey", linestyle=":")
    axis.text(-0.4, rows[-1].source / 1e6, "the original file", va="bottom", color="grey")
    axis.set(ylabel="bytes to fetch, MB", title=f"{name}: what a tier costs, how far it is off")
    axis.margins(y=0.15)
    errors = axis.twinx()
    errors.plot(names, [100 * row.error for row in rows], "o-", color=LINE)
    for at, row in enumerate(rows):
        note = f"{100 * row.error:.2g} %" if row.error else "exact"
        errors.annotate(note, (at, 100 * row.error), (8, 7), textcoords="offset points", color=LINE)
    errors.set_ylabel("relative RMS error, %", color=LINE)
    errors.set_ylim(-0.4, 1.25 * max(100 * row.error for row in rows))


def _accuracy(axis: Axes, scores: Sequence[Score]) -> None:
    names = [f"{score.tier}\n{score.bits:.3g} bits" for score in scores]
    colours = [EXACT if score.tier == "exact" else BYTES for score in scores]
    bars = axis.bar(names, [score.accuracy for score in scores], color=colours, width=0.55)
    axis.bar_label(bars, [f"{score.accuracy:.1f} %" for score in scores])
    lowest = min(score.accuracy for score in scores)
    axis.set(ylim=(max(0, lowest - 12), 103), ylabel="accuracy, %")
    axis.set(title="Digits classifier: accuracy at every tier")
