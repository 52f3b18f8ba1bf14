"""``p2u get``: one tensor, or some of its rows, from an artifact near or far."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2u_cli import options, output
from p2u_cli.escape import escape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SHOWN = 6


def get(
    artifact: options.ArtifactPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tensor.", show_default=False)],
    *,
    tier: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="The tier to read it at. Default: the best that is whole there.",
            show_default=False,
        ),
    ] = None,
    rows: options.Rows = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE",
            help="Convert: F64, F32, F16, BF16, F8_E4M3 or F8_E5M2. Default: the source's; with "
            "-o F32 for those that .npy has no name for.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.npy",
            help="Write it to this file, which appears when it is whole.",
            show_default=False,
        ),
    ] = None,
    parents: options.Parents = None,
    storage: options.Storage = None,
    overwrite: options.Overwrite = False,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Read one tensor, or some of its rows.

    Only the chunks that hold them are read, also over the network, and each is checked before it
    is decoded. Without -o the first values are shown.

    \b
    Examples:
      p2u get model.p2u wte.weight
      p2u get https://example.org/model.p2u wte.weight --tier q4 --rows 0:100 -o rows.npy
      p2u get s3://bucket/model.p2u lm_head.weight -o head.npy --dtype F32
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    cut = options.row_range(rows)
    with p2uformat.open(
        artifact,
        parents=parents or (),
        threads=threads,
        storage_options=options.storage_options(storage),
    ) as opened:
        read_at = tier or opened.tier_for(name, cut)
        values = opened.get(name, read_at, cut, dtype)
        bound = opened.info(name).max_error[opened.tiers.index(read_at)]
    kept = _plain(values) if out is not None else values
    if out is not None:
        p2uformat.save_array(kept, out, overwrite=overwrite)
    facts: dict[str, Any] = {
        "name": name,
        "tier": read_at,
        "dtype": str(values.dtype),
        "shape": list(values.shape),
        "bytes": values.nbytes,
        "max_error": bound,
        "output": out,
    }
    if as_json:
        output.write_json(facts)
    else:
        output.write_text(_text(facts, values))
    return 0


def _plain(values: "NDArray[np.generic]") -> "NDArray[np.generic]":
    """Return values in a dtype that a .npy file can name; float32 holds those of all others."""
    return values if values.dtype.isbuiltin == 1 else values.astype("float32")


def _text(facts: dict[str, Any], values: "NDArray[np.generic]") -> str:
    from p2u_cli import render

    shown = ", ".join(str(value) for value in values.reshape(-1)[:_SHOWN])
    more = ", ..." if values.size > _SHOWN else ""
    rows = [
        ("tensor", escape(facts["name"])),
        ("tier", f"{escape(facts['tier'])}, no value further off than {facts['max_error']:.3g}"),
        ("dtype", facts["dtype"]),
        ("shape", " x ".join(map(str, facts["shape"])) or "a single number"),
        ("values", f"{shown}{more}"),
    ]
    if facts["output"] is not None:
        rows.append(("written", escape(facts["output"])))
    return render.facts(rows)
