"""``p2u fetch``: an artifact, or a part of it, comes to a file; what is there stays."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.escape import escape

if TYPE_CHECKING:
    from p2uformat import FetchPlan, FetchResult, Progress

_LINE_SECONDS = 0.5


def fetch(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="The artifact: a URL or a path.", show_default=False),
    ],
    destination: Annotated[
        str,
        typer.Argument(metavar="DST.p2u", help="The file; it may hold a part of it already."),
    ],
    *,
    tier: Annotated[
        str | None,
        typer.Option(metavar="T", help="Up to this tier. Default: all.", show_default=False),
    ] = None,
    tensors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Only the tensors whose names match; may be given several times. GLOB=T: these "
            "up to tier T.",
            show_default=False,
        ),
    ] = None,
    rows: options.Rows = None,
    seeds: Annotated[
        list[str] | None,
        typer.Option(
            "--seed",
            metavar="OTHER.p2u",
            help="An artifact at hand that may share bytes with it, such as another version; may "
            "be given several times.",
            show_default=False,
        ),
    ] = None,
    parents: options.Parents = None,
    expect: options.Expect = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    connections: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=256,
            help="Requests at once. Default: 8 to begin with, then 4 to 64, as the line answers.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Open a connection anew after so long without a byte, and give up after four "
            "times as long. Default: 30.",
            show_default=False,
        ),
    ] = None,
    storage: options.Storage = None,
    threads: options.Threads = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON document a line on standard output: progress, then the result, "
            "or the error.",
        ),
    ] = False,
) -> int:
    """Bring an artifact, or a part of it, to a file.

    Every chunk is checked before it is written, and no byte is moved twice: run the same command
    again after whatever ended it, or with a higher tier, and only what the file lacks is moved.
    Several processes may fill one file. A file with a part is an artifact: inspect, verify, get
    and unpack read what it holds. With everything it is byte for byte the file at the source.

    \b
    Examples:
      p2u fetch https://example.org/model.p2u model.p2u --tier q4
      p2u fetch https://example.org/model.p2u model.p2u
      p2u fetch s3://bucket/v2.p2u v2.p2u --seed v1.p2u
      p2u fetch s3://bucket/big.p2u part.p2u --tensors '*.layer.0.*'
      p2u fetch s3://bucket/big.p2u part.p2u --tensors 'embed*=q8' --tensors '*=q4'
      p2u fetch gs://bucket/model.p2u model.p2u --dry-run
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    if as_json:
        output.one_line()
    wanted = {
        "tier": tier,
        "tensors": _patterns(tensors or []),
        "rows": options.row_range(rows),
        "seeds": seeds or (),
        "parents": parents or (),
        "expect": expect,
        "threads": threads,
        "storage_options": options.storage_options(storage),
    }
    if dry_run:
        plan = p2uformat.plan_fetch(source, destination, **wanted)  # type: ignore[arg-type]
        _write("plan", plan, _plan_text, as_json=as_json)
        return 0
    with progress.shown() as drawer:
        result = p2uformat.fetch(
            source,
            destination,
            connections=connections,
            timeout=timeout,
            progress=_Lines() if as_json else drawer,
            **wanted,  # type: ignore[arg-type]
        )
    _write("done", result, _text, as_json=as_json)
    return 0


def _patterns(given: list[str]) -> "list[str] | dict[str, str] | None":
    """Return patterns of names, with a tier each if they have one."""
    from p2uformat import InvalidArgument

    pairs = [text.rpartition("=") for text in given]
    if not any(mark for _, mark, _ in pairs):
        return given or None
    if not all(mark for _, mark, _ in pairs):
        raise InvalidArgument(
            "--tensors with a tier and without", hint="give each pattern a tier, GLOB=T, or none"
        )
    return {glob: tier for glob, _, tier in pairs}


class _Lines:
    """Writes progress as lines of JSON, now and then."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, state: "Progress") -> None:
        """Write a line if it is time for one."""
        now = time.monotonic()
        if now - self._last < _LINE_SECONDS and state.done < state.total:
            return
        self._last = now
        output.write_json({"event": "progress", **progress.described(state)})


def _write(
    event: str,
    report: "FetchPlan | FetchResult",
    text: "Callable[..., str]",
    *,
    as_json: bool,
) -> None:
    if as_json:
        output.write_json({"event": event, **report.to_dict()})
    else:
        output.write_text(text(report))


def _plan_text(plan: "FetchPlan") -> str:
    from p2u_cli import render

    rows = [
        ("source", escape(plan.source)),
        ("file", escape(plan.destination)),
        ("root", escape(plan.root)),
        *([("needs", escape(plan.parent))] if plan.parent else []),
        ("wanted", f"{plan.total:,} bytes, up to {escape(plan.tier)}"),
        *_ways(plan),
        ("to fetch", f"{plan.fetched:,} bytes in {_requests(plan.requests)}"),
    ]
    return render.facts(rows)


def _text(result: "FetchResult") -> str:
    from p2u_cli import render

    trust = "authenticated" if result.authenticated else "self-consistent, not authenticated"
    state = "whole" if result.whole else "partial"
    rows = [
        ("fetched", escape(result.path)),
        ("root", escape(result.root)),
        ("result", f"every chunk checked; {trust}"),
        *([("needs", escape(result.parent))] if result.parent else []),
        ("holds", f"{render.listed(result.complete)} ({state})"),
        ("wanted", f"{result.total:,} bytes, up to {escape(result.tier)}"),
        *_ways(result),
        ("moved", _moved(result)),
    ]
    if result.streamed:
        rows.append(("note", "the server knows no ranges: the file was read from its start on"))
    return render.facts(rows)


def _ways(report: "FetchPlan | FetchResult") -> list[tuple[str, str]]:
    ways = (("here", report.present), ("reused", report.reused), ("rebuilt", report.rebuilt))
    return [(name, f"{count:,} bytes") for name, count in ways if count]


def _moved(result: "FetchResult") -> str:
    rate = result.fetched / result.seconds / 1e6 if result.seconds > 0 else 0.0
    again = f", {result.retries:,} of them again" if result.retries else ""
    return (
        f"{result.fetched:,} bytes of chunks in {result.seconds:.1f} s ({rate:.1f} MB/s), "
        f"{_requests(result.requests)}{again}"
    )


def _requests(count: int) -> str:
    return f"{count:,} request" if count == 1 else f"{count:,} requests"
