"""Options that several commands share, so that they mean and say the same everywhere."""

import json
from typing import Annotated, Any

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
    str,
    typer.Argument(
        metavar="ART",
        help="The .p2u file: a path or a URL; or STORE#name, STORE#name@version.",
        show_default=False,
    ),
]

StorePlace = Annotated[
    str, typer.Argument(metavar="STORE", help="The store: a folder or a URL.", show_default=False)
]

StoreName = Annotated[
    str,
    typer.Argument(
        metavar="STORE#NAME", help="A name in a store: a folder or a URL.", show_default=False
    ),
]

StoreVersion = Annotated[
    str,
    typer.Argument(
        metavar="STORE#NAME[@N]", help="A name in a store, or a version of it.", show_default=False
    ),
]

Expect = Annotated[
    str | None,
    typer.Option(
        metavar="blake3:ROOT",
        help="The content root that the artifact must have, from a source you trust.",
        show_default=False,
    ),
]

Rows = Annotated[
    str | None,
    typer.Option(
        metavar="A:B",
        help="Only these rows, such as 0:1000; either end may be left out.",
        show_default=False,
    ),
]

Storage = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="For URLs: an option of fsspec's file system, such as endpoint_url=http://... or "
        "client_kwargs.region_name=...; may be given several times.",
        show_default=False,
    ),
]


def storage_options(settings: list[str] | None) -> dict[str, Any] | None:
    """Return the options of ``--option``: JSON values or texts, dots in a key for nested ones."""
    found: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        names = key.split(".")
        if not (equals and all(names)):
            message = f"'{setting}' is not KEY=VALUE, such as endpoint_url=http://localhost:9000"
            raise typer.BadParameter(message, param_hint="'--option'")
        place = found
        for name in names[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                message = f"'{key}' is a value and holds others at once"
                raise typer.BadParameter(message, param_hint="'--option'")
        place[names[-1]] = _value(text)
    return found or None


def store_parts(address: str) -> tuple[str, str | None, int | None]:
    """Return the store, the name and the version of an address; no name if it is a root."""
    store, mark, which = address.rpartition("#")
    if not (mark and store and which):
        message = f"'{address}' is no address in a store, such as s3://bucket/models#name"
        raise typer.BadParameter(message, param_hint="'STORE#NAME'")
    if which.startswith("blake3:"):
        return store, None, None
    name, at, number = which.partition("@")
    if at and not (number.isdecimal() and name):
        message = f"'{which}' is not NAME@VERSION, such as minilm@3"
        raise typer.BadParameter(message, param_hint="'STORE#NAME'")
    return store, name, int(number) if at else None


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str | None, option: str) -> float | None:
    """Return the seconds of a duration such as 90s, 10m, 12h or 7d; None if it was not given."""
    if text is None:
        return None
    unit = _SECONDS.get(text[-1:])
    number = text if unit is None else text[:-1]
    try:
        found = float(number) * (unit or 1.0)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e10:
        message = f"'{text}' is no duration, such as 90s, 10m, 12h or 7d"
        raise typer.BadParameter(message, param_hint=f"'{option}'")
    return found


def share(text: str | None, option: str) -> float:
    """Return a share such as 1% or 0.01; all if it was not given."""
    if text is None:
        return 1.0
    try:
        found = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        message = f"'{text}' is no share, such as 1% or 0.01"
        raise typer.BadParameter(message, param_hint=f"'{option}'")
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - whatever JSON says
    try:
        return json.loads(text)
    except ValueError:
        return text


def row_range(text: str | None) -> tuple[int | None, int | None] | None:
    """Return the ends of ``--rows A:B``; None if it was not given."""
    if text is None:
        return None
    start, colon, stop = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return (int(start) if start else None), (int(stop) if stop else None)
    except ValueError:
        message = f"'{text}' is not A:B, such as 0:1000"
        raise typer.BadParameter(message, param_hint="'--rows'") from None


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
