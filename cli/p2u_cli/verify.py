"""``p2u verify``: is every byte that is here the right one, and is everything here."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output, progress, storeverify
from p2u_cli.escape import escape
from p2u_cli.exits import ExitCode

if TYPE_CHECKING:
    from p2uformat import VerifyReport


def verify(
    artifact: Annotated[
        str,
        typer.Argument(
            metavar="ART",
            help="The .p2u file: a path or a URL; or STORE, STORE#name, STORE#name@version.",
            show_default=False,
        ),
    ],
    *,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Decode everything as well, and check the digest of each block and the "
            "error bounds. Takes longer.",
        ),
    ] = False,
    tier: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="Check what a model at this tier needs, and ask for no more than that.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Of a store: read only so many of the chunks, such as 1%, chosen by chance.",
            show_default=False,
        ),
    ] = None,
    max_duration: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Of a store: stop after so long, such as 90s, 10m or 2h.",
            show_default=False,
        ),
    ] = None,
    expect: options.Expect = None,
    parents: options.Parents = None,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> int:
    """Check an artifact for damage and for missing parts.

    Every digest and every length is checked, and each damaged place is named.

    Without --expect this finds every accident, but not a file that someone else made: the
    result then says "self-consistent, not authenticated". Exit code 3 means damage or another
    root than the expected one, 6 that nothing is damaged but not everything is there.

    \b
    Examples:
      p2u verify model.p2u
      p2u verify model.p2u --deep --expect blake3:6b1f...
      p2u verify half-downloaded.p2u --tier q4
      p2u verify s3://bucket/models --sample 1% --max-duration 10m
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    found = storeverify.wanted(artifact, storage, sample, max_duration)
    if found is not None:
        _refuse(deep=deep, tier=tier, expect=expect, parents=parents)
        return storeverify.run(found, sample, max_duration, as_json=as_json)
    with progress.shown() as callback:
        report = p2uformat.verify(
            artifact,
            deep=deep,
            tier=tier,
            expect=expect,
            parents=parents or (),
            threads=threads,
            progress=callback,
            storage_options=options.storage_options(storage),
        )
    if as_json:
        output.write_json(report.to_dict())
    else:
        output.write_text(_text(artifact, report, tier))
    return exit_code(report)


def _refuse(**unwanted: object) -> None:
    """Refuse options that say something about an artifact only."""
    for name, value in unwanted.items():
        if value:
            option = "--with" if name == "parents" else f"--{name}"
            message = "is for one artifact, not for what a store's versions need together"
            raise typer.BadParameter(message, param_hint=f"'{option}'")


def exit_code(report: "VerifyReport") -> ExitCode:
    """Return what the report means: damage outweighs what is missing."""
    if report.damage:
        return ExitCode.DAMAGED
    # Neither sound nor damaged: what is left is that something asked for is not there.
    return ExitCode.OK if report.ok else ExitCode.INCOMPLETE


def _text(path: str, report: "VerifyReport", tier: str | None) -> str:
    from p2u_cli import render

    checked = f"{report.checked_chunks:,} chunks, {report.checked_bytes:,} bytes"
    rows = [
        ("artifact", escape(path)),
        ("result", _result(report, tier)),
        ("root", "unreadable" if report.root is None else escape(report.root)),
        *([("needs", escape(report.parent))] if report.parent else []),
        ("checked", checked),
        ("complete", render.listed(report.complete_tiers)),
    ]
    lines = [render.damage_line(damage) for damage in report.damage]
    return render.facts(rows) + "".join(f"{line}\n" for line in lines)


def _result(report: "VerifyReport", tier: str | None) -> str:
    if report.damage:
        return f"damaged in {_counted(len(report.damage), 'place')}"
    trust = "authenticated" if report.authenticated else "self-consistent, not authenticated"
    if exit_code(report) is ExitCode.INCOMPLETE:
        return f"incomplete, {_counted(report.missing_chunks, 'chunk')} missing; {trust}"
    return trust if tier is None else f"{escape(tier)} is whole; {trust}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
