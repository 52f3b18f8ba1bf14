"""One page that needs nothing but itself: facts, figures, and the numbers as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as html_escape

from p2u_cli.escape import escape
from p2u_cli.plots import svg, theme

_STYLE = """
:root { --ink: #1d2125; --muted: #626a73; --line: #d5dae0; --held: #b7c2cd;
  --page: #ffffff; --stripe: #f5f7f9; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --muted: #a0a8b0; --line: #3a4149;
  --held: #66717c; --page: #15181b; --stripe: #1c2024; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .25rem; }
p { margin: 0 0 .75rem; color: var(--muted); max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.25rem; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { font-family: "DejaVu Sans", Verdana, sans-serif !important; }
.narrow { display: none; }
@media (max-width: 680px) { .wide { display: none; } .narrow { display: block; } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; white-space: nowrap; }
th { color: var(--muted); font-weight: 600; border-bottom: 1px solid var(--line); }
tbody tr:nth-child(even) { background: var(--stripe); }
.left { text-align: left; }
td.name { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 11rem; }
@media print { .scroll { overflow: visible; } }
"""

# A table as long as a large model's list of tensors helps nobody; `--json` has all of them.
ROWS = 200


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers behind the figures.

    Attributes
    ----------
    title : str
        What they are.
    headings : sequence of str
        One per column; the first column holds raw names.
    rows : sequence of sequences of str
        Cells; what stands behind `ROWS` rows is counted.
    left : int
        So many columns are flush left.
    note : str
        What to know of them.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""


def written(
    heading: str,
    facts: Sequence[tuple[str, str]],
    plots: Sequence[theme.Plot],
    tables: Sequence[Table],
) -> bytes:
    """Return the page.

    Parameters
    ----------
    heading : str
        Its title, raw.
    facts : sequence of pairs
        Labels, and texts that are safe to show on a terminal.
    plots : sequence of Plot
        The figures.
    tables : sequence of Table
        The numbers.
    """
    title = _safe(escape(heading))
    listed = "".join(f"<dt>{_safe(label)}</dt><dd>{_safe(text)}</dd>" for label, text in facts)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1><bdi>{title}</bdi></h1><dl>{listed}</dl>",
        *(_figure(plot, number) for number, plot in enumerate(plots)),
        *(_table(table) for table in tables),
        "</main></body></html>\n",
    ]
    return "\n".join(parts).encode()


def _safe(text: str) -> str:
    return html_escape(text, quote=True)


def _figure(plot: theme.Plot, number: int) -> str:
    wide = svg.drawn(plot, f"w{number}-", narrow=False)
    narrow = svg.drawn(plot, f"n{number}-", narrow=True)
    return (
        f"<section><h2>{_safe(plot.title)}</h2><p>{_safe(plot.caption)}</p><figure>"
        f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div></figure></section>'
    )


def _table(table: Table) -> str:
    shown, rest = table.rows[:ROWS], len(table.rows) - ROWS
    note = table.note
    if rest > 0:
        note = f"{note} Behind these there are {rest:,} more; --json has all of them.".strip()
    heads = "".join(
        f"<th{_left(column < table.left)}>{_safe(heading)}</th>"
        for column, heading in enumerate(table.headings)
    )
    body = "".join(f"<tr>{_cells(row, table.left)}</tr>" for row in shown)
    return (
        f"<section><h2>{_safe(table.title)}</h2>{f'<p>{_safe(note)}</p>' if note else ''}"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody>'
        "</table></div></section>"
    )


def _cells(row: Sequence[str], left: int) -> str:
    # A name in letters that run from right to left keeps that to itself.
    name = f'<td class="name"><bdi>{_safe(escape(row[0]))}</bdi></td>'
    others = enumerate(row[1:], 1)
    return name + "".join(f"<td{_left(i < left)}>{_safe(cell)}</td>" for i, cell in others)


def _left(flush: bool) -> str:
    return ' class="left"' if flush else ""
