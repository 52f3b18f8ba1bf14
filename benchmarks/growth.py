"""How time and memory grow with the checkpoint: both should follow from the blocks, not the size.

The weights are made: a real model of every size would be gigabytes to fetch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import memory
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import write_large

MIB = 1 << 20
SIZES = (64 * MIB, 256 * MIB, 1024 * MIB)
LARGE = 4096 * MIB
BOUND_MIB = 300


def run(work: Path, sizes: Sequence[int] = SIZES, *, hold_from: int = 1024 * MIB) -> Section:
    """Run each command on made checkpoints of each size, each in a process of its own.

    Parameters
    ----------
    work
        Folder for the files; three times the largest size has to fit.
    sizes
        Bytes of the checkpoints.
    hold_from
        The size from which on the bound on memory is checked.
    """
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    for size in sizes:
        measured = _measure(work, size)
        rows += measured
        if size >= hold_from:
            checks += [_check(str(row[0]), size, float(row[3] or 0)) for row in measured]
    columns = ["command", "checkpoint bytes", "seconds", "peak MiB", "MB/s of the original"]
    note = (
        "Made weights in bf16, a quarter of them in one tensor. A process each, default threads, "
        "files in the page cache where they fit. `unpack` writes the original again, `q4` a file "
        "of the base tier. Seconds are of the command, memory of the whole process."
    )
    return Section("growth", "Growth", [Table("", columns, rows, note)], checks)


def _measure(work: Path, size: int) -> list[list[Cell]]:
    source = write_large(work / "large.safetensors", size)
    packed, out = work / "large.p2u", work / "large-out.safetensors"
    rows = []
    for command in memory.COMMANDS:
        given, made = (source, packed) if command == "pack" else (packed, out)
        rows.append(_row(command, source.stat().st_size, memory.in_child(command, given, made)))
        if command == "unpack" and not _same(source, out):
            message = "the large checkpoint did not come back byte for byte"
            raise AssertionError(message)
    for path in (source, packed, out):
        path.unlink()
    return rows


def _row(command: str, size: int, measured: tuple[float, float]) -> list[Cell]:
    mib, seconds = measured
    return [command, size, seconds, mib, size / seconds / 1e6]


def _check(command: str, size: int, mib: float) -> Check:
    return Check(f"peak memory of {command}, {size / 2**30:.2g} GiB", mib, "<=", BOUND_MIB, "MiB")


def _same(left: Path, right: Path) -> bool:
    if left.stat().st_size != right.stat().st_size:
        return False
    with left.open("rb") as a, right.open("rb") as b:
        while block := a.read(1 << 24):
            if block != b.read(1 << 24):
                return False
    return True
