"""All figures in one picture, in two columns of about the same height."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from p2u_cli.plots import theme

WIDTH, DPI = 16.0, 110
HEAD, APART = 0.9, 0.35


def drawn(heading: str, facts: str, plots: Sequence[theme.Plot]) -> bytes:
    """Return a PNG of all figures.

    Parameters
    ----------
    heading, facts : str
        Written above them, safe to show.
    plots : sequence of Plot
        The figures.
    """
    columns = _columns(plots)
    height = max(sum(plot.height + APART for plot in column) for column in columns)
    with theme.settings():
        figure = Figure(figsize=(WIDTH, HEAD + height), dpi=DPI, layout="constrained")
        halves = figure.subfigures(2, 1, squeeze=False, height_ratios=[HEAD, height])
        above, below = halves[:, 0]
        above.text(0.012, 0.62, heading, size=16, weight="bold", va="center")
        above.text(0.012, 0.2, facts, size=10, color=theme.MUTED, va="center")
        parts = below.subfigures(1, len(columns), squeeze=False)[0]
        for column, part in zip(columns, parts, strict=True):
            _stack(part, column, height)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _columns(plots: Sequence[theme.Plot]) -> list[list[theme.Plot]]:
    """Cut the figures, in order, where the taller column is least tall."""
    if len(plots) < 2:
        return [list(plots)]

    def taller(cut: int) -> float:
        return max(sum(plot.height for plot in side) for side in (plots[:cut], plots[cut:]))

    cut = min(range(1, len(plots)), key=taller)
    return [list(plots[:cut]), list(plots[cut:])]


def _stack(part: Figure, plots: Sequence[theme.Plot], height: float) -> None:
    sizes = [plot.height + APART for plot in plots]
    rest = max(height - sum(sizes), 0.01)
    figures = part.subfigures(len(plots) + 1, 1, height_ratios=[*sizes, rest], squeeze=False)
    for plot, own in zip(plots, figures[:, 0], strict=False):
        axes = own.subplots()
        own.suptitle(plot.title, x=0.01, ha="left", size=12, weight="bold")
        plot.draw(axes, False)
