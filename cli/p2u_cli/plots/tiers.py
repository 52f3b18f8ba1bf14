"""Bytes per tier: where in the file each one ends, and what a model at it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2u_cli.plots import bars, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import Summary


def plot(summary: Summary) -> theme.Plot:
    """Return the figure of an artifact's tiers."""

    def draw(axes: Axes, narrow: bool) -> None:
        _draw(axes, summary, narrow=narrow)

    caption = (
        "The file from its first byte to its last: each bar begins where the one before it ends. "
        "A model at a tier needs all bytes from the left up to the end of that tier's bar."
    )
    return theme.Plot("Bytes per tier", caption, *bars.heights(len(summary.tiers) + 1), draw)


def _draw(axes: Axes, summary: Summary, *, narrow: bool) -> None:
    colours = theme.shades([tier.name for tier in summary.tiers])
    rows = [("manifest", summary.manifest_bytes, theme.OTHER, "")]
    for tier in summary.tiers:
        error = f", RMS error {theme.percent(tier.rms_error)}" if tier.rms_error else ", no error"
        rows.append((tier.name, tier.bytes, colours[tier.name], error))
    most = max(summary.bytes, summary.source_bytes)
    bars.bytes_axis(axes, most, 1.02)
    at, names = 0, []
    for row, (name, size, colour, error) in enumerate(rows):
        axes.barh(row, size, bars.thickness(narrow=narrow), at, color=colour)
        said = theme.amount(size)
        if error and summary.source_bytes:
            share = theme.percent((at + size) / summary.source_bytes)
            said += f" · up to here {share} of source" + ("" if narrow else error)
        if narrow:
            name = f"{name} · {said}"
        else:
            _beside(axes, at, at + size, row, said, most)
        names.append(name)
        at += size
    if summary.source_bytes:
        axes.axvline(summary.source_bytes, color=theme.MUTED, linestyle=(0, (2, 2)), linewidth=1)
        text = f"source {theme.amount(summary.source_bytes)}"
        axes.annotate(
            text,
            (summary.source_bytes, 1),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right",
            size=8.5,
            color=theme.MUTED,
        )
    bars.name_rows(axes, names, narrow=narrow)


def _beside(axes: Axes, start: float, end: float, row: int, text: str, most: float) -> None:
    """Write a label behind a bar, or before it where there is more room."""
    if end <= most - start:
        bars.note(axes, end, row, text)
        return
    inside = (end - start) > 0.55 * most
    axes.annotate(
        text,
        (end if inside else start, row),
        (-6, 0),
        textcoords="offset points",
        va="center",
        ha="right",
        size=8.5,
        color="#ffffff" if inside else theme.INK,
    )
