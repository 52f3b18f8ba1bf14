"""``p2u unpack``: an artifact becomes a checkpoint again, at the tier that is asked for."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape

if TYPE_CHECKING:
    from p2uformat import UnpackResult


def unpack(
    artifact: options.ArtifactPath,
    destination: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="The .safetensors file to write, or the folder, if it was one."
        ),
    ],
    *,
    tier: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="The tier to rebuild. Default: exact, the source bit for bit; of a lossy "
            "artifact what it has.",
            show_default=False,
        ),
    ] = None,
    tensors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Only the tensors whose names match, and the files that have some; may be "
            "given several times.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE",
            help="Convert floating-point tensors: F64, F32, F16, BF16, F8_E4M3 or F8_E5M2. "
            "Default: the dtypes of the source.",
            show_default=False,
        ),
    ] = None,
    parents: options.Parents = None,
    overwrite: options.Overwrite = False,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Rebuild a .safetensors file, or a folder with a model, from an artifact.

    Every chunk is checked before it is decoded. The whole artifact at the exact tier gives the
    source file back byte for byte. A truncated artifact gives every tier that it holds whole.
    The destination appears under its name only when it is whole.

    OUT is a folder if the artifact has several files or others than weights, and if it ends in a
    slash. Below the exact tier its files are the safetensors files at that tier, and those others
    that travel up to it.

    \b
    Examples:
      p2u unpack model.p2u model.safetensors
      p2u unpack model.p2u small.safetensors --tier q4 --dtype BF16
      p2u unpack minilm.p2u models/minilm/
      p2u unpack model.p2u layer0.safetensors --tensors '*.layer.0.*'
      p2u unpack v2.p2u v2.safetensors --with v1.p2u
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    with progress.shown() as callback:
        result = p2uformat.unpack(
            artifact,
            destination,
            tier=tier,
            tensors=tensors or None,
            dtype=dtype,
            parents=parents or (),
            overwrite=overwrite,
            threads=threads,
            progress=callback,
            storage_options=options.storage_options(storage),
        )
    if as_json:
        output.write_json(result.to_dict())
    else:
        output.write_text(_text(result))
    return 0


def _text(result: "UnpackResult") -> str:
    from p2u_cli import render

    folder = result.files != 1 or bool(result.left_out)
    same = "identical, bit for bit" if result.identical else "not identical"
    rows = [
        ("unpacked", escape(str(result.path))),
        ("tier", escape(result.tier)),
        *([("files", f"{result.files:,}")] if folder else []),
        ("tensors", f"{result.tensors:,}"),
        ("size", f"{result.bytes:,} bytes"),
        ("source", same),
        *(("left out", escape(path)) for path in result.left_out),
    ]
    return render.facts(rows)
