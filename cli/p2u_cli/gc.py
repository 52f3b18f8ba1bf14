"""``p2u gc``: what nobody needs any more goes, after a time of grace."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape

if TYPE_CHECKING:
    from p2uformat import CollectReport


def gc(
    store: options.StorePlace,
    *,
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Remove all but the N latest versions of each name. Default: keep all.",
            show_default=False,
        ),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Spare what is younger, and what was condemned less long ago, such as 12h or 7d.",
        ),
    ] = "1d",
    delete: Annotated[
        bool, typer.Option("--delete", help="Do it. Without this, only say what would be done.")
    ] = False,
    storage: options.Storage = None,
    as_json: options.Json = False,
) -> int:
    """Find what no version needs any more, and delete it.

    What nobody needs is condemned first, and deleted by a later run, once the time of grace is
    over and still nobody needs it: so writers and readers at work lose nothing. Packs of which
    30 % or more is dead are put together anew. Versions are removed by p2u rm, or by --keep.

    \b
    Examples:
      p2u gc s3://bucket/models
      p2u gc s3://bucket/models --keep 5 --delete
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    opened = p2uformat.Store(store, storage_options=options.storage_options(storage))
    seconds = options.duration(grace, "--grace")
    assert seconds is not None
    with progress.shown() as callback:
        report = opened.gc(keep=keep, grace=seconds, delete=delete, progress=callback)
    if as_json:
        output.write_json(report.to_dict())
    else:
        output.write_text(_text(opened.name, report, grace))
    return 0


def _text(store: str, report: "CollectReport", grace: str) -> str:
    from p2u_cli import render

    would = "" if report.deleting else "would be "
    rows = [
        ("store", escape(store)),
        ("versions", f"{report.versions:,}" + _some(report.removed, "removed now")),
        ("needed", f"{report.live_packs:,} packs, {report.live_bytes:,} bytes of chunks"),
        ("dead", f"{report.dead_packs:,} packs, {report.dead_bytes:,} bytes"),
        ("wasted", f"{report.wasted_bytes:,} bytes in packs that are needed"),
        ("deleted", f"{would}{report.deleted:,} objects, {report.deleted_bytes:,} bytes"),
        ("condemned", f"{would}{report.condemned:,} objects"),
        ("repacked", f"{would}{report.repacked:,} packs"),
    ]
    lines = [render.facts([(f"{label:<10}", text)]) for label, text in rows]
    notes = [
        f"{report.waiting:,} objects were condemned less than {escape(grace)} ago"
        if report.waiting
        else "",
        f"{report.young:,} objects that nobody needs are younger than {escape(grace)}"
        if report.young
        else "",
        f"{report.spared:,} objects were condemned and are needed after all"
        if report.spared
        else "",
        "" if report.deleting else "nothing was changed: --delete does it",
    ]
    return "".join([*lines, *(f"{note}\n" for note in notes if note)])


def _some(count: int, what: str) -> str:
    return f", {count:,} {what}" if count else ""
