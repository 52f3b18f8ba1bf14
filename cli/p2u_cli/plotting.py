"""``--plot FILE``: what may be asked for, and the file that comes of it."""

# ruff: noqa: PLC0415 - matplotlib takes a second to load, and may not be there

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from p2u_cli.escape import escape

if TYPE_CHECKING:
    from p2u_cli.plots.page import Table
    from p2u_cli.plots.theme import Plot
    from p2uformat import Anatomy, DiffReport

SUFFIXES = (".html", ".png")


def prepare(name: str, *, overwrite: bool) -> None:
    """Refuse before any work what could not be drawn or written after it.

    Raises
    ------
    p2uformat.InvalidArgument
        If the suffix says nothing that can be drawn, or matplotlib is not there.
    p2uformat.DestinationExists
        If the name is taken.
    """
    import p2uformat

    path = Path(name)
    if path.suffix.lower() not in SUFFIXES:
        raise p2uformat.InvalidArgument(
            f"--plot: {name!r} is neither a page nor a picture",
            hint=f"end its name in {' or '.join(SUFFIXES)}",
        )
    if path.is_dir():
        raise p2uformat.DestinationExists(f"{name!r} is a folder", hint="name a file in it")
    if not overwrite and os.path.lexists(name):
        raise _taken(name)
    try:
        import matplotlib as mpl  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise p2uformat.InvalidArgument(
            "--plot needs matplotlib, which is not installed",
            hint="pip install 'p2uformat[plot]'",
        ) from error


def _taken(name: str) -> Exception:
    import p2uformat

    return p2uformat.DestinationExists(
        f"{name!r} exists already", hint="choose another name, or give --overwrite"
    )


def inspect(name: str, artifact: str, anatomy: "Anatomy", *, overwrite: bool) -> None:
    """Draw one artifact."""
    from p2u_cli import render, tables
    from p2u_cli.plots import errors, outliers, parts, tensors, tiers

    summary = anatomy.summary
    plots = [
        tiers.plot(summary),
        parts.plot(anatomy.parts, [tier.name for tier in summary.tiers]),
        errors.plot(anatomy),
        tensors.plot(anatomy),
        outliers.plot(anatomy.tensors),
    ]
    complete = render.completeness([tier.name for tier in summary.tiers], summary.complete)
    facts = [
        ("artifact", escape(artifact)),
        *render.summary_facts(summary),
        ("file", f"{summary.bytes:,} bytes"),
        ("complete", complete),
    ]
    _write(name, Path(artifact).name, facts, plots, tables.of_anatomy(anatomy), overwrite)


def diff(name: str, older: str, newer: str, report: "DiffReport", *, overwrite: bool) -> None:
    """Draw two artifacts beside each other."""
    from p2u_cli import diffview, tables
    from p2u_cli.plots import distances, fetch, statuses

    plots = [
        fetch.plot_bytes(report),
        fetch.plot_layers(report),
        statuses.plot_statuses(report),
        statuses.plot_new(report),
        distances.plot(report),
    ]
    heading = f"{Path(older).name} → {Path(newer).name}"
    facts = diffview.diff_facts(older, newer, report)
    _write(name, heading, facts, plots, tables.of_diff(report), overwrite)


def _write(
    name: str,
    heading: str,
    facts: "Sequence[tuple[str, str]]",
    plots: "Sequence[Plot]",
    numbers: "Sequence[Table]",
    overwrite: bool,
) -> None:
    if Path(name).suffix.lower() == ".png":
        from p2u_cli.plots import picture, theme

        short = [f"{label}: {theme.named(text, 60)}" for label, text in _brief(facts)]
        data = picture.drawn(theme.named(heading, 100), "     ".join(short), plots)
    else:
        from p2u_cli.plots import page

        data = page.written(heading, facts, plots, numbers)
    _publish(Path(name), data, overwrite=overwrite)


def _brief(facts: "Sequence[tuple[str, str]]") -> list[tuple[str, str]]:
    """Return the facts that a picture has room for."""
    wanted = ("weights", "source", "file", "tensors", "values")
    return [fact for fact in facts if fact[0] in wanted]


def _publish(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file that appears under its name whole or not at all."""
    # Short, whatever the final name: a name at the system's limit must still be writable.
    draft = path.with_name(f".p2u-{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            draft.replace(path)
            return
        try:
            os.link(draft, path)
        except FileExistsError as error:
            raise _taken(str(path)) from error
        except OSError:  # a file system without links
            if os.path.lexists(path):
                raise _taken(str(path)) from None
            draft.rename(path)
    finally:
        with suppress(OSError):
            draft.unlink()
