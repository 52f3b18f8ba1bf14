"""``p2u apply``: weights with an update added to them, as a checkpoint."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import Annotated

import typer

from p2u_cli import options, output
from p2u_cli.escape import escape


def apply(
    update: Annotated[
        str,
        typer.Argument(
            metavar="UPDATE", help="The update: a path or a URL; or STORE#name, STORE#name@version."
        ),
    ],
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="The artifact that it is to, and no other.")
    ],
    destination: Annotated[
        str,
        typer.Argument(metavar="OUT.safetensors", help="The file to write; appears when whole."),
    ],
    *,
    scale: Annotated[
        float, typer.Option(metavar="X", help="What the difference is multiplied by first.")
    ] = 1.0,
    tier: Annotated[
        str | None,
        typer.Option(
            metavar="TIER",
            help="The tier at which UPDATE is read. Default: the best complete one.",
            show_default=False,
        ),
    ] = None,
    parents: options.Parents = None,
    overwrite: options.Overwrite = False,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Write the weights of an artifact with an update added to them.

    They are BEFORE + X * difference, rounded once to their dtype; tensors that are not of floats
    are those of the update.

    \b
    Examples:
      p2u apply u.p2u model.p2u new.safetensors
      p2u apply u.p2u model.p2u half.safetensors --scale 0.5
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    reach = options.storage_options(storage)
    with p2uformat.open(
        before, parents=parents or (), threads=threads, storage_options=reach
    ) as base:
        made = p2uformat.apply_update(
            update, base, scale, tier=tier, threads=threads, storage_options=reach
        )
        size = p2uformat.save_arrays(made, destination, metadata=base.metadata, overwrite=overwrite)
    if as_json:
        output.write_json({"path": destination, "bytes": size, "scale": scale, "tier": tier})
        return 0
    from p2u_cli import render

    rows = [("written", escape(destination)), ("bytes", f"{size:,}"), ("scale", f"{scale:g}")]
    output.write_text(render.facts(rows))
    return 0
