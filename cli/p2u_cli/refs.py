"""``p2u refs``: what a store has."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

import time
from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output
from p2u_cli.escape import escape

if TYPE_CHECKING:
    from p2uformat import NameInfo, VersionInfo


def refs(
    store: options.StorePlace,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show all versions of it.", show_default=False),
    ] = None,
    *,
    storage: options.Storage = None,
    as_json: options.Json = False,
) -> int:
    """List the names in a store, or the versions of a name.

    For a name: when each version was made, its size as a file, how much of that lies in the same
    place as the version before has it, and what was written for it.

    \b
    Examples:
      p2u refs s3://bucket/models
      p2u refs s3://bucket/models minilm --json
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    opened = p2uformat.Store(store, storage_options=options.storage_options(storage))
    if name is None:
        names = opened.names()
        if as_json:
            output.write_json({"store": opened.name, "names": [one.to_dict() for one in names]})
        else:
            output.write_text(_names(names))
        return 0
    versions = opened.refs(name)
    if as_json:
        found = [one.to_dict() for one in versions]
        output.write_json({"store": opened.name, "name": name, "versions": found})
    else:
        output.write_text(_versions(versions))
    return 0


def _names(names: "list[NameInfo]") -> str:
    from p2u_cli import render
    from p2u_cli.table import aligned

    if not names:
        return "no names"
    rows = [
        [
            escape(one.name),
            "removed" if one.version is None else f"@{one.version}",
            "" if one.time is None else _moment(one.time),
            f"{one.size:,}" if one.version else "",
            f"{one.added:,}" if one.version else "",
        ]
        for one in names
    ]
    return aligned(
        ["name", "version", "made", "bytes", "written"], rows, left=3, width=render.width()
    )


def _versions(versions: "list[VersionInfo]") -> str:
    from p2u_cli import render
    from p2u_cli.table import aligned

    if not versions:
        return "no versions: all are removed"
    rows = [
        [
            f"@{one.version}" + (" *" if one.current else ""),
            _moment(one.time),
            escape(one.root),
            f"{one.parents}",
            f"{one.size:,}",
            f"{one.shared:,}",
            f"{one.added:,}",
        ]
        for one in versions
    ]
    headings = ["version", "made", "root", "needs", "bytes", "shared", "written"]
    return aligned(headings, rows, left=3, width=render.width())


def _moment(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):  # a ref says what its writer liked
        return "?"
