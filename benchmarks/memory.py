"""Peak memory and time of one command, in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import p2uformat

#: What can be measured. `unpack` writes the original file again, `q4` one of the base tier.
COMMANDS = ("pack", "verify", "verify --deep", "unpack", "q4")


def in_child(command: str, source: Path | str, destination: Path) -> tuple[float, float]:
    """Run one command in a fresh interpreter; return its peak memory in MiB and its seconds.

    Beside `COMMANDS` there are `fetch`, and `get` as fsspec does it; their source is a URL.

    The memory is all of the process's, the seconds are of the command alone.
    """
    arguments = [sys.executable, "-m", "benchmarks.memory", command, str(source), str(destination)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=root)
    peak, seconds = done.stdout.split()[-2:]
    return float(peak) / 2**20, float(seconds)


def perform(command: str, source: str, destination: str) -> None:
    """Do what `in_child` asked for."""
    if command == "fetch":
        p2uformat.fetch(source, destination)
    elif command == "get":
        # What other commands are measured with does not hold this.
        from benchmarks import fetchpeers

        fetchpeers.get(source, Path(destination))
    elif command == "pack":
        p2uformat.pack(source, destination, overwrite=True)
    elif command.startswith("verify"):
        report = p2uformat.verify(source, deep=command.endswith("deep"))
        if not report.ok:
            raise SystemExit(str(report))
    else:
        tier = "q4" if command == "q4" else None
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


def _main(command: str, source: str, destination: str) -> None:
    p2uformat.kernels_in_use()  # numpy and the kernels load with the first name that needs them
    _ = (p2uformat.pack, p2uformat.verify, p2uformat.unpack, p2uformat.fetch)
    start = time.perf_counter()
    perform(command, source, destination)
    seconds = time.perf_counter() - start
    print(peak_bytes(), seconds)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3])
