"""``p2u repair``: what is damaged is taken from a sound copy."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape
from p2u_cli.exits import ExitCode

if TYPE_CHECKING:
    from p2uformat import RepairResult


def repair(
    bad: Annotated[
        str,
        typer.Argument(
            metavar="BAD",
            help="A .p2u file of this machine, a store, or STORE#name.",
            show_default=False,
        ),
    ],
    *,
    good: Annotated[
        list[str],
        typer.Option(
            "--from",
            metavar="GOOD",
            help="A sound artifact, of this version or one that shares with it; for a store also "
            "another store. May be given several times.",
            show_default=False,
        ),
    ],
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Make a file, or what a store has, sound again.

    All of BAD is checked; only what is damaged or missing is moved. Exit code 3 means that
    something is still wrong.

    \b
    Examples:
      p2u repair model.p2u --from https://example.org/model.p2u
      p2u repair /srv/models --from s3://bucket/models
      p2u repair s3://bucket/models#minilm --from minilm.p2u
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    with progress.shown() as callback:
        result = p2uformat.repair(
            bad,
            good,
            threads=threads,
            progress=callback,
            storage_options=options.storage_options(storage),
        )
    if as_json:
        output.write_json(result.to_dict())
    else:
        output.write_text(_text(result))
    return ExitCode.OK if result.ok else ExitCode.DAMAGED


def _text(result: "RepairResult") -> str:
    from p2u_cli import render

    rows = [
        ("repaired", escape(result.address)),
        ("checked", f"{result.checked_chunks:,} chunks, {result.checked_bytes:,} bytes"),
        ("damaged", f"{result.damaged:,}"),
        ("mended", f"{result.repaired:,}"),
        ("moved", f"{result.moved:,} bytes"),
    ]
    lines = [render.any_damage_line(damage) for damage in result.left]
    return render.facts(rows) + "".join(f"{line}\n" for line in lines)
