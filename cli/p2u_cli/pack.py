"""``p2u pack``: a checkpoint becomes one artifact."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape

if TYPE_CHECKING:
    from p2uformat import Summary


def pack(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="The .safetensors file to pack, or the folder of a model: all its files, links "
            "followed, but not .git and .cache.",
        ),
    ],
    destination: Annotated[
        str, typer.Argument(metavar="DST.p2u", help="The artifact to write; appears when whole.")
    ],
    *,
    tiers: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="The tiers, base first, separated by commas: qN for about N bits per weight, "
            "exact for the source bit for bit. Default: q4,q8,exact, or the parent's.",
            show_default=False,
        ),
    ] = None,
    base_bits: Annotated[
        float | None,
        typer.Option(
            metavar="BITS",
            help="Stored bits per quantized weight of the base tier, such as 4.0. "
            "Default: what the name of the base tier says.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="GLOB=VALUE",
            help="How to treat the tensors whose names match GLOB; may be given several times. "
            "VALUE is exact (keep from the base tier on), bits:6 (that many bits in the base "
            "tier) or weight:2.5 (how much their error counts, 1 is usual).",
            show_default=False,
        ),
    ] = None,
    quantizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What quantizes instead of the ladder: minifloat:S1E3M7, a small float (also "
            ":finite, :nan, :fit, :bias=N behind it); affine:4, integers with scales (also "
            ":group=32, :axis=0, :asymmetric, a dtype of scales); or levels:uniform:4, norms and "
            "levels (also exponential:4, fitted:4, nf4, table=-1,0,1, and behind it :bucket=512, "
            ":l2, :max, :stochastic, :nearest, :seed=N, a dtype of norms). The tiers are its own "
            "and exact.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="With --quantizer: tensors with about this share of the weights stay exact, such "
            "as 0.1, drawn from --seed, --client and --round.",
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="N", help="What --keep draws from.")] = 0,
    client: Annotated[int, typer.Option(metavar="N", help="What --keep draws from too.")] = 0,
    round_: Annotated[
        int, typer.Option("--round", metavar="N", help="What --keep draws from too.")
    ] = 0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="With --quantizer: tensors whose names match only; may be given several times.",
            show_default=False,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="With --quantizer: not tensors whose names match; may be given several times.",
            show_default=False,
        ),
    ] = None,
    any_rank: Annotated[
        bool,
        typer.Option(
            "--any-rank",
            help="With --quantizer: vectors too, not tensors of two dimensions and up.",
        ),
    ] = False,
    lossy: Annotated[
        bool,
        typer.Option(
            "--lossy",
            help="With --quantizer: leave the exact tier out. The artifact says that it is lossy.",
        ),
    ] = False,
    chunk_per_tensor: Annotated[
        bool,
        typer.Option(
            "--chunk-per-tensor",
            help="Small tensors have chunks of their own, so that each can be fetched at a tier of "
            "its own.",
        ),
    ] = False,
    parent: Annotated[
        str | None,
        typer.Option(
            metavar="ART",
            help="An artifact of an earlier version of the model: store what changed since, as "
            "differences where that is smaller. The new file is read with the earlier one only.",
            show_default=False,
        ),
    ] = None,
    parents: options.Parents = None,
    self_contained: Annotated[
        bool,
        typer.Option(
            "--self-contained",
            help="With --parent: take over its steps only, so that the new file can be read alone.",
        ),
    ] = False,
    sha256: Annotated[
        bool,
        typer.Option(
            "--sha256", help="Record the SHA-256 of each file too, to compare with what hubs say."
        ),
    ] = False,
    overwrite: options.Overwrite = False,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Pack a .safetensors file, or a folder with a model, into one .p2u artifact.

    Each tier adds to the ones before it, and the last one, exact, gives the source back bit for
    bit, so one file serves every precision. The destination appears under its name only when it
    is whole; whatever fails, no part of it stays there.

    Of a folder, small files travel from the first tier on; weights in other formats than
    safetensors, and other files above 16 MiB, in the last. A tensor whose name several files have
    is called path:name.

    \b
    Examples:
      p2u pack model.safetensors model.p2u
      p2u pack model.safetensors model.p2u --base-bits 4.5 --set '*.bias=exact'
      p2u pack models/minilm minilm.p2u --sha256
      p2u pack model.safetensors model.p2u --quantizer affine:4:group=32
      p2u pack model.safetensors small.p2u --quantizer minifloat:S1E3M7 --keep 0.1 --seed 7 --lossy
      p2u pack v2.safetensors v2.p2u --parent v1.p2u
      p2u pack v3.safetensors v3.p2u --parent v2.p2u --with v1.p2u
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    names = None if tiers is None else options.names(tiers, "--tiers")
    overrides = options.overrides(settings)
    import p2uformat

    # What is not usual is checked, and without a quantizer refused, by the library.
    policy = p2uformat.Policy(
        matrices=not any_rank,
        only=tuple(only or ("*",)),
        skip=tuple(skip or ()),
        keep=keep,
        seed=seed,
        client=client,
        round=round_,
    )
    asked = quantizer is not None or policy != p2uformat.Policy()

    with progress.shown() as callback:
        summary = p2uformat.pack(
            source,
            destination,
            tiers=names,
            base_bits=base_bits,
            overrides=overrides or None,
            quantizer=quantizer,
            policy=policy if asked else None,
            lossy=lossy,
            chunk_per_tensor=chunk_per_tensor,
            parent=parent,
            parents=parents or (),
            self_contained=self_contained,
            sha256=sha256,
            overwrite=overwrite,
            threads=threads,
            progress=callback,
            storage_options=options.storage_options(storage),
        )
    if as_json:
        output.write_json(summary.to_dict())
    else:
        output.write_text(_text(destination, summary))
    return 0


def _text(destination: str, summary: "Summary") -> str:
    from p2u_cli import render

    rows = [("packed", escape(destination)), *render.summary_facts(summary)]
    return render.facts(rows) + "\n" + render.tier_table(summary)
