"""Speed on real weights, where they are present: one thread, beside zipnn and GGUF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import calls
from benchmarks.report import Cell, Section, Table
from benchmarks.sources import Checkpoint
from benchmarks.speed import Run, timed
from benchmarks.timing import memory_folder

OURS = ("p2u pack", "p2u exact", "p2u q4", "p2u q8", "p2u verify")
THEIRS = ("zipnn compress", "zipnn decompress", "GGUF Q4_0 (numpy)")


def largest(found: Sequence[Checkpoint], most: int = 5) -> list[Checkpoint]:
    """Pick the largest models, one of each folder, so that they differ in more than a seed.

    Parameters
    ----------
    found
        All that are present, named by folder and file.
    most
        How many to take.
    """
    by_size = sorted(found, key=lambda checkpoint: -checkpoint.path.stat().st_size)
    families: dict[str, Checkpoint] = {}
    for checkpoint in by_size:
        families.setdefault(checkpoint.name.split("/")[0], checkpoint)
    return list(families.values())[:most]


def run(checkpoints: Sequence[Checkpoint], work: Path, repeats: int = 5) -> Section:
    """Time ours, zipnn and GGUF on each checkpoint, on one core."""
    rows = [_row(checkpoint, work, repeats) for checkpoint in checkpoints]
    columns = ["model", "dtype", "bytes", *OURS, *THEIRS]
    note = "GB/s on one core, bytes counted as above; the largest model of each family."
    return Section(
        "real", "Speed on real weights", [Table("", columns, rows, note)] if rows else []
    )


def _row(checkpoint: Checkpoint, work: Path, repeats: int) -> list[Cell]:
    size = checkpoint.path.stat().st_size
    with memory_folder(work, 6 * size) as (folder, _):
        subject = calls.Subject.make(checkpoint, folder)
        wanted = {*OURS, *THEIRS}
        every = calls.ours(subject, 1) + calls.theirs(subject, 1)
        measured = timed(subject, [c for c in every if c.name in wanted], repeats, pin=True)
    return [checkpoint.name, checkpoint.dtype, size, *_rates(measured)]


def _rates(measured: Run) -> list[Cell]:
    return [measured.rate(n) if n in measured.seconds else None for n in (*OURS, *THEIRS)]
