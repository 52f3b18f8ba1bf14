"""The outliers: weights too large for their step, which the base tier stores as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import NullLocator

from p2u_cli.plots import bars, theme
from p2u_cli.plots.errors import NOTHING, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import TensorAnatomy

# SPEC.md, 4: the symbol of everything from here on says "outlier".
LEAST = 127

_Row = tuple[str, float | None, str]


def plot(tensors: Sequence[TensorAnatomy]) -> theme.Plot:
    """Return the figure of an artifact's outliers."""
    rows = _rows([tensor for tensor in tensors if tensor.outliers])

    def draw(axes: Axes, narrow: bool) -> None:
        _draw(axes, rows, narrow=narrow)

    caption = (
        f"Weights of {LEAST} steps and more do not fit a symbol; each is stored whole, and is "
        "exact at every tier. The dot is the largest of a tensor; tensors with most outliers "
        "come first."
    )
    height, tall = bars.heights(len(rows) + 1) if rows else (NOTHING, NOTHING)
    return theme.Plot("Outliers", caption, height, tall, draw)


def _rows(hit: Sequence[TensorAnatomy]) -> list[_Row]:
    ranked = sorted(hit, key=lambda tensor: -tensor.outliers)
    rows = [(t.info.name, t.largest_outlier, _said(t)) for t in ranked]
    if len(rows) <= theme.NAMED + 1:
        return rows
    rest = ranked[theme.NAMED :]
    largest = max((t.largest_outlier for t in rest if t.largest_outlier), default=None)
    count = sum(t.outliers for t in rest)
    return [*rows[: theme.NAMED], (f"{len(rest):,} others", largest, f"{count:,} outliers")]


def _said(tensor: TensorAnatomy) -> str:
    text = f"{tensor.outliers:,} of {tensor.info.parameters:,}"
    if tensor.not_finite:
        text += f", {tensor.not_finite:,} not finite"
    return text


def _draw(axes: Axes, rows: Sequence[_Row], *, narrow: bool) -> None:
    if not rows:
        nothing(axes, "no weight is an outlier")
        return
    rows = [(n, None if at is None else theme.bounded(at), text) for n, at, text in rows]
    known = [largest for _, largest, _ in rows if largest is not None]
    most = max(*known, 2.0 * LEAST) if known else 2.0 * LEAST
    axes.set_xscale("log")
    # Labels take the right part: in decades, as the axis is.
    axes.set_xlim(LEAST / 1.12, LEAST * (most / LEAST) ** (2.1 if narrow else 1.6))
    ticks = bars.log_ticks(LEAST, most)
    axes.set_xticks(ticks, [f"{tick:,.0f}" if tick < 1e6 else f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, axis="x")
    axes.axvline(LEAST, color=theme.MUTED, linestyle=(0, (2, 2)), linewidth=1)
    bars.dots(axes, LEAST, [(largest, text) for _, largest, text in rows])
    axes.set_xlabel(f"largest magnitude, in steps of its segment (from {LEAST})", loc="left")
    names = [theme.named(name, bars.letters(narrow=narrow)) for name, *_ in rows]
    bars.name_rows(axes, names, narrow=narrow)
