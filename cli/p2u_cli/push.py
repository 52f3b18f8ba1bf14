"""``p2u push``: an artifact becomes a version of a name in a store."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape

if TYPE_CHECKING:
    from p2uformat import PushResult


def push(
    artifact: options.ArtifactPath,
    destination: options.StoreName,
    *,
    tier: Annotated[
        str | None,
        typer.Option(
            metavar="T", help="Store it up to this tier. Default: all.", show_default=False
        ),
    ] = None,
    parents: options.Parents = None,
    after: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Only if the last version of the name is N, 0 for none. Default: whoever comes "
            "second takes the next number.",
            show_default=False,
        ),
    ] = None,
    storage: options.Storage = None,
    as_json: options.Json = False,
) -> int:
    """Store an artifact under a name.

    Only chunks that the store does not have are sent, whichever artifact has them. The version
    appears whole or not at all; run the same command again after whatever ended it. A place that
    is no store becomes one. Exit code 7 means that somebody else was in the way.

    \b
    Examples:
      p2u push model.p2u s3://bucket/models#minilm
      p2u push v3.p2u /srv/models#minilm --with v2.p2u
      p2u push model.p2u s3://bucket/small#minilm --tier q8
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    with progress.shown() as callback:
        result = p2uformat.push(
            artifact,
            destination,
            tier=tier,
            parents=parents or (),
            after=after,
            progress=callback,
            storage_options=options.storage_options(storage),
        )
    if as_json:
        output.write_json(result.to_dict())
    else:
        output.write_text(push_text(result))
    return 0


def push_text(result: "PushResult") -> str:
    """Say what became of an artifact."""
    from p2u_cli import render

    rows = [
        ("stored", escape(result.address)),
        ("root", escape(result.root)),
        ("size", f"{result.size:,} bytes"),
        ("reused", f"{result.reused:,} bytes"),
        ("written", f"{result.added:,} bytes"),
    ]
    if result.unchanged:
        rows = [*rows[:3], ("note", "this is the current version already: nothing was written")]
    return render.facts(rows)
