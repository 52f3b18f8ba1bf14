"""What a holder of the older artifact has to fetch of the newer one, and how its layers differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2u_cli.plots import bars, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import DiffReport


def plot_bytes(report: DiffReport) -> theme.Plot:
    """Return the figure of bytes per tier."""

    def draw(axes: Axes, narrow: bool) -> None:
        _draw_bytes(axes, report, narrow=narrow)

    caption = (
        "Stored bytes of each tier of B: grey are chunks that A holds already, red are new. "
        "The manifest is new unless both are the same file."
    )
    return theme.Plot("To fetch", caption, *bars.heights(len(report.tiers) + 1), draw)


def _draw_bytes(axes: Axes, report: DiffReport, *, narrow: bool) -> None:
    whole, fresh = report.manifest_bytes, report.new_manifest_bytes
    rows = [("manifest", whole - fresh, fresh)]
    rows += [(tier.name, tier.held_bytes, tier.new_bytes) for tier in report.tiers]
    most = max(held + new for _, held, new in rows)
    bars.bytes_axis(axes, most, 1.75 if narrow else 1.3)
    size = bars.thickness(narrow=narrow)
    for row, (_, held, new) in enumerate(rows):
        axes.barh(row, held, size, color=theme.HELD)
        axes.barh(row, new, size, held, color=theme.NEW)
        bars.note(axes, held + new, row, _said(held, new))
    bars.name_rows(axes, [name for name, *_ in rows], narrow=narrow)


def _said(held: int, new: int) -> str:
    if not new:
        return "nothing new"
    if not held:
        return f"{theme.amount(new)}, all new"
    return f"{theme.amount(new)} new, {theme.amount(held)} held"


def plot_layers(report: DiffReport) -> theme.Plot:
    """Return the figure of layers per tier."""

    def draw(axes: Axes, narrow: bool) -> None:
        _draw_layers(axes, report, narrow=narrow)

    caption = (
        "Layers of each tier of B, by their digests: grey are in A too, red replace one of the "
        "same tensor and block, purple are new. A chunk holds one layer or several, so bytes "
        "follow only roughly."
    )
    return theme.Plot("Layers", caption, *bars.heights(len(report.tiers)), draw)


def _draw_layers(axes: Axes, report: DiffReport, *, narrow: bool) -> None:
    most = max(tier.shared + tier.changed + tier.added for tier in report.tiers) or 1
    bars.scale_axis(axes, most, 1.75 if narrow else 1.3, 1, "layers")
    size = bars.thickness(narrow=narrow)
    for row, tier in enumerate(report.tiers):
        at = 0
        said = []
        for count, name, colour in (
            (tier.shared, "shared", theme.HELD),
            (tier.changed, "changed", theme.STATUS["changed"]),
            (tier.added, "added", theme.STATUS["added"]),
        ):
            axes.barh(row, count, size, at, color=colour)
            at += count
            said += [f"{count:,} {name}"] if count else []
        bars.note(axes, at, row, ", ".join(said) or "none")
    bars.name_rows(axes, [tier.name for tier in report.tiers], narrow=narrow)
