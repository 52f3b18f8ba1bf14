"""Draw the demonstration's tables: bytes, error and accuracy per tier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from examples.demo.digits import Score
from examples.demo.tiers import TierRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSSY, EXACT = "#1b6ca8", "#3a7d44"


def draw(path: Path, name: str, model: Sequence[TierRow], scores: Sequence[Score]) -> None:
    """Draw all of it side by side into one PNG.

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

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _bytes(left, name, model)
    _error(middle, name, model)
    _accuracy(right, scores)
    figure.savefig(path, dpi=110)


def _bytes(axis: Axes, name: str, rows: Sequence[TierRow]) -> None:
    colours = [EXACT if row.error == 0 else LOSSY for row in rows]
    bars = axis.bar(
        [row.name for row in rows], [row.fetched / 1e6 for row in rows], color=colours, width=0.6
    )
    shares = [f"{row.fetched / 1e6:.1f} MB\n{100 * row.fetched / row.source:.1f} %" for row in rows]
    axis.bar_label(bars, shares)
    original = rows[-1].source / 1e6
    axis.axhline(original, color="grey", linestyle=":")
    axis.text(-0.35, original, "the original file", va="bottom", color="grey")
    axis.set(ylabel="bytes to fetch, MB", title=f"{name}: bytes", ylim=(0, 1.3 * original))


def _error(axis: Axes, name: str, rows: Sequence[TierRow]) -> None:
    percents = [100 * row.error for row in rows]
    axis.plot([row.name for row in rows], percents, "o", color=LOSSY, markersize=9)
    for at, percent in enumerate(percents):
        note = f"{percent:.2g} %" if percent else "none:\nbit for bit"
        axis.annotate(note, (at, percent), (0, 9), textcoords="offset points", ha="center")
    # Logarithmic above the smallest error shown, linear from there down to none at all.
    smallest = min((percent for percent in percents if percent), default=1)
    axis.set_yscale("symlog", linthresh=smallest)
    axis.set(ylim=(-smallest / 4, 4 * max(*percents, smallest)), xlim=(-0.6, len(rows) - 0.4))
    axis.set(ylabel="relative RMS error, %", title=f"{name}: error of the weights")
    axis.grid(visible=True, axis="y", alpha=0.3)


def _accuracy(axis: Axes, scores: Sequence[Score]) -> None:
    names = [f"{score.tier}\n{score.bits:.3g}" for score in scores]
    values = [score.accuracy for score in scores]
    axis.plot(names, values, "o-", color=LOSSY, markersize=9)
    axis.plot(names[-1:], values[-1:], "o", color=EXACT, markersize=9)
    for at, value in enumerate(values):
        note = (at, value), (0, 9)
        axis.annotate(f"{value:.1f} %", *note, textcoords="offset points", ha="center")
    spread = max(max(values) - min(values), 2)
    axis.set(ylim=(min(values) - spread, max(values) + spread), xlim=(-0.6, len(scores) - 0.4))
    axis.set(xlabel="tier, bits per weight", ylabel="accuracy, %", title="Digits: accuracy")
    axis.grid(visible=True, axis="y", alpha=0.3)
