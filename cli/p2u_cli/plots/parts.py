"""Where the bytes went: by kind, within each tier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2u_cli.plots import bars, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import Part


def plot(parts: Sequence[Part], tiers: Sequence[str]) -> theme.Plot:
    """Return the figure of an artifact's parts."""

    def draw(axes: Axes, narrow: bool) -> None:
        _draw(axes, parts, theme.shades(tiers), narrow=narrow)

    caption = (
        "Every byte of the file, by what it is for. Symbols, step exponents, classes and outliers "
        "make up a base layer; digits refine it; exponents, planes and remaining bits restore the "
        "original. Tables are the heads of chunks."
    )
    return theme.Plot("Where the bytes went", caption, *bars.heights(len(parts)), draw)


def _draw(axes: Axes, parts: Sequence[Part], colours: dict[str, str], *, narrow: bool) -> None:
    total, most = sum(part.bytes for part in parts), max(part.bytes for part in parts)
    bars.bytes_axis(axes, most, 1.42 if narrow else 1.2)
    for row, part in enumerate(parts):
        colour = theme.OTHER if part.tier is None else colours[part.tier]
        axes.barh(row, part.bytes, bars.thickness(narrow=narrow), color=colour)
        bars.note(
            axes,
            part.bytes,
            row,
            f"{theme.amount(part.bytes)} · {theme.part(part.bytes / total)}",
        )
    names = [part.kind if part.tier is None else f"{part.tier} · {part.kind}" for part in parts]
    bars.name_rows(axes, names, narrow=narrow)
