"""How far apart changed tensors are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import NullLocator

from p2u_cli.plots import bars, theme
from p2u_cli.plots.errors import NOTHING, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import DiffReport, Distance

_Row = tuple[str, float, str]


def plot(report: DiffReport) -> theme.Plot:
    """Return the figure of distances."""
    rows = _rows(report)

    def draw(axes: Axes, narrow: bool) -> None:
        _draw(axes, report, rows, narrow=narrow)

    caption = "Relative RMS difference of each tensor of equal form that changed, largest first"
    caption += "." if report.tier is None else f", at tier {report.tier}."
    height, tall = bars.heights(len(rows)) if rows else (NOTHING, NOTHING)
    return theme.Plot("How far apart", caption, height, tall, draw)


def _rows(report: DiffReport) -> list[_Row]:
    found = [(t.name, t.distance) for t in report.tensors if t.distance is not None]
    ranked = sorted(
        ((name, d.relative_rms, _said(d)) for name, d in found if d.relative_rms),
        key=lambda row: -row[1],
    )
    if len(ranked) <= theme.NAMED + 1:
        return ranked
    rest = ranked[theme.NAMED :]
    others = (f"{len(rest):,} others, at most", rest[0][1], "")
    return [*ranked[: theme.NAMED], others]


def _said(distance: Distance) -> str:
    assert distance.relative_rms is not None
    if math.isinf(distance.relative_rms):
        return "from nothing but zeros"
    changed = theme.percent(distance.changed_share)
    return f"{theme.percent(distance.relative_rms)} · {changed} of elements"


def _draw(axes: Axes, report: DiffReport, rows: Sequence[_Row], *, narrow: bool) -> None:
    if not rows:
        why = "values were not compared" if report.tier is None else "no float tensor changed"
        nothing(axes, why)
        return
    known = [theme.bounded(figure) for _, figure, _ in rows if math.isfinite(figure)] or [1.0]
    low, high = min(known) / 2, max(*known, min(known) * 4)
    axes.set_xscale("log")
    axes.set_xlim(low, high * (high / low) ** (0.9 if narrow else 0.45))
    ticks = bars.log_ticks(low, high)
    axes.set_xticks(ticks, [theme.percent(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, axis="x")
    ends = [(min(theme.bounded(figure), high), text) for _, figure, text in rows]
    bars.dots(axes, low, ends)
    axes.set_xlabel("relative RMS difference", loc="left")
    names = [theme.named(name, bars.letters(narrow=narrow)) for name, *_ in rows]
    bars.name_rows(axes, names, narrow=narrow)
