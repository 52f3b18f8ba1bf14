"""Options that several commands share, so that they mean and say the same everywhere."""

from typing import Annotated

import typer

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document on standard output, errors included, no text."
    ),
]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the destination if it exists.")
]

Plot = Annotated[
    str | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw pictures too: a page for .html, one picture for .png. Needs matplotlib "
        "(pip install 'p2uformat[plot]').",
        show_default=False,
    ),
]

OverwritePlot = Annotated[
    bool, typer.Option("--overwrite", help="With --plot: replace the file if it exists.")
]

Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        envvar="P2U_THREADS",
        help="Use at most N worker threads. Default: as many as there are processors, at most 8; "
        "packing and deep verification use at most 3, which bounds their memory.",
    ),
]

Parents = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="PARENT.p2u",
        help="An artifact that is needed because layers are shared with it or stored as "
        "differences from it; may be given several times, for a chain.",
        show_default=False,
    ),
]

ArtifactPath = Annotated[
    str, typer.Argument(metavar="ART", help="The .p2u file.", show_default=False)
]


def names(text: str, option: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list; an empty name is a usage error."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        message = f"'{text}' has an empty name; give names separated by commas"
        raise typer.BadParameter(message, param_hint=f"'{option}'")
    return found


def overrides(settings: list[str] | None) -> dict[str, str]:
    """Return the globs and values of ``--set``; what a value may be is the library's to say."""
    found: dict[str, str] = {}
    for setting in settings or []:
        # A tensor name may hold "=", a value never does.
        glob, equals, value = setting.rpartition("=")
        if not (equals and glob and value):
            message = f"'{setting}' is not GLOB=VALUE, such as '*.bias=exact'"
            raise typer.BadParameter(message, param_hint="'--set'")
        if glob in found:
            message = f"'{glob}' is set twice"
            raise typer.BadParameter(message, param_hint="'--set'")
        found[glob] = value
    return found
