"""Error against bits: a point per tensor and lossy tier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from p2u_cli.plots import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import Anatomy, TensorAnatomy

HEIGHT = 4.2

# More points than these are a blot, and the page would weigh megabytes.
POINTS = 1500


def plot(anatomy: Anatomy) -> theme.Plot:
    """Return the figure of an artifact's errors."""
    quantized = [t for t in anatomy.tensors if t.info.quantizer == "bitplane" and t.info.parameters]
    shown = sorted(quantized, key=lambda tensor: -tensor.info.parameters)[:POINTS]

    def draw(axes: Axes, narrow: bool) -> None:
        _draw(axes, anatomy, shown, narrow=narrow)

    caption = (
        "Each dot is one quantized tensor at one tier, larger for more weights; the ringed ones "
        "are all of them together. Further left is smaller, further down is better. The exact tier "
        "has no error and is not drawn."
    )
    if len(shown) < len(quantized):
        caption += f" Of {len(quantized):,} tensors the {len(shown):,} largest are drawn."
    height = HEIGHT if shown else 1.4
    return theme.Plot("Error against bits per weight", caption, height, height, draw)


def _draw(axes: Axes, anatomy: Anatomy, shown: Sequence[TensorAnatomy], *, narrow: bool) -> None:
    tiers = [tier.name for tier in anatomy.summary.tiers]
    if not shown or len(tiers) < 2:
        nothing(axes, "no tensor is quantized: every one travels as it is")
        return
    colours = theme.shades(tiers)
    most = max(tensor.info.parameters for tensor in shown)
    spread = 500 if narrow else 900
    bits = 0.0
    for number, tier in enumerate(anatomy.summary.tiers[:-1]):
        points = [
            (sum(t.bits[: number + 1]), t.info.rms_error[number], t.info.parameters / most)
            for t in shown
            if t.info.rms_error[number] > 0
        ]
        across, up, sizes = zip(*points, strict=True) if points else ((), (), ())
        area = [12 + spread * 0.4 * size for size in sizes]
        axes.scatter(across, up, area, color=colours[tier.name], alpha=0.55, linewidths=0)
        bits += tier.bits_per_weight
        if tier.rms_error > 0:
            _together(axes, bits, tier.rms_error, tier.name, colours[tier.name])
    _scales(axes)


def _together(axes: Axes, bits: float, error: float, name: str, colour: str) -> None:
    axes.scatter([bits], [error], 70, color=colour, edgecolors=theme.INK, linewidths=1.4, zorder=3)
    text = f"{name}: {bits:.3g} bits, {theme.percent(error)}"
    axes.annotate(
        text,
        (bits, error),
        (10, 12),
        textcoords="offset points",
        size=9,
        weight="bold",
        zorder=4,
    )


def _scales(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: theme.percent(y)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", labelcolor=theme.MUTED, which="both", length=0)
    axes.set(xlabel="stored bits per weight, up to the tier", ylabel="relative RMS error")
    axes.margins(x=0.14, y=0.16)
    axes.grid(visible=True)


def nothing(axes: Axes, text: str) -> None:
    """Say why there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0, 0.5, text, transform=axes.transAxes, color=theme.MUTED, va="center", size=10)
