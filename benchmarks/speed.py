"""Speed of one thread on one core: verify, decode, pack, each beside a peer in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import blake3

import p2uformat
from benchmarks import peers
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Checkpoint, quantized, read


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core, where the platform can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def interleaved(work: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time each call `repeats` times, in turns, and return median seconds.

    Turns let a slow minute of a shared machine fall on all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: median(taken) for name, taken in times.items()}


def hash_file(path: Path) -> str:
    """Hash a whole file with BLAKE3, one thread, 1 MiB at a time."""
    digest = blake3.blake3()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def run(checkpoints: Sequence[Checkpoint], work: Path, repeats: int = 5) -> Section:
    """Measure every checkpoint and collect rates in bytes a second."""
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    for checkpoint in checkpoints:
        measured = measure(checkpoint, work, repeats)
        rows += [[checkpoint.name, what, rate, of] for what, (rate, of) in measured.items()]
        checks += _checks(checkpoint.name, {what: rate for what, (rate, _) in measured.items()})
    note = (
        f"One thread on one core, medians of {repeats} interleaved runs, files in the page cache. "
        "`pack` counts source bytes, `verify` stored bytes, everything else the bytes it puts out."
    )
    columns = ["model", "what", "MB/s", "of"]
    return Section("speed", "Speed", [Table("", columns, rows, note)], checks)


def measure(checkpoint: Checkpoint, work: Path, repeats: int) -> dict[str, tuple[float, str]]:
    """Return what -> (MB/s, what the bytes are) for one checkpoint."""
    with one_core():
        return (
            _pack(checkpoint, work, max(1, repeats // 2))
            | _verify(work, repeats)
            | _decode(checkpoint, work, repeats)
        )


def _pack(checkpoint: Checkpoint, work: Path, repeats: int) -> dict[str, tuple[float, str]]:
    data = checkpoint.path.read_bytes()
    destination = work / "speed.p2u"
    calls: dict[str, Callable[[], object]] = {
        "pack": lambda: p2uformat.pack(checkpoint.path, destination, overwrite=True, threads=1)
    }
    for peer in peers.lossless(checkpoint.dtype):
        calls[f"{peer.name} compress"] = partial(peer.compress, data)
    return _rates(interleaved(calls, repeats), dict.fromkeys(calls, len(data)), "source")


def _verify(work: Path, repeats: int) -> dict[str, tuple[float, str]]:
    path = work / "speed.p2u"
    calls: dict[str, Callable[[], object]] = {
        "BLAKE3 of the file": lambda: hash_file(path),
        "verify": lambda: p2uformat.verify(path, threads=1),
        "verify --deep": lambda: p2uformat.verify(path, deep=True, threads=1),
    }
    return _rates(interleaved(calls, repeats), dict.fromkeys(calls, path.stat().st_size), "file")


def _decode(checkpoint: Checkpoint, work: Path, repeats: int) -> dict[str, tuple[float, str]]:
    data = checkpoint.path.read_bytes()
    tensors = quantized(read(checkpoint.path))
    stored = sum(v.nbytes for v in tensors.values())
    wide = sum(v.size for v in tensors.values()) * 4
    with p2uformat.open(work / "speed.p2u", threads=1) as artifact:
        calls: dict[str, Callable[[], object]] = {
            "q4 to fp32": lambda: [artifact.get(n, tier="q4", dtype="F32") for n in tensors],
            "q8 to fp32": lambda: [artifact.get(n, tier="q8", dtype="F32") for n in tensors],
            "exact": lambda: [artifact.get(n, tier="exact") for n in tensors],
        }
        sizes = {"q4 to fp32": wide, "q8 to fp32": wide, "exact": stored}
        for peer in peers.lossless(checkpoint.dtype):
            calls[f"{peer.name} decompress"] = partial(peer.decompress, peer.compress(data))
            sizes[f"{peer.name} decompress"] = len(data)
        if peers.has("gguf"):
            blocks = [peers.gguf_encode(v, "Q4_0")[1] for v in tensors.values()]
            calls["GGUF Q4_0 to fp32 (numpy)"] = lambda: [call() for call in blocks]
            sizes["GGUF Q4_0 to fp32 (numpy)"] = wide
        return _rates(interleaved(calls, repeats), sizes, "output")


def _rates(
    seconds: Mapping[str, float], sizes: Mapping[str, int], of: str
) -> dict[str, tuple[float, str]]:
    return {name: (sizes[name] / taken / 1e6, of) for name, taken in seconds.items()}


def _checks(name: str, rates: Mapping[str, float]) -> list[Check]:
    return [
        Check(
            f"verify from page cache, one thread, {name}", rates["verify"] / 1e3, ">=", 3, "GB/s"
        ),
        Check(f"q4 to fp32, one core, {name}", rates["q4 to fp32"] / 1e3, ">=", 1.5, "GB/s"),
        Check(f"exact, one core, {name}", rates["exact"], ">=", 200, "MB/s"),
    ]
