"""What ``p2u diff`` says to a person: facts, what is to be fetched, tensors, files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2u_cli import render
from p2u_cli.escape import escape
from p2u_cli.table import aligned

if TYPE_CHECKING:
    from p2uformat import DiffReport, Distance, TensorDiff, TierDiff

STATUSES = ("identical", "changed", "reshaped", "retyped", "added", "removed")
FETCH_HEADINGS = (
    "tier",
    "shared",
    "changed",
    "added",
    "bytes",
    "held by A",
    "to fetch",
    "up to here",
)
TENSOR_HEADINGS = (
    "tensor",
    "status",
    "dtype",
    "shape",
    "bytes",
    "to fetch",
    "changed",
    "RMS diff",
    "largest",
)


def diff_facts(older: str, newer: str, report: "DiffReport") -> list[tuple[str, str]]:
    """Return what is said of two artifacts as a whole."""
    same = " (the same content)" if report.identical else ""
    return [
        ("A", escape(older)),
        ("root", escape(report.roots[0])),
        ("B", escape(newer)),
        ("root", escape(report.roots[1]) + same),
        ("source", "{:,} bytes in A, {:,} in B".format(*report.source_bytes)),
        ("tensors", counted(report)),
        ("tiers", ladders(report)),
        ("values", values(report)),
    ]


def counted(report: "DiffReport") -> str:
    """Say how many tensors have which status."""
    counts = [(report.count(status), status) for status in STATUSES]
    return ", ".join(f"{count:,} {status}" for count, status in counts if count) or "none"


def ladders(report: "DiffReport") -> str:
    """Say which tiers there are, and whether their layers can be the same."""
    a, b = (render.listed(tiers) for tiers in report.ladders)
    if report.same_ladder:
        return f"{b} in both"
    if a == b:
        return f"{b} in both, but of other digits: lossy layers are hardly shared"
    return f"{a} in A, {b} in B: lossy layers are hardly shared"


def values(report: "DiffReport") -> str:
    """Say at which tier values were compared."""
    if report.tier is not None:
        return f"compared at {escape(report.tier)}"
    return "not compared"


def fetch_table(report: "DiffReport") -> str:
    """Return the table of layers and bytes: a row per tier of B, the manifest, the total."""
    return aligned(FETCH_HEADINGS, fetch_rows(report), width=render.width())


def fetch_rows(report: "DiffReport") -> list[list[str]]:
    """Return the rows of that table."""
    rows, total = [], report.new_manifest_bytes
    for tier in report.tiers:
        total += tier.new_bytes
        rows.append(_fetch_row(tier, total))
    size, new = report.manifest_bytes, report.new_manifest_bytes
    rows.append(["manifest", "", "", "", f"{size:,}", f"{size - new:,}", f"{new:,}"])
    tiers = report.tiers
    stored, held = sum(tier.bytes for tier in tiers), sum(tier.held_bytes for tier in tiers)
    counts = [sum(counts) for counts in zip(*map(_layers, tiers), strict=True)]
    total_row = [*counts, stored + size, held + size - new, total, total]
    rows.append(["total", *(f"{number:,}" for number in total_row)])
    return rows


def _layers(tier: "TierDiff") -> tuple[int, int, int]:
    return tier.shared, tier.changed, tier.added


def _fetch_row(tier: "TierDiff", total: int) -> list[str]:
    numbers = (*_layers(tier), tier.bytes, tier.held_bytes, tier.new_bytes, total)
    return [escape(tier.name), *(f"{number:,}" for number in numbers)]


def tensor_table(report: "DiffReport", *, everything: bool) -> str:
    """Return a row per tensor that is not identical, or per tensor; "" where there is none."""
    shown = [t for t in report.tensors if everything or t.status != "identical"]
    rows = [tensor_row(tensor) for tensor in shown]
    return aligned(TENSOR_HEADINGS, rows, left=4, width=render.width()) if rows else ""


def tensor_row(tensor: "TensorDiff") -> list[str]:
    """Return the cells of one tensor."""
    return [
        escape(tensor.name),
        tensor.status,
        _both(*(None if dtype is None else escape(dtype) for dtype in tensor.dtype)),
        _both(*(None if shape is None else render.shape(shape) for shape in tensor.shape)),
        _both(*(f"{size:,}" if size else None for size in tensor.bytes)) or "0",
        f"{sum(tensor.new_bytes):,}",
        *distance_cells(tensor.distance),
    ]


def distance_cells(distance: "Distance | None") -> Sequence[str]:
    """Return the share of changed elements, the relative RMS and the largest difference."""
    if distance is None:
        return "", "", ""
    figures = (distance.relative_rms, distance.largest)
    return (
        share(distance.changed, distance.elements),
        *("" if figure is None else f"{figure:.3g}" for figure in figures),
    )


def share(part: int, whole: int) -> str:
    """Return a share that is 0 or 100 % only where it is exactly that."""
    if part in (0, whole):
        return "0 %" if part == 0 else "100 %"
    percent = f"{100 * part / whole:.3g}"
    return "< 100 %" if percent == "100" else f"{percent} %"


def _both(a: str | None, b: str | None) -> str:
    if a is None or b is None or a == b:
        return a or b or ""
    return f"{a} > {b}"


def file_table(report: "DiffReport", *, everything: bool) -> str:
    """Return a row per file that is not identical, or per file; "" where there is none."""
    shown = [file for file in report.files if everything or file.status != "identical"]
    rows = [
        [
            escape(file.path),
            file.status,
            _both(*(f"{size:,}" if size else None for size in file.bytes)) or "0",
        ]
        for file in shown
    ]
    return aligned(("file", "status", "bytes"), rows, left=2, width=render.width()) if rows else ""
