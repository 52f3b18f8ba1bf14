"""Error against bits: a point per tensor and lossy tier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import NullLocator

from p2u_cli.plots import bars, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import Anatomy, TensorAnatomy

HEIGHT = 4.2
NOTHING = 0.5  # inches for a line that says why

# More points than these are a blot, and the page would weigh megabytes.
POINTS = 800

# Areas in square points, and how many sizes there are: equal dots are drawn once and used often.
LEAST, MOST, SIZES = 12.0, 380.0, 6


def plot(anatomy: Anatomy) -> theme.Plot:
    """Return the figure of an artifact's errors."""
    quantized = [t for t in anatomy.tensors if t.info.quantizer != "opaque" and t.info.parameters]
    shown = sorted(quantized, key=lambda tensor: -tensor.info.parameters)[:POINTS]

    def draw(axes: Axes, narrow: bool) -> None:
        del narrow  # it has no rows
        _draw(axes, anatomy, shown)

    caption = (
        "Each dot is one quantized tensor at one tier, larger for more weights; the ringed ones "
        "are all of them together. Further left is smaller, further down is better. The exact tier "
        "has no error and is not drawn."
    )
    if len(shown) < len(quantized):
        caption += f" Of {len(quantized):,} tensors the {len(shown):,} largest are drawn."
    height = HEIGHT if shown else NOTHING
    return theme.Plot("Error against bits per weight", caption, height, height, draw)


def _draw(axes: Axes, anatomy: Anatomy, shown: Sequence[TensorAnatomy]) -> None:
    tiers = [tier.name for tier in anatomy.summary.tiers]
    if not shown or len(tiers) < 2:
        nothing(axes, "no tensor is quantized: every one travels as it is")
        return
    colours = theme.shades(tiers)
    areas = _areas(shown)
    bits = 0.0
    for number, tier in enumerate(anatomy.summary.tiers[:-1]):
        for area in sorted(set(areas), reverse=True):
            points = [
                (sum(tensor.bits[: number + 1]), theme.bounded(tensor.info.rms_error[number]))
                for tensor, own in zip(shown, areas, strict=True)
                if own == area and tensor.info.rms_error[number] > 0
            ]
            across, up = zip(*points, strict=True) if points else ((), ())
            axes.scatter(across, up, area, color=colours[tier.name], alpha=0.55, linewidths=0)
        bits += tier.bits_per_weight
        if tier.rms_error > 0:
            last = 0 < number == len(tiers) - 2
            _together(axes, bits, tier.rms_error, tier.name, colours[tier.name], left=last)
    _scales(axes)


def _areas(shown: Sequence[TensorAnatomy]) -> list[float]:
    """Return the areas of dots by weights, all of them smaller where there are many."""
    most = max(tensor.info.parameters for tensor in shown)
    spread = (MOST - LEAST) / max(1.0, len(shown) / 10) ** 0.5
    sizes = [math.ceil(SIZES * tensor.info.parameters / most) for tensor in shown]
    return [LEAST + spread * (size - 1) / (SIZES - 1) for size in sizes]


def _together(axes: Axes, bits: float, error: float, name: str, colour: str, *, left: bool) -> None:
    error = theme.bounded(error)
    axes.scatter([bits], [error], 70, color=colour, edgecolors=theme.INK, linewidths=1.4, zorder=3)
    text = f"{name}: {bits:.3g} bits, {theme.percent(error)}"
    # Dots run from the upper left to the lower right: that leaves room in the other corners.
    axes.annotate(
        text,
        (bits, error),
        (-10, -16) if left else (8, 12),
        textcoords="offset points",
        ha="right" if left else "left",
        size=9,
        weight="bold",
        bbox={"boxstyle": "square,pad=0.15", "color": theme.PAGE, "alpha": 0.75, "linewidth": 0},
        zorder=4,
    )


def _scales(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.margins(x=0.14, y=0.16)
    ticks = bars.log_ticks(*axes.get_ylim())
    axes.set_yticks(ticks, [theme.percent(tick) for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", labelcolor=theme.MUTED)
    axes.set(xlabel="stored bits per weight, up to the tier", ylabel="relative RMS error")
    axes.grid(visible=True)


def nothing(axes: Axes, text: str) -> None:
    """Say why there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0, 0.5, text, transform=axes.transAxes, color=theme.MUTED, va="center", size=10)
