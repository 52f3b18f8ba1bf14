"""A 90 %-pruned fp16 tensor: what its zeros cost, with +0 and with half of them -0."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import p2uformat
from benchmarks import peers
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Array, normal_rows, write

TARGETS = {"+0": 16.0, "half -0": 20.0}


def prune(weights: Array, *, keep_sign: bool, share: float = 0.9) -> Array:
    """Zero the smallest `share` of the weights, as a mask product does or with +0 throughout.

    A product with a mask of zeros and ones leaves -0 where the weight was negative.
    """
    mask = np.abs(weights) > np.quantile(np.abs(weights), share)
    if keep_sign:
        return np.asarray((weights * mask).astype(np.float16))
    return np.where(mask, weights, 0).astype(np.float16)


def run(work: Path, rows: int = 1536, columns: int = 1536) -> Section:
    """Pack both kinds of pruned tensor and compare with the lossless peers."""
    weights = normal_rows(np.random.default_rng(3), rows, columns)
    table: list[list[Cell]] = []
    checks: list[Check] = []
    for label, keep_sign in (("+0", False), ("half -0", True)):
        source = write(work / "pruned.safetensors", {"w": prune(weights, keep_sign=keep_sign)})
        measured = _sizes(source, work)
        table += [[label, name, size, share] for name, (size, share) in measured.items()]
        share = measured["p2u, all tiers"][1]
        checks.append(
            Check(
                f"90 %-pruned fp16, zeros {label}, of its bytes", share, "<=", TARGETS[label], "%"
            )
        )
    note = f"One tensor of {rows} x {columns} normal weights, pruned by magnitude."
    columns_ = ["zeros", "form", "bytes", "% of the original"]
    return Section("pruned", "A pruned tensor", [Table("", columns_, table, note)], checks)


def _sizes(source: Path, work: Path) -> dict[str, tuple[int, float]]:
    data = source.read_bytes()
    summary = p2uformat.pack(source, work / "pruned.p2u", overwrite=True)
    sizes = {"p2u, all tiers": summary.bytes}
    for peer in peers.lossless("F16"):
        sizes[peer.name] = len(peer.compress(data))
    return {name: (size, 100 * size / len(data)) for name, size in sizes.items()}
