"""The numbers of a page, as tables beside its figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2u_cli import diffview, render
from p2u_cli.plots.page import Table

if TYPE_CHECKING:
    from p2uformat import Anatomy, DiffReport, TensorAnatomy


def of_anatomy(anatomy: "Anatomy") -> list[Table]:
    """Return the tables of one artifact."""
    tiers = [tier.name for tier in anatomy.summary.tiers]
    ranked = sorted(anatomy.tensors, key=lambda tensor: -sum(tensor.info.stored))
    total = sum(part.bytes for part in anatomy.parts)
    parts = [
        [part.kind, part.tier or "", f"{part.bytes:,}", f"{100 * part.bytes / total:.3f} %"]
        for part in anatomy.parts
    ]
    parts.append(["total", "", f"{total:,}", "100 %"])
    headings = ("tensor", "dtype", "shape", "bytes", *tiers, "bits", "RMS error", "outliers")
    return [
        Table("Tiers in numbers", render.TIER_HEADINGS, render.tier_rows(anatomy.summary)),
        Table("Bytes in numbers", ("kind", "tier", "bytes", "of the file"), parts, left=2),
        Table(
            "Tensors in numbers",
            headings,
            [_tensor(tensor) for tensor in ranked],
            left=3,
            note="The largest first. Under each tier stored bytes; bits are those of all tiers, "
            "per weight; the error is that of the first tier.",
        ),
    ]


def _tensor(tensor: "TensorAnatomy") -> Sequence[str]:
    name, *cells = render.tensor_row(tensor.info, raw=True)
    outliers = f"{tensor.outliers:,}" if tensor.outliers else ""
    return [name, *cells[:-1], f"{sum(tensor.bits):.3f}", cells[-1], outliers]


def of_diff(report: "DiffReport") -> list[Table]:
    """Return the tables of two artifacts."""
    changed = [tensor for tensor in report.tensors if tensor.status != "identical"]
    files = [[f.path, f.status, f"{f.bytes[1] or f.bytes[0]:,}"] for f in report.files]
    rows = [[tensor.name, *diffview.tensor_row(tensor)[1:]] for tensor in changed]
    return [
        Table("Tiers in numbers", diffview.FETCH_HEADINGS, diffview.fetch_rows(report)),
        Table(
            "Tensors in numbers",
            diffview.TENSOR_HEADINGS,
            rows,
            left=4,
            note="Those that are not identical.",
        ),
        Table("Files", ("file", "status", "bytes"), files, left=2),
    ]
