"""``p2u diff``: two versions side by side: what is shared, what is new, how far apart it is."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output, plotting, progress

if TYPE_CHECKING:
    from p2uformat import DiffReport


def diff(
    older: Annotated[
        str, typer.Argument(metavar="A", help="The older .p2u file.", show_default=False)
    ],
    newer: Annotated[
        str, typer.Argument(metavar="B", help="The newer .p2u file.", show_default=False)
    ],
    *,
    tensors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Only the tensors whose names match, and the layers and chunks these use; may "
            "be given several times.",
            show_default=False,
        ),
    ] = None,
    no_errors: Annotated[
        bool,
        typer.Option(
            "--no-errors", help="Do not compare values: the manifests alone are read, at once."
        ),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="List tensors and files that are identical too.")
    ] = False,
    parents: options.Parents = None,
    plot: options.Plot = None,
    overwrite: options.OverwritePlot = False,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Compare two artifacts, such as two versions of a model.

    Shows which tensors changed, how far apart they are, and what a holder of A would have to
    fetch for each tier of B: layers and chunks are compared by their digests. Values are
    compared at the best tier that both files hold whole. Neither file is checked for damage
    beyond what is read; p2u verify does that.

    The exit code is 0 whether or not they differ.

    \b
    Examples:
      p2u diff v1.p2u v2.p2u
      p2u diff v1.p2u v2.p2u --tensors '*.bias' --json
      p2u diff v1.p2u v2.p2u --plot changes.html
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    if plot is not None:
        plotting.prepare(plot, overwrite=overwrite)
    import p2uformat

    with progress.shown() as callback:
        report = p2uformat.diff(
            older,
            newer,
            tensors=tensors or None,
            errors=not no_errors,
            parents=parents or (),
            threads=threads,
            progress=callback,
            storage_options=options.storage_options(storage),
        )
    if plot is not None:
        plotting.diff(plot, older, newer, report, overwrite=overwrite)
    if as_json:
        output.write_json(report.to_dict() | ({} if plot is None else {"plot": plot}))
    else:
        output.write_text(_text(older, newer, report, everything=everything, plot=plot))
    return 0


def _text(
    older: str, newer: str, report: "DiffReport", *, everything: bool, plot: str | None
) -> str:
    from p2u_cli import diffview, render
    from p2u_cli.escape import escape

    rows = diffview.diff_facts(older, newer, report)
    if plot is not None:
        rows.append(("plot", escape(plot)))
    text = render.facts(rows) + "\n" + diffview.fetch_table(report)
    for table in (diffview.tensor_table, diffview.file_table):
        lines = table(report, everything=everything)
        text += "\n" + lines if lines else ""
    return text
