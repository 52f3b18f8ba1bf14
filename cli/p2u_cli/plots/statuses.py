"""What became of the tensors: source bytes by status, and where new stored bytes belong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2u_cli.plots import bars, theme
from p2u_cli.plots.errors import NOTHING, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import DiffReport, TensorDiff

_Row = tuple[str, Sequence[int], str]


def plot_statuses(report: DiffReport) -> theme.Plot:
    """Return the figure of source bytes by status."""
    shown = [status for status in theme.STATUS if report.count(status)]

    def draw(axes: Axes, narrow: bool) -> None:
        _draw_statuses(axes, report, shown, narrow=narrow)

    caption = (
        "Source bytes of all tensors, by what became of them; of a removed tensor its bytes in A, "
        "of others those in B."
    )
    height, tall = bars.heights(len(shown)) if shown else (NOTHING, NOTHING)
    return theme.Plot("Tensors", caption, height, tall, draw)


def _draw_statuses(axes: Axes, report: DiffReport, shown: Sequence[str], *, narrow: bool) -> None:
    if not shown:
        nothing(axes, "there is no tensor")
        return
    sizes = [sum(t.bytes[1] or t.bytes[0] for t in report.tensors if t.status == s) for s in shown]
    most = max(sizes)
    bars.bytes_axis(axes, most, 1.6 if narrow else 1.25)
    for row, (status, size) in enumerate(zip(shown, sizes, strict=True)):
        axes.barh(row, size, bars.thickness(narrow=narrow), color=theme.STATUS[status])
        count = report.count(status)
        said = f"{count:,} {'tensor' if count == 1 else 'tensors'}, {theme.amount(size)}"
        bars.note(axes, size, row, said)
    bars.name_rows(axes, shown, narrow=narrow)


def plot_new(report: DiffReport) -> theme.Plot:
    """Return the figure of new stored bytes by tensor."""
    ranked = sorted(
        (t for t in report.tensors if sum(t.new_bytes)), key=lambda t: -sum(t.new_bytes)
    )
    rows = _rows(ranked)

    def draw(axes: Axes, narrow: bool) -> None:
        _draw_new(axes, report, rows, narrow=narrow)

    caption = (
        "Stored bytes of B that A does not hold, by tensor, tier upon tier; a chunk that several "
        "tensors share is divided among them."
    )
    height, tall = bars.heights(len(rows) + 1) if rows else (NOTHING, NOTHING)
    return theme.Plot("New bytes by tensor", caption, height, tall, draw)


def _rows(ranked: Sequence[TensorDiff]) -> list[_Row]:
    rows: list[_Row] = [(tensor.name, tensor.new_bytes, tensor.status) for tensor in ranked]
    if len(rows) <= theme.NAMED + 1:
        return rows
    rest = [sizes for _, sizes, _ in rows[theme.NAMED :]]
    sums = [sum(sizes) for sizes in zip(*rest, strict=True)]
    return [*rows[: theme.NAMED], (f"{len(rest):,} others", sums, "")]


def _draw_new(
    axes: Axes,
    report: DiffReport,
    rows: Sequence[_Row],
    *,
    narrow: bool,
) -> None:
    if not rows:
        nothing(axes, "A holds every chunk of every tensor of B")
        return
    tiers = report.ladders[1]
    bars.stacked(axes, tiers, [sizes for _, sizes, _ in rows], narrow=narrow)
    bars.totals(axes, [(sum(sizes), status) for _, sizes, status in rows])
    names = [theme.named(name, bars.letters(narrow=narrow)) for name, *_ in rows]
    bars.name_rows(axes, names, narrow=narrow)
