"""Plain aligned columns: rows that a program can split, that never lose a digit."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells

GAP = "  "

# On a narrow terminal the first column, a name, is folded to this many cells at least.
NAME_WIDTH = 24


def aligned(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, width: int | None
) -> str:
    """Return a table of texts that are safe to show already.

    Parameters
    ----------
    headings : sequence of str
        One per column.
    rows : sequence of sequences of str
        A row may be shorter than the headings; what it lacks is empty.
    left : int, optional
        So many first columns are flush left, the others flush right.
    width : int or None
        Cells of the terminal, to fold long names to; None folds nothing.

    Returns
    -------
    str
        Lines, the last one ended too. A line may be wider than `width`, because only the first
        column is ever folded and nothing is cut off.

    Examples
    --------
    >>> print(aligned(["tier", "bytes"], [["q4", "1,024"], ["exact", "99"]], width=None), end="")
    tier   bytes
    ------------
    q4     1,024
    exact     99
    """
    filled = [[*row, *[""] * (len(headings) - len(row))] for row in (headings, *rows)]
    widths = [max(cell_len(row[i]) for row in filled) for i in range(len(headings))]
    if width is not None:
        others = sum(widths[1:]) + len(GAP) * (len(widths) - 1)
        widths[0] = min(widths[0], max(NAME_WIDTH, width - others))
    lines = [line for row in filled for line in _lines(row, widths, left)]
    rule = "-" * (sum(widths) + len(GAP) * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _lines(row: Sequence[str], widths: Sequence[int], left: int) -> Iterator[str]:
    name, *folded = chop_cells(row[0], widths[0]) or [""]
    cells = [name, *row[1:]]
    padded = [_padded(cells[i], widths[i], flush_left=i < left) for i in range(len(cells))]
    yield GAP.join(padded).rstrip()
    yield from folded


def _padded(text: str, width: int, *, flush_left: bool) -> str:
    space = " " * (width - cell_len(text))
    return text + space if flush_left else space + text
