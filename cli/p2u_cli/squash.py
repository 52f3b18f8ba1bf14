"""``p2u squash``: an artifact that needs parents becomes one that is read alone."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape


def squash(
    artifact: options.ArtifactPath,
    destination: Annotated[
        str, typer.Argument(metavar="OUT.p2u", help="The artifact to write; appears when whole.")
    ],
    *,
    parents: options.Parents = None,
    overwrite: options.Overwrite = False,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Write an artifact again so that it needs no parent.

    The content root stays what it is, and so does every value at every tier; all layers are read,
    checked against their digests, and stored as they are.

    \b
    Examples:
      p2u squash v2.p2u v2-alone.p2u --with v1.p2u
      p2u squash v3.p2u v3-alone.p2u --with v2.p2u --with v1.p2u
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    with progress.shown() as callback:
        summary = p2uformat.squash(
            artifact,
            destination,
            parents=parents or (),
            overwrite=overwrite,
            threads=threads,
            progress=callback,
            storage_options=options.storage_options(storage),
        )
    if as_json:
        output.write_json(summary.to_dict())
        return 0
    from p2u_cli import render

    rows = [("squashed", escape(destination)), *render.summary_facts(summary)]
    output.write_text(render.facts(rows) + "\n" + render.tier_table(summary))
    return 0
