"""A figure as a piece of a page: an SVG element without a script, a link or a foreign colour."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

from p2u_cli.plots import theme

WIDE, NARROW = 9.6, 4.1

# Colours that a dark page has others for; see the style sheet of `page`.
_VARIABLES = {
    theme.INK: "var(--ink)",
    theme.MUTED: "var(--muted)",
    theme.LINE: "var(--line)",
    theme.HELD: "var(--held)",
    theme.PAGE: "var(--page)",
}
_COLOUR = re.compile("|".join(map(re.escape, _VARIABLES)))
# What names or describes a drawing program, not the drawing.
_DROPPED = {"metadata", "style"}


def drawn(plot: theme.Plot, label: str, *, narrow: bool) -> str:
    """Return a figure as an SVG element.

    Parameters
    ----------
    plot : Plot
        The figure.
    label : str
        What tells its ids from those of other figures on the page.
    narrow : bool
        For a narrow screen.
    """
    size = (NARROW, plot.tall) if narrow else (WIDE, plot.height)
    with theme.settings():
        figure = Figure(figsize=size, layout="constrained")
        plot.draw(figure.subplots(), narrow)
        figure.patch.set_visible(False)
        figure.axes[0].patch.set_visible(False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # Our own drawing, not a stranger's document: and parsed it cannot hold what no drawing does.
    root = ET.fromstring(file.getvalue())  # noqa: S314
    _prune(root)
    for element in root.iter():
        _adapt(element, label)
    root.attrib.pop("version", None)
    root.set("role", "img")
    root.set("aria-label", plot.title)
    del root.attrib["width"], root.attrib["height"]
    return ET.tostring(root, encoding="unicode")


def _prune(parent: ET.Element) -> None:
    for child in list(parent):
        if _local(child.tag) in _DROPPED:
            parent.remove(child)
        else:
            _prune(child)


def _adapt(element: ET.Element, label: str) -> None:
    """Drop namespaces, which a page needs none of, and make ids the figure's own."""
    element.tag = _local(element.tag)
    for name in list(element.attrib):
        value = element.attrib.pop(name)
        name = _local(name)
        if name == "id":
            value = label + value
        elif name == "href":
            value = f"#{label}{value[1:]}"
        elif value.startswith("url(#"):
            value = f"url(#{label}{value[5:]}"
        elif name == "style":
            value = _COLOUR.sub(lambda found: _VARIABLES[found[0]], value)
        element.set(name, value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
