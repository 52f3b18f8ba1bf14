"""Rows with a name and a bar: what several figures are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from p2u_cli.plots import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches that a row takes: where there is room, its name stands beside it, else above it.
ROW, TALL_ROW = 0.27, 0.46
AROUND = 0.62
BAR = 0.62
MOST_TICKS = 7
DWARFS = 2.5
TALL_BAR = 0.42


def heights(rows: int) -> tuple[float, float]:
    """Return the height of a chart of so many rows, wide and narrow."""
    return ROW * rows + AROUND, TALL_ROW * rows + AROUND


def thickness(*, narrow: bool) -> float:
    """Return the thickness of a bar, in rows."""
    return TALL_BAR if narrow else BAR


def name_rows(axes: Axes, names: Sequence[str], *, narrow: bool) -> None:
    """Name rows 0, 1, 2 ... from the top down; the names are labels already."""
    axes.set_ylim(len(names) - 0.4, -0.75 if narrow else -0.6)
    if not narrow:
        axes.set_yticks(range(len(names)), names)
        return
    axes.set_yticks([])
    for row, name in enumerate(names):
        axes.text(0, row - 0.27, name, size=8.5, va="bottom", transform=axes.get_yaxis_transform())


def letters(*, narrow: bool) -> int:
    """Return how long a name may be."""
    return 44 if narrow else 46


def note(
    axes: Axes, x: float, row: float, text: str, *, colour: str = theme.INK, apart: float = 5
) -> None:
    """Write a label to the right of a bar's end, so many points apart."""
    axes.annotate(
        text, (x, row), (apart, 0), textcoords="offset points", va="center", size=8.5, color=colour
    )


def dots(
    axes: Axes, start: float, rows: Sequence[tuple[float | None, str]], colour: str = theme.NEW
) -> None:
    """Draw a dot with a stem from `start`, and a label, for each row; None has no dot."""
    for row, (at, text) in enumerate(rows):
        if at is not None:
            axes.plot([start, at], [row, row], color=theme.LINE, linewidth=2, zorder=1)
            axes.plot([at], [row], "o", color=colour, markersize=6)
        note(axes, start if at is None else at, row, text, apart=8)


def bytes_axis(axes: Axes, most: float, room: float) -> None:
    """Make the x axis one of bytes up to `most`, and leave room for labels behind it."""
    by, name = theme.unit(most)
    scale_axis(axes, most, room, by, name)


def scale_axis(axes: Axes, most: float, room: float, by: float, name: str) -> None:
    """Make the x axis one from 0 to `most`, its ticks round numbers of `by`."""
    axes.set_xlim(0, (most or 1) * room)
    locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=by == 1)
    ticks = [tick for tick in locator.tick_values(0, most / by) if 0 <= tick <= most / by]
    axes.set_xticks([tick * by for tick in ticks], [f"{tick:,g}" for tick in ticks])
    axes.set_xlabel(name, loc="left")
    axes.grid(visible=True, axis="x")


def totals(axes: Axes, rows: Sequence[tuple[float, str]]) -> None:
    """Label stacked bars with their sizes and something more; one that is cut off, at its start."""
    _, end = axes.get_xlim()
    for row, (size, more) in enumerate(rows):
        said = ", ".join(filter(None, (theme.amount(size), more)))
        note(axes, size if size < end else 0, row, said, colour=theme.MUTED)


def log_ticks(low: float, high: float) -> list[float]:
    """Return about half a dozen round numbers between two.

    Examples
    --------
    >>> log_ticks(0.05, 3), log_ticks(1, 1e4)
    ([0.05, 0.1, 0.2, 0.5, 1.0, 2.0], [1.0, 10.0, 100.0, 1000.0, 10000.0])
    """
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for digits in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{digit}e{power}") for power in decades for digit in digits]
        found = [tick for tick in ticks if low <= tick <= high]
        if len(found) <= MOST_TICKS:
            return found
    return found[:: -(-len(found) // MOST_TICKS)]


def stacked(
    axes: Axes, tiers: Sequence[str], rows: Sequence[Sequence[float]], *, narrow: bool
) -> None:
    """Draw a bar of tier upon tier for each row, and say above which colour is which tier.

    A last row of all others has no bar where it would dwarf those that have a name.
    """
    colours = theme.shades(tiers)
    totals = [sum(sizes) for sizes in rows]
    most = max(totals)
    if len(rows) > theme.NAMED and totals[-1] > DWARFS * max(totals[:-1]):
        rows, most = [*rows[:-1], [0.0] * len(tiers)], max(totals[:-1])
    bytes_axis(axes, most, 1.6 if narrow else 1.25)
    for number, tier in enumerate(tiers):
        at = [sum(sizes[:number]) for sizes in rows]
        own = [sizes[number] for sizes in rows]
        size = thickness(narrow=narrow)
        axes.barh(range(len(rows)), own, size, at, color=colours[tier], label=tier)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4 if narrow else 8,
        borderaxespad=0,
        handlelength=1,
        handleheight=1,
        columnspacing=1.2,
    )
