"""Where the bytes went: by tensor, the largest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2u_cli.plots import bars, theme
from p2u_cli.plots.errors import nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2uformat import Anatomy

_Row = tuple[str, Sequence[float], str]


def plot(anatomy: Anatomy) -> theme.Plot:
    """Return the figure of an artifact's tensors."""
    tiers = [tier.name for tier in anatomy.summary.tiers]
    rows = _rows(anatomy)

    def draw(axes: Axes, narrow: bool) -> None:
        _draw(axes, tiers, rows, narrow=narrow)

    caption = (
        "Stored bytes of each tensor, tier upon tier; a chunk that several tensors share is "
        "divided among them. Behind the bar: stored bits per weight in all tiers together."
    )
    heights = bars.heights(max(len(rows), 1) + 1)
    return theme.Plot("Bytes by tensor", caption, *heights, draw)


def _rows(anatomy: Anatomy) -> list[_Row]:
    ranked = sorted(anatomy.tensors, key=lambda tensor: -sum(tensor.info.stored))
    rows: list[_Row] = [(t.info.name, t.info.stored, f"{sum(t.bits):.3g} bits") for t in ranked]
    if len(rows) <= theme.NAMED + 1:
        return rows
    rest = ranked[theme.NAMED :]
    stored = [sum(sizes) for sizes in zip(*(t.info.stored for t in rest), strict=True)]
    weights = sum(t.info.parameters for t in rest)
    bits = f"{8 * sum(stored) / weights:.3g} bits" if weights else ""
    return [*rows[: theme.NAMED], (f"{len(rest):,} others", stored, bits)]


def _draw(axes: Axes, tiers: Sequence[str], rows: Sequence[_Row], *, narrow: bool) -> None:
    if not rows:
        nothing(axes, "there is no tensor")
        return
    bars.stacked(axes, tiers, [stored for _, stored, _ in rows], narrow=narrow)
    bars.totals(axes, [(sum(stored), bits) for _, stored, bits in rows])
    names = [theme.named(name, bars.letters(narrow=narrow)) for name, *_ in rows]
    bars.name_rows(axes, names, narrow=narrow)
