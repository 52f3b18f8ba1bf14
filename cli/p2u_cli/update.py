"""``p2u update``: the difference of two checkpoints becomes an artifact."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape


def update(
    after: Annotated[
        str, typer.Argument(metavar="AFTER", help="The .safetensors file with the new weights.")
    ],
    before: Annotated[
        str,
        typer.Argument(
            metavar="BEFORE",
            help="The artifact that they came from: a path or a URL; or STORE#name, "
            "STORE#name@version.",
        ),
    ],
    destination: Annotated[
        str, typer.Argument(metavar="DST.p2u", help="The artifact to write; appears when whole.")
    ],
    *,
    quantizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What quantizes the difference instead of the ladder, such as levels:uniform:4; "
            "see p2u pack --help.",
            show_default=False,
        ),
    ] = None,
    lossy: Annotated[
        bool,
        typer.Option(
            "--lossy",
            help="With --quantizer: leave the exact tier out. The artifact says that it is lossy.",
        ),
    ] = False,
    client: Annotated[
        int, typer.Option(metavar="N", help="Whose update it is; rounding draws from it.")
    ] = 0,
    round_: Annotated[
        int, typer.Option("--round", metavar="N", help="Of which round; rounding draws from it.")
    ] = 0,
    weight: Annotated[
        float,
        typer.Option(
            metavar="X", help="How much it counts among others, such as a number of examples."
        ),
    ] = 1.0,
    tier: Annotated[
        str | None,
        typer.Option(
            metavar="TIER",
            help="The tier at which BEFORE is read. Default: the best complete one.",
            show_default=False,
        ),
    ] = None,
    tiers: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="The tiers to make, without --quantizer, as in p2u pack. Default: q4,q8,exact.",
            show_default=False,
        ),
    ] = None,
    allow_nonfinite: Annotated[
        bool,
        typer.Option(
            "--allow-nonfinite",
            help="Pack differences with NaN or infinities too, which are refused otherwise.",
        ),
    ] = False,
    parents: options.Parents = None,
    overwrite: options.Overwrite = False,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Pack the difference of new weights to those of an artifact.

    Of tensors of floats it holds AFTER less BEFORE, of others the new values. It says what it is
    to, whose it is, and what its errors and bits are; p2u apply adds it.

    \b
    Examples:
      p2u update new.safetensors model.p2u u.p2u
      p2u update new.safetensors model.p2u u.p2u --quantizer levels:uniform:4 --lossy --round 7
      p2u update new.safetensors s3://bucket/fl#model s3://bucket/fl#updates/7/3 --client 3
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    names = None if tiers is None else ",".join(options.names(tiers, "--tiers"))
    import p2uformat

    with progress.shown() as callback:
        summary = p2uformat.pack_update(
            after,
            before,
            destination,
            quantizer=quantizer,
            client=client,
            round=round_,
            weight=weight,
            lossy=lossy,
            tier=tier,
            tiers=names,
            allow_nonfinite=allow_nonfinite,
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

    rows = [("packed", escape(destination)), *render.summary_facts(summary)]
    output.write_text(render.facts(rows) + "\n" + render.tier_table(summary))
    return 0
