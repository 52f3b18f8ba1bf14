"""``p2u inspect``: what an artifact holds, from its manifest alone."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2u_cli import options, output, plotting, progress
from p2u_cli.escape import escape

if TYPE_CHECKING:
    from p2uformat import Artifact


def inspect(
    artifact: options.ArtifactPath,
    *,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor too.")] = False,
    files: Annotated[
        bool, typer.Option("--files", help="List every file that was packed too.")
    ] = False,
    parents: options.Parents = None,
    plot: options.Plot = None,
    overwrite: options.OverwritePlot = False,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Show the tiers of an artifact, their sizes and errors.

    Only the manifest is read and checked, so this is quick for a file of any size, and it works
    on a truncated file whose manifest is whole; p2u verify checks the rest. Sizes are those of
    the complete file. With --plot every chunk is read and checked, to draw where the bytes are.

    \b
    Examples:
      p2u inspect model.p2u
      p2u inspect model.p2u --tensors
      p2u inspect model.p2u --files
      p2u inspect model.p2u --json
      p2u inspect model.p2u --plot model.html
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    if plot is not None:
        plotting.prepare(plot, overwrite=overwrite)
    import p2uformat

    reach = options.storage_options(storage)
    with p2uformat.open(artifact, parents=parents or (), storage_options=reach) as opened:
        if plot is not None:
            with progress.shown() as callback:
                anatomy = p2uformat.anatomy(opened, threads=threads, progress=callback)
            plotting.inspect(plot, artifact, anatomy, overwrite=overwrite)
        if as_json:
            document = _document(opened, tensors=tensors)
            output.write_json(document | ({} if plot is None else {"plot": plot}))
        else:
            output.write_text(_text(artifact, opened, tensors=tensors, files=files, plot=plot))
    return 0


def _metadata(artifact: "Artifact") -> dict[str, str]:
    """Return the free texts; none if they are in a parent that is not at hand."""
    from p2uformat import ParentRequired

    try:
        return artifact.metadata
    except ParentRequired:
        return {}


def _document(artifact: "Artifact", *, tensors: bool) -> dict[str, Any]:
    document = artifact.summary.to_dict()
    document["complete"] = artifact.complete
    document["metadata"] = _metadata(artifact)
    document["files"] = [file.to_dict() for file in artifact.files]
    if tensors:
        document["tensors"] = [artifact.info(name).to_dict() for name in artifact.keys()]  # noqa: SIM118 - the documented order
    return document


def _text(path: str, artifact: "Artifact", *, tensors: bool, files: bool, plot: str | None) -> str:
    from p2u_cli import render

    orphaned = artifact.parent is not None and not artifact.complete
    complete = render.completeness(artifact.tiers, artifact.complete, orphaned=orphaned)
    rows = [
        ("artifact", escape(path)),
        *render.summary_facts(artifact.summary),
        ("complete", complete),
        *render.metadata_facts(_metadata(artifact)),
    ]
    if plot is not None:
        rows.append(("plot", escape(plot)))
    text = render.facts(rows) + "\n" + render.tier_table(artifact.summary)
    if files:
        text += "\n" + render.file_table(artifact.files)
    if tensors:
        infos = [artifact.info(name) for name in artifact.keys()]  # noqa: SIM118 - the documented order
        text += "\n" + render.tensor_table(infos, artifact.tiers)
    return text
