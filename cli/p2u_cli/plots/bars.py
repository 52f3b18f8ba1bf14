"""Rows with a name and a bar: what several figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator

from p2u_cli.plots import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches that a row takes: where there is room, its name stands beside it, else above it.
ROW, TALL_ROW = 0.27, 0.46
AROUND = 1.0
BAR = 0.62
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


def note(axes: Axes, x: float, row: float, text: str, *, colour: str = theme.INK) -> None:
    """Write a label to the right of a bar's end."""
    axes.annotate(
        text, (x, row), (5, 0), textcoords="offset points", va="center", size=8.5, color=colour
    )


def bytes_axis(axes: Axes, most: float, room: float) -> None:
    """Make the x axis one of bytes up to `most`, and leave room for labels behind it."""
    by, name = theme.unit(most)
    axes.set_xlim(0, (most or 1) * room)
    # Round numbers of the unit, whatever it is.
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x / by:g}" if x <= most * 1.001 or x == 0 else "")
    )
    axes.set_xlabel(name)
    axes.grid(visible=True, axis="x")


def stacked(
    axes: Axes, tiers: Sequence[str], rows: Sequence[Sequence[float]], *, narrow: bool
) -> None:
    """Draw a bar of tier upon tier for each row, and say above which colour is which tier."""
    colours = theme.shades(tiers)
    bytes_axis(axes, max(map(sum, rows)), 1.45 if narrow else 1.2)
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
