"""Peak memory of pack, verify and unpack on a checkpoint far larger than the bound."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import p2uformat
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import write_large

BOUND_MIB = 300
COMMANDS = ("pack", "verify", "verify-deep", "unpack", "unpack-q4")


def run(work: Path, size: int = 4 << 30, *, hold_to_bound: bool = True) -> Section:
    """Make a checkpoint of `size` bytes and run each command on it in a process of its own."""
    source = write_large(work / "large.safetensors", size)
    packed, out = work / "large.p2u", work / "large-out.safetensors"
    pairs = {"pack": (source, packed), "verify": (packed, packed), "verify-deep": (packed, packed)}
    pairs |= {"unpack": (packed, out), "unpack-q4": (packed, out)}
    rows: list[list[Cell]] = []
    for command in COMMANDS:
        mib, seconds = in_child(command, *pairs[command])
        rows.append([command, source.stat().st_size, mib, seconds])
        if command == "unpack" and not _same(source, out):
            message = "the large checkpoint did not come back byte for byte"
            raise AssertionError(message)
    for path in (source, packed, out):
        path.unlink(missing_ok=True)
    checks = [
        Check(
            f"peak memory of {row[0]}, {size / 2**30:.2g} GiB",
            float(row[2] or 0),
            "<=",
            BOUND_MIB,
            "MiB",
        )
        for row in rows
        if hold_to_bound
    ]
    columns = ["command", "checkpoint bytes", "peak MiB", "seconds"]
    note = "bf16, a quarter of it in one tensor; a process each, default threads."
    return Section("memory", "Peak memory", [Table("", columns, rows, note)], checks)


def in_child(command: str, source: Path, destination: Path) -> tuple[float, float]:
    """Run one command in a fresh interpreter; return its peak memory in MiB and its seconds."""
    arguments = [sys.executable, "-m", "benchmarks.memory", command, str(source), str(destination)]
    root = Path(__file__).resolve().parents[1]
    start = time.perf_counter()
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=root)
    return float(done.stdout.split()[-1]) / 2**20, time.perf_counter() - start


def perform(command: str, source: Path, destination: Path) -> None:
    """Do what `in_child` asked for."""
    if command == "pack":
        p2uformat.pack(source, destination, overwrite=True)
    elif command.startswith("verify"):
        report = p2uformat.verify(source, deep=command.endswith("deep"))
        if not report.ok:
            raise SystemExit(str(report))
    else:
        tier = "q4" if command.endswith("q4") else None
        p2uformat.unpack(source, destination, tier=tier, overwrite=True)


def peak_bytes() -> int:
    """Return the largest resident size of this process so far.

    Linux keeps it per address space in ``VmHWM``. `ru_maxrss` there starts at what the parent
    held when it forked, so it is used only where there is nothing better.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _same(left: Path, right: Path) -> bool:
    if left.stat().st_size != right.stat().st_size:
        return False
    with left.open("rb") as a, right.open("rb") as b:
        while block := a.read(1 << 24):
            if block != b.read(1 << 24):
                return False
    return True


if __name__ == "__main__":
    perform(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    print(peak_bytes())
