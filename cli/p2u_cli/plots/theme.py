"""How every picture looks: colours, units, names; and nothing of the user's own settings."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb
from matplotlib.font_manager import findfont, get_font

from p2u_cli.escape import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# On a page these become variables of its style sheet, so that they follow a dark theme.
INK, MUTED, LINE = "#1d2125", "#626a73", "#d5dae0"
PAGE = "#fefefe"  # behind labels
BASE, FINE, EXACT, OTHER = "#1b6ca8", "#74b4e0", "#d98e1f", "#8b949e"
HELD, NEW, ADDED = "#b7c2cd", "#c8553d", "#6a4c93"

# Blue, orange, grey and their shades stay apart for eyes that see red and green alike.
STATUS = {
    "identical": HELD,
    "changed": NEW,
    "reshaped": NEW,
    "retyped": NEW,
    "added": ADDED,
    "removed": OTHER,
}

# Rows of a bar chart that are named; what comes behind is summed up in one more.
NAMED = 20

_SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.grid": False,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    # The same figures give the same bytes.
    "svg.hashsalt": "p2u",
    "text.color": INK,
    # A name such as $x^2$ is a name.
    "text.parse_math": False,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "xtick.minor.size": 0,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure, ready to be drawn wide or narrow.

    Attributes
    ----------
    title, caption : str
        What it shows, and how to read it. Safe to show.
    height, tall : float
        Inches, wide and narrow.
    draw : callable
        Draws into axes; the second argument says whether they are narrow.
    """

    title: str
    caption: str
    height: float
    tall: float
    draw: Callable[[Axes, bool], None]


@contextmanager
def settings() -> Iterator[None]:
    """Draw with these settings alone, without a word on standard error."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def shades(tiers: Sequence[str]) -> dict[str, str]:
    """Return a colour per tier: from dark to light blue, and one of its own for the last."""
    start, end = to_rgb(BASE), to_rgb(FINE)
    steps = max(len(tiers) - 2, 1)
    colours = {
        tier: to_hex(
            [a + (b - a) * min(number / steps, 1) for a, b in zip(start, end, strict=True)]
        )
        for number, tier in enumerate(tiers)
    }
    return colours | {tiers[-1]: EXACT}


def unit(most: float) -> tuple[float, str]:
    """Return what to divide bytes by for an axis up to `most`, and the name of that unit.

    Examples
    --------
    >>> unit(2_500_000)
    (1000000.0, 'MB')
    """
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if most >= size:
            return size, name
    return 1.0, "bytes"


def amount(size: float) -> str:
    """Return a number of bytes in a few characters.

    Examples
    --------
    >>> amount(11_372_956), amount(999)
    ('11.4 MB', '999 bytes')
    """
    by, name = unit(size)
    return f"{size:,.0f} bytes" if by == 1 else f"{size / by:.3g} {name}"


def percent(share: float) -> str:
    """Return a share as a percentage of three digits.

    Examples
    --------
    >>> percent(0.07423), percent(1), percent(0.000002)
    ('7.42 %', '100 %', '0.0002 %')
    """
    text = f"{100 * share:.3g}" if share < 10 else f"{100 * share:,.0f}"
    if "e-" in text and share > 1e-9:
        text = f"{100 * share:.7f}".rstrip("0")
    return f"{text} %"


def part(share: float) -> str:
    """Return a share of a whole, of which hundredths of a percent are enough.

    Examples
    --------
    >>> part(0.00000043), part(0.0972)
    ('< 0.01 %', '9.72 %')
    """
    return "< 0.01 %" if 0 < share < 0.0001 else percent(share)


def bounded(figure: float) -> float:
    """Return a figure that a logarithmic axis can have, whatever a hostile file says."""
    return min(max(figure, 1e-15), 1e15)


def named(name: str, most: int) -> str:
    """Return a raw name as a label of at most so many characters, its middle left out."""
    shown = "".join(map(_drawable, escape(name)))
    if len(shown) <= most:
        return shown
    end = most // 2
    return f"{shown[: most - end - 1]}…{shown[-end:]}"


@lru_cache(maxsize=4096)
def _drawable(char: str) -> str:
    """Return a character, or its number where the font has no picture of it."""
    if char.isascii() or get_font(findfont("DejaVu Sans")).get_char_index(ord(char)):
        return char
    number = ord(char)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
