"""``p2u verify STORE``: is everything sound that a store's versions need."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Any

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape
from p2u_cli.exits import ExitCode

if TYPE_CHECKING:
    from p2uformat import Store, StoreReport

Wanted = tuple["Store", "str | None"]


def wanted(
    artifact: str, storage: list[str] | None, sample: str | None, max_duration: str | None
) -> Wanted | None:
    """Return the store, and the name if one is meant; None for an artifact of its own."""
    import p2uformat

    settings: dict[str, Any] | None = options.storage_options(storage)
    partly = sample is not None or max_duration is not None
    if p2uformat.is_store(artifact, settings):
        return p2uformat.Store(artifact, storage_options=settings), None
    if not partly:
        return None
    store, mark, name = artifact.rpartition("#")
    if not mark or name.startswith("blake3:"):
        message = "--sample and --max-duration are for a store, or for STORE#name"
        raise typer.BadParameter(message, param_hint="'ART'")
    return p2uformat.Store(store, storage_options=settings), name


def run(found: Wanted, sample: str | None, max_duration: str | None, *, as_json: bool) -> int:
    """Verify a store, or what one name of it stands for."""
    store, name = found
    with progress.shown() as callback:
        report = store.verify(
            name,
            sample=options.share(sample, "--sample"),
            max_duration=options.duration(max_duration, "--max-duration"),
            progress=callback,
        )
    if as_json:
        output.write_json(report.to_dict())
    else:
        output.write_text(_text(store.name, name, report))
    return ExitCode.OK if report.ok else ExitCode.DAMAGED


def _text(store: str, name: str | None, report: "StoreReport") -> str:
    from p2u_cli import render

    whole = report.checked_chunks == report.chunks
    share = "" if whole else f" of {report.chunks:,} chunks, {report.bytes:,} bytes"
    count = len(report.damage)
    rows = [
        ("store", escape(store)),
        *([("name", escape(name))] if name else []),
        ("result", "sound" if report.ok else f"damaged in {count:,} places"),
        ("versions", f"{report.versions:,}, {report.artifacts:,} artifacts"),
        ("checked", f"{report.checked_chunks:,} chunks, {report.checked_bytes:,} bytes{share}"),
    ]
    lines = [render.any_damage_line(damage) for damage in report.damage]
    return render.facts(rows) + "".join(f"{line}\n" for line in lines)
